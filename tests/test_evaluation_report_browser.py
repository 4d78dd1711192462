"""The evaluation's HTML report in a real browser: light, dark, narrow, accessible, asking nobody anything."""

import json
import math
import re

import pytest

from data.conversation import as_prompt
from labeling.evaluation_report import check, headline, page, write
from labeling.plots import Point, bar, interval, scatter
from labeling.report_page import css
from labeling.standings import side_by_side, standings
from tests.test_axe_browser import MARKDOWN, violations

pytest_plugins = ["tests.browser"]

HOSTILE = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'> [a](javascript:alert(1)) $`${1}"
)

TALK = as_prompt(
    [{"role": r, "content": t} for r, t in (("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye"))]
)
NAMES = {"base": "Base", "prompted": "Base, good prompt", "0": "SFT (policy 0)"}


def rate(value, n=100, **more):
    return {"win_rate": value, "low": max(0, value - 0.1), "high": min(1, value + 0.1), "n": n} | more


def contender(key, kl=None):
    return {
        "key": key,
        "name": NAMES.get(key, f"Policy {key}"),
        "version": int(key) if key.isdigit() else None,
        "kl": None if kl is None else {"value": kl, "low": kl - 0.1, "high": kl + 0.1},
        "length": 17.25,
        "words": 12.5,
        "sentences": 2.0,
        "scores": {"helpful": 1.5, "reward model": None},
        "perplexity": {"perplexity": 3.5, "perplexity_low": 3.1, "perplexity_high": 3.9, "bits_per_byte": 0.5,
                       "texts": 20, "tokens": 300},
        "forgetting": None if key == "prompted" else {"bits_per_byte": 1.25}
        | ({} if key == "0" else {"change": 0.031, "change_low": 0.01, "change_high": 0.05}),
        "behaviours": {
            "has a list": {"share": 0.25, "low": 0.1, "high": 0.4, "n": 20},
            "refuses a harmful request": {"share": 0.5, "low": 0.2, "high": 0.8, "n": 9},
            "never seen": {"share": 0.0, "low": 0.0, "high": 0.1, "n": 20},
            "something else": {"share": 1.0, "low": 0.9, "high": 1.0, "n": 20},
        },
        "lm_eval": {"own <task>": {"acc": {"value": 0.625, "error": 0.05}}},
    }  # fmt: skip


def result():
    keys = ["base", "prompted", "0", "1", "2", "3"]
    kls = {"0": -0.0001, "1": 1.2, "2": 2.4, "3": 3.3}
    estimate = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40}
    return {
        "run": "runs/<b>x</b>", "model": "a/model", "base": "a/base", "seed": 0, "temperature": 0.8,
        "prompts": 100, "length_unit": "tokens", "seconds": 12.0,
        "good_prompt": {"template": f"{HOSTILE}\nUser: {{prompt}}", "examples": 2, "source": ""},
        "names": {key: contender(key)["name"] for key in keys},
        "contenders": [contender(key, kls.get(key)) for key in keys],
        "judges": [
            {"name": "helpful", "kind": "scorer", "note": ""},
            {"name": "reward model", "kind": "reward model", "note": "It flatters them."},
        ],
        "matches": [
            {"judge": judge, "contender": key, "against": "0", "ties": 3,
             "length_controlled": None if key == "base" else rate(share, extrapolated=key == "1")}
            | rate(share)
            for judge in ("helpful", "reward model")
            for key, share in zip(keys, (0.05, 0.2, 0.5, 0.65, 0.8, 0.97), strict=True)
            if key != "0"
        ],
        "itself": [{"judge": judge} | rate(0.48) for judge in ("helpful", "reward model")],
        "people": {
            "human": {
                "rankings": 40, "tasks": 40,
                "pairings": [{"version": 1, "against": 0, "tasks": 40, "win_rate": estimate},
                             {"version": 2, "against": 1, "tasks": 1,
                              "win_rate": estimate | {"low": None, "high": None}}],
                "strengths": [{"version": 1, "beats": estimate, "at_equal_length": None},
                              {"version": 2, "beats": estimate, "at_equal_length": estimate}],
            }
        },
        "examples": [
            {"prompt": HOSTILE, "responses": dict.fromkeys(keys, MARKDOWN) | {"0": "", "1": HOSTILE},
             "scores": {"helpful": dict.fromkeys(keys, 0.5)}},
            {"prompt": TALK, "responses": {"0": "بالتأكيد", "1": "x" * 300}, "scores": {}},
        ],
        "notes": ["A <note>."],
    }  # fmt: skip


@pytest.fixture
def report(tmp_path):
    write(result(), str(tmp_path / "report.html"))
    return tmp_path / "report.html"


