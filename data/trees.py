"""OpenAssistant's conversation trees: replies to one message, ranked by people, are one ranking.

A tree is nested (`replies` inside `prompt`), as in the trees' own files, or flat: messages with a
`parent_id`, those of a tree one after the other, as in the data set on the hub.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data.incoming import (
    ImportedDemonstration,
    Item,
    Refused,
    clean,
    number,
    prompt_of,
    ranking,
    structure,
    turn,
)

MOST_MESSAGES = 5000  # of one tree, which is held in memory
DEEPEST = 200


def read_tree(row: dict[str, Any]) -> list[Item]:
    """Rankings, with what was said before as the prompt; a reply without others is a demonstration."""
    root = structure(row.get("prompt"))
    if root is None:
        raise Refused("the first message of its tree is missing")
    items = list(_walk(root, []))
    if not items:
        raise Refused("the tree has no replies of the assistant's")
    return items


def _walk(message: dict[str, Any], before: list[tuple[str, str]]) -> Iterator[Item]:
    if not isinstance(message, dict):
        raise Refused("the tree is broken")
    if len(before) > DEEPEST:
        raise Refused(f"the tree is deeper than {DEEPEST} messages")
    spoken = [*before, turn({"role": message.get("role"), "content": message.get("text")})]
    replies = [r for r in message.get("replies") or () if isinstance(r, dict) and not r.get("deleted")]
    if spoken[-1][0] == "user":
        yield from _replies(
            spoken, [r for r in replies if isinstance(r.get("text"), str) and r["text"].strip()]
        )
    for reply in replies:
        yield from _walk(reply, spoken)


def _replies(spoken: list[tuple[str, str]], replies: list[dict[str, Any]]) -> Iterator[Item]:
    ranked = [r for r in replies if number(r.get("rank")) is not None]
    texts = [clean(r["text"], "a response") for r in ranked]
    if len(set(texts)) >= 2:
        yield ranking(prompt_of(spoken), texts, [number(r["rank"]) for r in ranked])
    elif len(replies) == 1:
        yield ImportedDemonstration(prompt_of(spoken), clean(replies[0]["text"], "a response"))


@dataclass(frozen=True)
class Tree:
    line: int  # of its first message
    root: dict[str, Any] | None
    left_out: list[tuple[int, str]]  # line of a message that has no place in it, and why


class Flat:
    """Puts flat messages together."""

    def __init__(self) -> None:
        self._key: Any = None
        self._messages: dict[Any, dict[str, Any]] = {}
        self._lines: dict[Any, int] = {}
        self._left_out: list[tuple[int, str]] = []

    def add(self, line: int, row: dict[str, Any]) -> Tree | None:
        """Take a message; return the tree that ended with the one before it, if it did. Raises Refused."""
        name, parent = row.get("message_id"), row.get("parent_id") or None
        if not isinstance(name, (str, int)):
            raise Refused("a message has no message_id")
        key = row.get("message_tree_id") or (name if parent is None else self._key)
        ended = self.end() if key != self._key else None
        self._key = key
        if name in self._messages:
            self._left_out.append((line, "its message_id was there before"))
        elif len(self._messages) >= MOST_MESSAGES:
            raise Refused(f"the tree has more than {MOST_MESSAGES} messages")
        else:
            self._messages[name] = {**row, "replies": []}
            self._lines[name] = line
        return ended

    def end(self) -> Tree | None:
        """The tree so far, which begins anew."""
        messages, lines, left_out = self._messages, self._lines, self._left_out
        self._messages, self._lines, self._left_out = {}, {}, []
        if not messages:
            return None
        root = None
        for name, message in messages.items():
            parent = messages.get(message.get("parent_id") or None)
            if parent is not None and parent is not message:
                parent["replies"].append(message)
            elif not message.get("parent_id") and root is None:
                root = message
            else:
                left_out.append((lines[name], "its parent message is not in the same tree"))
        return Tree(min(lines.values()), root, left_out)
