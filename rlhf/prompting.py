"""Prompting instead of training: the same model with demonstrations in front of the prompt.

It is the cheaper alternative, so it stands beside what SFT makes. Examples are laid down as the model would
have read and written them one after the other, each closed by EOS, so that a base model sees what a response
is and where it ends.
"""

import random
from collections.abc import Sequence

Pair = tuple[list[int], list[int]]  # an encoded prompt, and a response closed by EOS
MOST_EXAMPLES = 8


def with_examples(prompt: list[int], examples: Sequence[Pair], room: int | None) -> list[int]:
    """The encoded prompt behind as many of the examples as fit into `room` tokens (None: all of them)."""
    before: list[int] = []
    for asked, answered in examples:
        if room is not None and len(before) + len(asked) + len(answered) + len(prompt) > room:
            break
        before += asked + answered
    return before + prompt


def pick_examples(pairs: Sequence[Pair], seed: int, most: int = MOST_EXAMPLES) -> list[Pair]:
    """A few demonstrations of different prompts, the same every time."""
    by_prompt = {tuple(prompt): (prompt, response) for prompt, response in pairs}
    return random.Random(seed).sample(list(by_prompt.values()), min(most, len(by_prompt)))
