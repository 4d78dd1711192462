"""A good prompt for a base model: a clear instruction, examples, and the prompt in their place.

A base model goes on with what it reads. Shown a few prompts with good responses it often answers the next one
in their manner (Brown 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165; Askell 2021,
arXiv:2112.00861, compare training with exactly this). It costs no training, so training must beat it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.conversation import as_messages, as_transcript

MOST_EXAMPLES = 6
PLACE = "{prompt}"
INSTRUCTION = (
    "This is a conversation between a user and an assistant. The assistant's replies are right, polite, "
    "short and to the point. It refuses requests for harm, and says so when it does not know something."
)


@dataclass(frozen=True)
class GoodPrompt:
    """A text with `{prompt}` in it. stop: what begins the next turn, and ends the response; '': nothing."""

    template: str
    stop: str = ""
    examples: int = 0
    source: str = ""

    def around(self, prompt: str) -> str:
        """What the base model reads."""
        text = as_transcript(prompt)
        if len(as_messages(prompt)) > 1 and self.stop and text.startswith(self.stop):
            text = text[len(self.stop) :].lstrip()
        return self.template.replace(PLACE, text)

    def cut(self, text: str) -> tuple[str, bool]:
        """A response without the turns that the model has made up behind it, and whether there were any."""
        ends = [at for at in (text.find(f"\n{self.stop}"),) if self.stop and at >= 0]
        return text[: min(ends)].strip() if ends else text.strip(), bool(ends)


def few_shot(
    examples: Sequence[tuple[str, str]], fits: Callable[[str], bool] = lambda _: True, source: str = ""
) -> GoodPrompt:
    """The instruction and as many examples (prompt, response) as fit, at most six. fits: whether a template
    leaves the model room for a prompt and a response."""
    shown = list(examples)[:MOST_EXAMPLES]
    while True:
        turns = [f"User: {prompt}\nAssistant: {' '.join(text.split())}\n\n" for prompt, text in shown]
        template = f"{INSTRUCTION}\n\n{''.join(turns)}User: {PLACE}\nAssistant:"
        if not shown or fits(template):
            return GoodPrompt(template, "User:", len(shown), source)
        shown.pop()


def read_good_prompt(path: Path) -> GoodPrompt:
    """Of a text file with `{prompt}` where the prompt goes; what stands before that on its line ends a
    response. Raises ValueError with one sentence.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip("\r\n ")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Prompt file '{path}' cannot be read ({error}); wanted a UTF-8 text with {PLACE} in it."
        ) from None
    if text.count(PLACE) != 1:
        raise ValueError(
            f"Prompt file '{path}' has {PLACE} {text.count(PLACE)} times; wanted once, where the prompt goes."
        )
    before = text[: text.index(PLACE)].rsplit("\n", 1)[-1].strip()
    return GoodPrompt(text, before, source=str(path))
