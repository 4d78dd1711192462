"""What SFT learns from: demonstrations as tokens, split into those that teach, that stop it and that judge
it.

Token ids are those that the policy reads and writes when it is sampled (`encode_prompt`, the response,
`closing_eos`): a text tokenised as a whole, as TRL would, may merge tokens across the border, and the model
would learn to go on from what it never sees.

Of the demonstrations' prompts a part is held out. One half of it stops the training when it gets no better,
and chooses the weights that are kept; the other half judges what came of it, so that the choice's luck does
not count as progress.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedTokenizerBase

from data.demonstrations import Demonstration
from rlhf.config import ModelError, setting
from rlhf.generate import encode_prompt
from rlhf.likelihood import token_logprobs
from rlhf.models import Family

Pair = tuple[list[int], list[int]]  # an encoded prompt, and a response closed by EOS
LEAST_PROMPTS = 12  # with a demonstration, of which four are held out
LEAST_HELDOUT = 4
MOST_HELDOUT = 512  # enough to tell policies apart, and annotators wait while they are read


@dataclass(frozen=True)
class SFTConfig:
    epochs: int = setting(3, "Passes over the demonstrations, at most.")
    learning_rate: float = setting(3e-4, "Rate for a model 256 wide; see Family.learning_rate.")
    batch: int = setting(16, "Demonstrations per optimiser step.")
    heldout_share: float = setting(0.2, "Share of prompts held out: half to stop by, half to judge by.")
    evaluations: int = setting(4, "Looks at the held-out loss in each pass.")
    patience: int = setting(3, "Looks in a row without a lower loss that end the training.")

    def __post_init__(self) -> None:
        checks = [
            (self.epochs >= 1, "epochs", "at least 1"),
            (0 < self.learning_rate < math.inf, "learning-rate", "a number above 0"),
            (self.batch >= 1, "batch", "at least 1"),
            (0 < self.heldout_share <= 0.5, "heldout-share", "above 0, at most 0.5"),
            (self.evaluations >= 1, "evaluations", "at least 1"),
            (self.patience >= 1, "patience", "at least 1"),
        ]
        for fine, name, wanted in checks:
            if not fine:
                raise ValueError(f"--{name} is {getattr(self, name.replace('-', '_'))}; wanted: {wanted}.")


@dataclass(frozen=True)
class Demonstrations:
    """Encoded and split by prompt; `left_out` did not fit into the model's context."""

    train: list[Pair]
    stop: list[Pair]
    judge: list[Pair]
    left_out: int


def encode_demonstration(
    tokenizer: PreTrainedTokenizerBase, closing_eos: int, demonstration: Demonstration
) -> Pair:
    """Token ids as a model with this tokenizer reads and writes them."""
    tokens = tokenizer(demonstration.response, add_special_tokens=False)["input_ids"]
    return encode_prompt(tokenizer, demonstration.prompt), [*tokens, closing_eos]


def split_demonstrations(
    family: Family,
    demonstrations: Sequence[Demonstration],
    heldout_share: float,
    encode: Callable[[Demonstration], Pair] | None = None,
) -> Demonstrations:
    """Encode and split them, the same way every time: prompts in the order of their hash.

    encode: for a model that reads them otherwise than the family does.
    """
    encode = encode or partial(encode_demonstration, family.tokenizer, family.closing_eos)
    room = family.context or math.inf
    pairs: dict[str, list[Pair]] = {}
    left_out = 0
    for demonstration in dict.fromkeys(demonstrations):
        try:
            pair = encode(demonstration)
        except ModelError:  # its chat template refuses such a conversation
            left_out += 1
            continue
        if len(pair[0]) + len(pair[1]) > room:
            left_out += 1
        else:
            pairs.setdefault(demonstration.prompt, []).append(pair)
    prompts = sorted(pairs, key=lambda p: hashlib.sha256(p.encode()).digest())
    count = max(round(heldout_share * len(prompts)), min(LEAST_HELDOUT, len(prompts) // 3))
    count = min(count, MOST_HELDOUT)
    parts = prompts[count:], prompts[: count // 2], prompts[count // 2 : count]
    return Demonstrations(*([pair for p in part for pair in pairs[p]] for part in parts), left_out)


def mean_loss(family: Family, role: str, pairs: Sequence[Pair]) -> float:
    """Nats per response token, EOS with it; what SFTTrainer calls the loss of these as one batch."""
    prompts, responses = zip(*pairs, strict=True)
    return -float(token_logprobs(family, role, prompts, responses).sum()) / sum(map(len, responses))
