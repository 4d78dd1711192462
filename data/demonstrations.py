"""Demonstrations: responses to learn from by imitation, as pairs of prompt and response; and a file of
them."""

import json
from dataclasses import dataclass
from pathlib import Path

from data.conversation import as_prompt

NAMES = (("prompt", "response"), ("prompt", "completion"), ("instruction", "output"))


@dataclass(frozen=True)
class Demonstration:
    """A response that a person, a file or a judge says is good."""

    prompt: str  # as in `data.conversation`: a text, or chat messages in one
    response: str


def read_demonstrations(path: Path) -> list[Demonstration]:
    """Demonstrations of JSON Lines: prompt and response (or completion), instruction (and input) and output,
    or chat messages that end with the assistant's. A prompt may be a list of messages too.

    Raises ValueError with one sentence that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"'{path}' cannot be read ({why}); wanted a UTF-8 file of JSON Lines.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(demonstration_of(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                why = "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
                raise ValueError(
                    f'{path}, line {number}: {why}; wanted "prompt" and "response", "instruction" and '
                    f'"output", or "messages".'
                ) from None
    if not found:
        raise ValueError(f"'{path}' has no demonstration.")
    return list(dict.fromkeys(found))


def demonstration_of(row: object) -> Demonstration:
    """One row of such a file. Raises ValueError."""
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    if isinstance(row.get("messages"), list) and row["messages"]:
        *before, last = row["messages"]
        if not isinstance(last, dict) or last.get("role") != "assistant":
            raise ValueError("the last message is not the assistant's")
        return _made(before, last.get("content"))
    for prompt, response in NAMES:
        if prompt in row and response in row:
            more = row.get("input") if prompt == "instruction" else None
            text = row[prompt]
            return _made(f"{text}\n\n{more}" if more and isinstance(text, str) else text, row[response])
    raise ValueError(f"it has {', '.join(sorted(map(str, row))) or 'no fields'}")


def _made(prompt: object, response: object) -> Demonstration:
    if isinstance(prompt, list):
        prompt = as_prompt([{k: m[k] for k in ("role", "content")} for m in prompt])
    if isinstance(response, list) and len(response) == 1:  # a completion of chat messages
        response = response[0].get("content")
    for name, text in (("prompt", prompt), ("response", response)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"its {name} has no text")
    return Demonstration(prompt.strip(), response.strip())
