"""What annotators may say beside the order, and the guidelines they work under: a project's own choice.

Both are edited on the lab page. The names are kept as they are written; those delivered here have
translations in `widgets/texts`, one's own are shown as they are.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from labeling.ranking import LONGEST_NAME, MOST_NAMES

LONGEST_GUIDELINES = 40_000  # characters
SCALES = ("helpfulness", "accuracy", "safety", "tone")

# Version 0: what a project works under until it writes its own. A line break here is one on the page.
GUIDELINES = """\
Put the response first that **you would rather get** if you had asked.

1. **Is it right?** A wrong answer loses to a right one, however well it is put.
2. **Does it help?** It does what was asked, all of it, and nothing else.
3. **Is it safe?** Help to harm somebody loses to a polite no; a no to a harmless question loses to an answer.
4. **Is it well said?** Clear and polite, as short as it can be. Long is not better.

Equal responses are a tie: give them the same number. If you cannot tell which is better, skip the task.

Where a response stands on the screen means nothing. Do not ask another model.
"""


@dataclass(frozen=True)
class Form:
    """Names of what can be said. An empty list: that is not asked."""

    flags: tuple[str, ...] = ("unsafe", "false", "off-topic", "broken text", "repeats itself")
    reasons_for: tuple[str, ...] = ("right", "clear", "complete", "concise", "polite")
    reasons_against: tuple[str, ...] = ("wrong", "unclear", "incomplete", "too long", "rude")
    skip_reasons: tuple[str, ...] = ("cannot judge", "prompt makes no sense", "harmful prompt", "all alike")
    ratings: tuple[str, ...] = ()  # scales from 1 to 5; off unless a project asks for them

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Form":
        """Build from JSON. Raises ValueError, in one sentence, for what is no form."""
        known = [f.name for f in fields(cls)]
        given = {}
        for name, names in values.items():
            if name not in known:
                raise ValueError(f"'{name}' is not part of the form; wanted: {', '.join(known)}.")
            given[name] = tuple(_name(name, one) for one in _list(name, names))
            if len(set(given[name])) < len(given[name]):
                raise ValueError(f"{name}: a name is there twice.")
        return cls(**given)

    def as_dict(self) -> dict[str, list[str]]:
        """As JSON has it."""
        return {name: list(names) for name, names in asdict(self).items()}


def check_guidelines(text: str) -> str:
    """The text as it is kept. Raises ValueError, in one sentence."""
    text = text.strip()
    if not 0 < len(text) <= LONGEST_GUIDELINES:
        raise ValueError(f"The guidelines have {len(text)} characters; wanted: 1 to {LONGEST_GUIDELINES}.")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("The guidelines hold half a character (a lone surrogate); send them as UTF-8.")
    return text


def _list(name: str, names: Any) -> list[Any]:
    if not isinstance(names, (list, tuple)) or len(names) > MOST_NAMES:
        raise ValueError(f"{name}: wanted a list of {MOST_NAMES} names at most.")
    return list(names)


def _name(part: str, name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name.strip()) <= LONGEST_NAME:
        raise ValueError(f"{part}: wanted names of 1 to {LONGEST_NAME} characters, not {name!r}.")
    if any("\ud800" <= c <= "\udfff" for c in name):
        raise ValueError(f"{part}: a name holds half a character (a lone surrogate).")
    return name.strip()
