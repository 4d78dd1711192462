"""What a row of somebody else's data becomes: a prompt, a demonstration or a ranking, of cleaned texts.

Whatever cannot become one of them is refused with `Refused`, whose message is a clause for people ("a
response is empty"), the same for all rows that lack the same thing, so that it can be counted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from data.conversation import as_prompt

LONGEST = 100_000  # characters of a prompt, with all its history, or of a response
MOST_RESPONSES = 32  # of one ranking: they are learned together
ROLES = {
    "user": "user", "human": "user", "prompter": "user", "instruction": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant", "bing": "assistant", "bard": "assistant", "output": "assistant",
    "system": "system",
}  # fmt: skip


class Refused(ValueError):
    """This row cannot be used; the message says why, as a clause."""


@dataclass(frozen=True)
class ImportedPrompt:
    kind: ClassVar[str] = "prompts"
    prompt: str


@dataclass(frozen=True)
class ImportedDemonstration:
    kind: ClassVar[str] = "demonstrations"
    prompt: str
    response: str


@dataclass(frozen=True)
class ImportedRanking:
    """An order over two or more different responses; rank 1 is best, equal is a tie, none is left out."""

    kind: ClassVar[str] = "preferences"
    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    strength: int = 0  # of two: slightly, clearly, much better; 0: nobody said
    annotator: str = ""

    def chosen(self) -> list[str]:
        """The responses ranked first; [] when all are tied."""
        best = [r for r, rank in zip(self.responses, self.ranks, strict=True) if rank == 1]
        return best if len(best) < len(self.ranks) else []


Item = ImportedPrompt | ImportedDemonstration | ImportedRanking


def clean(text: Any, what: str) -> str:
    """A text without blanks around it, and without characters that neither SQLite nor UTF-8 can keep, which
    become U+FFFD. Raises Refused when it is none, empty or too long."""
    if not isinstance(text, str):
        raise Refused(f"{what} is not a text")
    text = text.strip()
    if not text:
        raise Refused(f"{what} is empty")
    if len(text) > LONGEST:
        raise Refused(f"{what} is longer than {LONGEST:,} characters")
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:  # halves of a character; two that belong together become one
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def turn(message: Any) -> tuple[str, str]:
    """Role, by its name here, and content of a message, {"role", "content"} or {"from", "value"}."""
    if not isinstance(message, dict):
        raise Refused("a message is not an object with a role and a content")
    role, content = (message.get(a, message.get(b)) for a, b in (("role", "from"), ("content", "value")))
    known = ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        raise Refused("a message's role is not system, user or assistant")
    if isinstance(content, list):  # parts, as multimodal models take them
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise Refused("a message holds something else than text")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Refused("a message has no text")
    return known, content


def turns(messages: Any) -> list[tuple[str, str]]:
    """Role and content of all messages of a conversation."""
    messages = records(messages)
    if not messages:
        raise Refused("the conversation has no messages")
    return [turn(message) for message in messages]


def prompt_of(spoken: Sequence[tuple[str, str]]) -> str:
    """The prompt that these turns are; they end with the user's.

    Empty turns are left out, and two of one role in a row become one: chat templates refuse both.
    """
    messages: list[dict[str, str]] = []
    for role, content in spoken:
        if not content.strip():
            continue
        content = clean(content, "a prompt")
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n\n" + content
        else:
            messages.append({"role": role, "content": content})
    if not messages:
        raise Refused("a prompt is empty")
    if messages[-1]["role"] != "user" or not spoken[-1][1].strip():
        raise Refused("the prompt does not end with a message of the user's")
    return clean(as_prompt(messages), "a prompt")


def prompt_from(value: Any) -> str:
    """The prompt in a cell: a text, or messages."""
    value = structure(value)
    return prompt_of(turns(value)) if isinstance(value, (list, dict)) else clean(value, "a prompt")


def response_from(value: Any) -> str:
    """The response in a cell: a text, or the one message of the assistant's."""
    value = structure(value)
    if isinstance(value, (list, dict)):
        spoken = turns([value] if isinstance(value, dict) and not _columns(value) else value)
        if len(spoken) != 1 or spoken[0][0] != "assistant":
            raise Refused("a response is not one message of the assistant's")
        value = spoken[0][1]
    return clean(value, "a response")


def ranking(
    prompt: str,
    responses: Sequence[str],
    ranks: Sequence[float],
    strength: Any = 0,
    annotator: Any = "",
) -> ImportedRanking:
    """A ranking of cleaned texts; any numbers are ranks, of which the least is best.

    Of two equal responses the one ranked higher stays.
    """
    best: dict[str, float] = {}
    for text, rank in zip(responses, ranks, strict=True):
        best[text] = min(rank, best.get(text, rank))
    if len(best) < 2:
        raise Refused("its responses are all the same" if responses else "it has no responses")
    if len(best) > MOST_RESPONSES:
        raise Refused(f"it ranks more than {MOST_RESPONSES} responses")
    order = sorted(set(best.values()))
    dense = tuple(order.index(rank) + 1 for rank in best.values())
    said = number(strength)  # a CSV cell has it as text
    said = int(said) if len(best) == 2 and len(order) == 2 and said in (1, 2, 3) else 0
    return ImportedRanking(prompt, tuple(best), dense, said, name_of(annotator))


def name_of(annotator: Any) -> str:
    """Who said so, in a few words; '' when nobody is named."""
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("username") or annotator.get("id")
    return (
        ""
        if annotator is None
        else clean(f"{annotator} ", "annotator")[:100]
        if f"{annotator}".strip()
        else ""
    )


def structure(value: Any) -> Any:
    """Lists and objects that a CSV cell holds as JSON; anything else as it is."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if _is_nested(found) else value
    return value


def _is_nested(found: Any) -> bool:
    """Messages or so: a prompt may well begin with a bracket."""
    return isinstance(found, dict) or (
        isinstance(found, list) and bool(found) and all(isinstance(e, dict) for e in found)
    )


def records(value: Any) -> list[Any]:
    """A list of objects; Parquet and older `datasets` keep some as an object of lists."""
    value = structure(value)
    if isinstance(value, dict) and _columns(value):
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    if not isinstance(value, (list, tuple)):
        raise Refused("a list was wanted where there is none")
    return list(value)


def _columns(value: dict[str, Any]) -> bool:
    lists = [v for v in value.values() if isinstance(v, list)]
    return bool(lists) and len(lists) == len(value) and len({len(v) for v in lists}) == 1


def number(value: Any) -> float | None:
    """A finite number, also written as text ("4"); None for anything else ("N/A")."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < float("inf") and not isinstance(value, bool) else None
