"""The catalogue: every key the page asks for is in every language, with the same places and keys in it."""

import json
import re

import pytest

from labeling import annotate, theme
from labeling.form import SCALES, Form
from labeling.texts import FOLDER, LANGUAGES, texts

ENGLISH = texts("en")
PLURALS = {  # Unicode CLDR 47, cardinal
    "en": {"one", "other"},
    "de": {"one", "other"},
    "es": {"one", "many", "other"},
    "fr": {"one", "many", "other"},
    "zh": {"other"},
    "ar": {"zero", "one", "two", "few", "many", "other"},
}
# Keys that are put together: what stands before the plus sign in the scripts.
MADE = {
    "place.": ["1", "2", "3", "4", "none"],
    "strength.": ["1", "2", "3"],
    "strength.short.": ["1", "2", "3"],
    "worker.": ["starting", "generating", "reward_model", "ppo", "dpo", "sft", "publishing", "idle", "paused",
                "failed"],
    "round.": ["rejected", "failed", "stopped"],
    "prompt.": ["user", "assistant", "system"],
    "form.": [*(name for names in Form().as_dict().values() for name in names), *SCALES],
    "practice.": [f"{n}.{part}" for n, parts in enumerate(("ab", "abcd", "abc", "ab"), start=1)
                  for part in ("prompt", "why", *parts)],
}  # fmt: skip


def forms(text):
    return list(text.values()) if isinstance(text, dict) else [text]


def places(text):
    return sorted(re.findall(r"\{\w+\}", text))


def keys(text):
    return sorted(re.findall(r"\[[^\]]+\]", text))


def asked_for() -> set[str]:
    scripts = "".join((theme.WIDGETS / name).read_text(encoding="utf-8") for name in annotate.SCRIPTS)
    html = (theme.WIDGETS / "rank.html").read_text(encoding="utf-8") + theme.header("annotate")
    literal = r'"([a-z]+(?:[.][a-z0-9_]+)*)"'
    found = set(re.findall(rf"\bt\([^()\"]*{literal}", scripts))
    found |= {
        key for pair in re.findall(rf"\? {literal} : {literal}", scripts) for key in pair
    } & ENGLISH.keys()
    found |= set(re.findall(rf"(?:data-t|data-label|data-placeholder)={literal}", html))
    found |= {key for key in re.findall(r'data-keys="([^"\[]+)"', html)}
    return found


def test_every_key_the_page_asks_for_is_there():
    assert asked_for() - ENGLISH.keys() == set()
    assert len(asked_for()) > 120  # the search finds them
    for start, ends in MADE.items():
        assert [end for end in ends if start + end not in ENGLISH] == []


def test_no_text_is_left_over():
    text = "".join(
        (theme.WIDGETS / name).read_text(encoding="utf-8") for name in [*annotate.SCRIPTS, "rank.html"]
    )
    made = {start + end for start, ends in MADE.items() for end in ends}
    header = theme.header("annotate")
    left = [key for key in ENGLISH if f'"{key}"' not in text + header and key not in made]
    assert left == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_key_and_the_same_places(language):
    found = texts(language)
    assert list(found) == list(ENGLISH)  # in the same order: easy to compare
    for key, english in ENGLISH.items():
        text = found[key]
        assert isinstance(text, dict) == isinstance(english, dict), key
        if isinstance(text, dict):
            assert set(text) == PLURALS[language], key
        for category, form in text.items() if isinstance(text, dict) else [("", text)]:
            assert form.strip(), key
            wanted = places(forms(english)[-1])
            if category in ("one", "two") and "{n}" not in form:  # "a minute", "two minutes"
                wanted = [place for place in wanted if place != "{n}"]
            assert places(form) == wanted, key
            assert keys(form) == keys(forms(english)[-1]), key


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_a_language_is_translated(language):
    found = texts(language)
    same = [key for key, text in found.items() if text == ENGLISH[key] and len(str(text)) > 12]
    assert len(same) <= 3, same


def test_the_files_are_the_languages():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(LANGUAGES)
    for path in FOLDER.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
