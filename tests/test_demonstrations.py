"""Demonstrations in a file, in the forms that people have."""

import json

import pytest

from data.conversation import as_prompt
from data.demonstrations import Demonstration, read_demonstrations

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
MORE = [*TURNS, {"role": "user", "content": "Who?"}]


def write(path, *rows):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


def test_every_form_is_read(tmp_path):
    rows = [
        {"prompt": "a", "response": "b"},
        {"prompt": "a", "response": "b"},  # known already
        {"prompt": " c ", "completion": "d\n"},
        {"instruction": "Add", "input": "1 and 2", "output": "3"},
        {"instruction": "Say", "input": "", "output": "so"},
        {"messages": TURNS},
        "",
        {"messages": [*MORE, {"role": "assistant", "content": "Me."}]},
        {"prompt": MORE, "completion": [{"role": "assistant", "content": "You."}]},
    ]
    assert read_demonstrations(write(tmp_path / "all.jsonl", *rows)) == [
        Demonstration("a", "b"),
        Demonstration("c", "d"),
        Demonstration("Add\n\n1 and 2", "3"),
        Demonstration("Say", "so"),
        Demonstration("Hi", "Hello."),
        Demonstration(as_prompt(MORE), "Me."),
        Demonstration(as_prompt(MORE), "You."),
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ({"prompt": "a", "response": " "}, "its response has no text"),
        ({"prompt": 3, "response": "b"}, "its prompt has no text"),
        ({"messages": TURNS[:1]}, "the last message is not the assistant's"),
        ({"text": "a"}, "it has text"),
        ({"messages": [{"role": "tool", "content": "x"}, TURNS[1]]}, "wanted messages of"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path, row, why):
    file = write(tmp_path / "bad.jsonl", {"prompt": "a", "response": "b"}, row)
    with pytest.raises(ValueError, match="line 2: ") as caught:
        read_demonstrations(file)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_empty_is_said(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_demonstrations(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="has no demonstration"):
        read_demonstrations(write(tmp_path / "empty.jsonl", ""))