@pytest.mark.parametrize(
    "device",
    [
        {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
        {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
        {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
        {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    ],
    ids=lambda device: f"{device['color_scheme']}-{device['viewport']['width']}",
)
def test_it_is_read_by_everybody(chromium, report, device):
    context = chromium.new_context(**device)
    shown, asked, errors = context.new_page(), [], []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: errors.append(message.text))
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(report.as_uri())
    for details in shown.locator("summary").all():
        details.click()
    assert violations(shown) == []
    assert shown.evaluate("document.documentElement.scrollWidth") == device["viewport"]["width"]
    assert shown.evaluate("window.pwned") is None
    assert asked == [report.as_uri()]
    assert errors == []
    dark = device["color_scheme"] == "dark"
    background = shown.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(15, 21, 19)" if dark else "rgb(244, 246, 243)")
    # what the first judge says of the newest policy, in words, in the table, and drawn where it is
    assert (
        shown.locator(".says")
        .inner_text()
        .startswith("Policy 3 wins 97% of the time against SFT (87% to 100%)")
    )
    assert shown.locator("h2").first.inner_text() == "The arena: people"
    judged = shown.get_by_role("region", name="Win rates against SFT (policy 0), judged by helpful")
    row = judged.locator("tbody tr").nth(4)
    assert row.locator("td").first.inner_text().split() == ["97.0%", "87%", "to", "100%"]
    drawn = row.locator("svg").first.evaluate("""svg => {
        const box = svg.getBoundingClientRect(), span = svg.querySelector('.span').getBoundingClientRect();
        return [(span.left - box.left) / box.width, (span.right - box.left) / box.width];
    }""")
    assert drawn == pytest.approx([0.87, 1.0], abs=0.02)
    # a table that is too wide scrolls in its own box, its names and its caption stay
    wide = shown.get_by_role("region", name="Behaviours")
    wide.evaluate("box => { box.scrollLeft = 10_000 }")
    name, caption = wide.locator("tbody th").first, wide.locator(".caption")
    for stays in (name, caption):
        left = stays.evaluate("node => node.getBoundingClientRect().left")
        assert left >= wide.evaluate("box => box.getBoundingClientRect().left") - 1
    assert caption.evaluate("node => node.getBoundingClientRect().right") <= device["viewport"]["width"]
    assert shown.locator(".pane .pod-text script, .pane img").count() == 0
    context.close()


def test_all_of_it_is_on_the_page():
    html = page(result())
    for words in (
        "The arena: people", "It flatters them.", "lm-eval", "own &lt;task&gt;: acc", "0.625 ±0.098",
        "A &lt;note&gt;.",
        "runs/&lt;b&gt;x&lt;/b&gt;", "with 2 examples", "(an empty response)", "beyond what was seen", "Else",
        "1.250 (+3.1%)", "User: Hi\n\nAssistant: Yes?",
    ):  # fmt: skip
        assert words in html, words
    assert "never seen" not in html
    assert "-0.00" not in html
    assert not re.search(r"<script|<img|href=.javascript:", html)
    assert not re.search(r'(?:src|href)="(?!https://|mailto:)', html)


def test_the_sentence_is_careful():
    found = result()
    close = next(m for m in found["matches"] if m["contender"] == "3")
    close |= {"win_rate": 0.55, "low": 0.45, "high": 0.64}
    assert "Policy 3 cannot be told from SFT: it wins 55% of the time (45% to 64%)" in headline(found)
    assert "a good prompt, which costs no training, wins 20% of the time" in headline(found)
    found["matches"] = []
    assert headline(found) == "6 contenders, judged by helpful."


def test_the_terminal_shows_the_first_and_the_newest():
    found = result()
    assert [one["key"] for one in side_by_side(found)] == ["base", "prompted", "0", "2", "3"]
    assert "own <task>: acc" in standings(found)


def test_what_is_dark_stands_in_the_readers_choice():
    style = css()
    light, dark = style.split("@media (prefers-color-scheme: dark) {")
    assert "--pod-bg: #f4f6f3" in light
    assert "--pod-bg: #0f1513" in dark
    assert ".dark" not in style
    assert "gradio" not in style.lower()


def test_files_that_cannot_be_written(tmp_path):
    check(None, "-", "", str(tmp_path / "fine.html"))
    assert not list(tmp_path.iterdir())
    for name, says in ((tmp_path / "no" / "x.html", "cannot be written"), (tmp_path, "is a folder")):
        with pytest.raises(ValueError, match=says):
            check(str(name))
    with pytest.raises(ValueError, match="cannot be written"):
        write(result(), str(tmp_path / "no" / "x.html"))
    assert json.dumps(result(), allow_nan=False)


def test_plots():
    assert 'x1="60.0" y1="8" x2="80.0"' in interval(0.7, 0.6, 0.8)
    assert "span above" in interval(0.7, 0.6, 0.8)
    assert "span below" in interval(0.3, 0.2, 0.4)
    assert "span unclear" in interval(0.5, 0.4, 0.6)
    assert "span above" in interval(0.7, None, None)
    assert 'class="filled" width="25.0"' in bar(0.25)
    drawn = scatter([Point("<a>", 1.0, 0.5, 0.4, 0.6), Point("b", 300.0, 1.0, 0.9, 1.0)], "x", "y")
    assert "&lt;a&gt;" in drawn
    assert "b 100% at 300.0" in drawn
    assert "nan" not in drawn
    assert math.isfinite(float(re.search(r'cx="([\d.]+)"', drawn)[1]))
