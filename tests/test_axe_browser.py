"""axe-core, a checker of accessibility, finds nothing on either page: light and dark, in every state."""

import random

import pytest

from labeling import lab
from tests.annotate import FOUR, annotate, press, shown
from tests.test_lab_browser import rank_once, run_round

pytest_plugins = ["tests.browser"]

MARKDOWN = (
    """# Title

[a link](https://a.example) and `code`, \\(x^2\\), ![an image](https://a.example)

### Title

> 1. one
> 2. two

```python
@decorated
def f(x: int = 1) -> str:
    # why, in a line that is longer than any card on any screen: why, why, why, why, why, why, why, why
    return f"{x}" + 'y' is None
```
```diff
- gone
+ come
```
| a | b |
|---|---|
| 1 | """
    + "long" * 60
    + " |"
)


@pytest.fixture(params=["light", "dark"])
def scheme(request) -> str:
    return request.param


def violations(page) -> list[str]:
    """What axe-core has to say: the rule, the element and why."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page).response
    assert len(response["passes"]) > 10  # it did look
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in response["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.slow
def test_annotate_with_four(site, visit, scheme):
    site.add_task([MARKDOWN, MARKDOWN * 9, *FOUR[:2]], MARKDOWN)
    page = annotate(visit, color_scheme=scheme, reduced_motion="reduce")
    assert violations(page) == []
    press(page, "1 Enter 2 2 n")  # what is missing was said; one response is left
    assert violations(page) == []
    press(page, "f")  # marks on one response
    assert violations(page) == []
    press(page, "Escape s")  # reasons to skip
    assert violations(page) == []
    press(page, "Escape e")  # a better response
    assert violations(page) == []


@pytest.mark.slow
def test_annotate_from_right_to_left(site, visit, scheme):
    site.add_task([MARKDOWN, *FOUR[:3]], MARKDOWN)
    page = annotate(visit, color_scheme=scheme, reduced_motion="reduce", locale="ar-EG")
    assert page.locator(".pr").get_attribute("dir") == "rtl"
    press(page, "1 Enter 2 2 n f")
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == []


def test_annotate_with_two(site, visit, scheme):
    site.add_task(FOUR[:2])
    page = annotate(visit, color_scheme=scheme, reduced_motion="reduce")
    press(page, "a a w")  # by how much is asked, and the comment is open
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == []


def test_annotate_waiting(site, visit, scheme):
    from playwright.sync_api import expect

    page = visit("/annotate/", color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator(".pr-waiting")).to_be_visible()
    assert violations(page) == []
    site.store.beat("failed", error="The graphics card is on fire.")
    expect(page.get_by_text("The graphics card is on fire.")).to_be_visible()
    assert violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["?", "g", "h"])
def test_the_dialogs(site, visit, scheme, key):
    """All the keys, the guidelines, the latest rankings."""
    from playwright.sync_api import expect

    site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit, color_scheme=scheme, reduced_motion="reduce")
    press(page, "1 2 3 4 Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    assert len(shown(page)) == 4
    press(page, key)
    expect(page.locator("dialog[open]")).to_be_visible()
    assert violations(page) == []


@pytest.mark.slow
def test_every_tab_of_the_lab(site, visit, scheme):
    from playwright.sync_api import expect

    first = run_round(site.store)
    site.store.end_round(first.id, "rejected", "PPO lost too much.", {"accuracy": 0.7})
    failed = run_round(site.store)
    site.store.end_round(failed.id, "failed", "RuntimeError", {"accuracy": 0.7})
    run_round(site.store)
    for name in ("Marta", "Simon"):
        rank_once(site, "human", f"{name} {random.random()}")
    page = visit("/lab/", color_scheme=scheme, reduced_motion="reduce")
    for title in lab.TABS:
        page.get_by_role("tab", name=title, exact=True).click()
        expect(page.get_by_role("tab", name=title, exact=True)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel")).to_be_visible()
        assert (title, violations(page)) == (title, [])
    site.store.end_round(site.store.running_round().id, "failed", "stopped")


def test_before_and_after(site, visit, scheme):
    from playwright.sync_api import expect

    page = visit("/lab/#before-after", color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator(".version input").first).to_be_checked()  # it knows which policies there are
    page.get_by_role("button", name="What is 7 plus 5?").click()
    expect(page.locator(".pane").first).to_be_visible()
    assert violations(page) == []
    for sample in site.store.waiting_samples():
        site.store.update_sample(sample["id"], text=MARKDOWN, score=1.0, state="done")
    expect(page.locator(".pane pre").first).to_be_visible()
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == []
