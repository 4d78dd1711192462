"""Hostile model text through the renderer alone: what could get through as elements, attributes and links."""

import json
import re
import sqlite3

import pytest

from labeling.render import render
from tests.hostile import CASES, LENGTHS, LONG
from tests.test_render import ALLOWED, Elements

CLASSES = re.compile(r"pod-(image|math|host|table|long)|[a-z][a-z0-9]{0,2}")  # the renderer's, and code's
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # unseen by itself


def test_there_are_many():
    assert len(CASES) >= 70
    assert len(set(CASES.values())) == len(CASES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LENGTHS else name for name in CASES]
)
def test_only_text_gets_through(name):
    elements = Elements(html := render(CASES[name]))
    assert elements.found, "nothing is seen"
    for tag, attributes in elements.found:
        assert tag in ALLOWED
        assert set(attributes) <= {"href", "title", "rel", "target", "dir", "start", "class"}
        assert all(CLASSES.fullmatch(name) for name in (attributes.get("class") or "").split())
        if "href" in attributes:
            assert re.match(r"https://[a-z0-9.-]+([:/?#]|$)|mailto:", attributes["href"])
            assert attributes["target"] == "_blank"
            assert "noopener" in attributes["rel"]
    assert not STEERING.findall(html)
    assert len(html) < 10 * LONG


def test_a_lone_surrogate_is_a_sign_for_no_character():
    """The store has none, its driver refuses them; but JSON has an escape for one."""
    text = json.loads('"a \\ud800 b"')
    with pytest.raises(UnicodeEncodeError), sqlite3.connect(":memory:") as db:
        db.execute("select ?", [text])
    assert Elements(render(text)).text.strip() == "a \ufffd b"
