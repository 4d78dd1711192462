"""Guidelines, practice, the ten latest, and the languages of the page."""

import re

import pytest

from labeling.texts import LANGUAGES, texts
from tests.annotate import FOUR, annotate, badges, press, saved, shown

pytest_plugins = ["tests.browser"]


def test_the_first_visit_shows_the_guidelines_once_and_rankings_record_their_version(site, visit):
    from playwright.sync_api import expect

    task, other, third = (site.add_task(FOUR, f"{which} prompt") for which in ("First", "Second", "Third"))
    page = visit("/annotate/", first_visit=True)
    dialog = page.get_by_role("dialog", name="Guidelines")
    expect(dialog).to_contain_text("you would rather get")
    press(page, "1")  # not ranked behind it
    page.get_by_role("button", name="Start ranking").click()
    expect(dialog).to_be_hidden()
    assert badges(page) == [""] * 4
    press(page, "1 2 3 4 Enter")
    saved(page)
    page.reload()
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    expect(dialog).to_be_hidden()
    press(page, "g")
    expect(dialog).to_be_visible()
    press(page, "Escape")
    version = site.store.add_guidelines(f"Be **kind** {task}. <img src=x onerror=alert(1)>").version
    page.wait_for_function(
        "(v) => fetch('/api/status').then((r) => r.json()).then((s) => s.guidelines === v)", arg=version
    )
    press(page, "1 2 3 4 Enter")  # under the old ones, as they were not shown yet
    expect(page.locator(".pr-prompt-text")).to_have_text("Third prompt")
    page.reload()
    expect(dialog).to_contain_text("The guidelines have changed.")
    expect(dialog.locator("strong")).to_have_text("kind")
    expect(dialog.locator("img")).to_have_count(0)
    page.get_by_role("button", name="Start ranking").click()
    press(page, "1 2 3 4 Enter")
    saved(page)
    sql = "select guidelines from rankings where task_id = ?"
    assert [site.query(sql, t)[0][0] for t in (task, third)] == [version - 1, version]
    assert site.query(sql, other)[0][0] in (version - 1, version)


def test_four_tasks_of_practice_explain_themselves_and_store_nothing(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR, "A real prompt")
    before = site.store.last_ranking_id()
    page = visit("/annotate/", first_visit=True)
    page.get_by_role("button", name="Practise on four tasks first").click()
    lesson = page.locator(".pr-lesson")
    answers = [
        ("b Enter", "Not quite: A > B", "What is the capital"),
        ("3 1 4 2 Enter", "Yes.", "boil an egg"),
        ("1 2 1 Enter", "Yes.", "two plus two"),
        ("n Enter", "Yes.", "flat unseen"),
    ]
    for number, (keys, verdict, prompt) in enumerate(answers, start=1):
        expect(page.locator(".pr-practice")).to_contain_text(f"Practice {number} of 4: nothing is stored")
        expect(page.locator(".pr-prompt-text")).to_contain_text(prompt)
        press(page, keys)
        expect(lesson.locator("h2")).to_contain_text(verdict)
        assert len(lesson.locator(".pr-lesson-why").inner_text()) > 80
        press(page, "Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("A real prompt")
    expect(page.locator(".pr-practice")).to_be_hidden()
    assert site.store.last_ranking_id() == before
    press(page, "1 2 3 4 Enter")
    saved(page)
    assert len(site.stored(task)) == 1


def test_the_latest_can_be_changed_or_withdrawn_and_the_change_is_on_record(site, visit):
    from playwright.sync_api import expect

    tasks = [site.add_task(FOUR, f"Prompt number {i}") for i in range(4)]
    page = annotate(visit)
    for i in range(3):
        expect(page.locator(".pr-prompt-text")).to_have_text(f"Prompt number {i}")
        press(page, "1 2 3 4 Enter" if i else "s 1")
    expect(page.locator(".pr-prompt-text")).to_have_text("Prompt number 3")
    expect(page.locator(".pr-mine")).to_contain_text("You: 2 today")
    press(page, "1 2 h")
    rows = page.locator(".pr-recent-row")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("A > B > C > D")
    expect(rows.nth(2)).to_contain_text("Skipped: cannot judge")
    # withdraw the second: asked twice, no single press does it
    withdraw = page.get_by_role("button", name="Withdraw the ranking of “Prompt number 1”")
    withdraw.dblclick()
    expect(page.locator(".pr-recent-words")).to_have_text("Withdraw for good?")
    assert len(site.stored(tasks[1])) == 1
    page.get_by_role("button", name="Withdraw for good").click()
    expect(page.locator(".pr-recent-words")).to_contain_text("Withdrawn")
    expect(rows).to_have_count(2)
    assert site.stored(tasks[1]) == []
    # change the first: from the skip to a ranking
    page.get_by_role("button", name="Change the ranking of “Prompt number 0”").click()
    expect(page.locator(".pr-prompt-text")).to_have_text("Prompt number 0")
    press(page, "4 3 2 1 Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Prompt number 3")
    assert badges(page) == ["1", "2", "", ""]  # what was begun is still there
    expect(page.locator(".pr-mine")).to_contain_text("You: 2 today")
    press(page, "h")
    expect(rows.nth(0)).to_contain_text("changed")
    sql = "select kind, withdrawn_for from rankings where task_id = ? order by id"
    assert site.query(sql, tasks[0]) == [("skipped", "change"), ("ranked", None)]
    assert site.query(sql, tasks[1]) == [("ranked", "good")]
    assert site.query("select state from tasks where id = ?", tasks[1]) == [("retired",)]


def test_no_latest_yet(site, visit):
    from playwright.sync_api import expect

    site.add_task(FOUR)
    page = annotate(visit)
    page.get_by_role("button", name="Latest").click()
    expect(page.locator(".pr-recent-words")).to_have_text("You have ranked nothing yet.")


# languages


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_the_browsers_language(site, visit, language):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit, locale=language, viewport={"width": 390, "height": 844})
    words = texts(language)
    expect(page.get_by_role("button", name=words["submit"])).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator(".pr")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    leftover = page.locator(".pr").inner_text()
    assert not re.findall(r"\{\w+\}|\b(?:hint|place|rank|worker|until)\.\w+", leftover)
    press(page, "2 4 1 3 Enter")
    expect(page.locator(".pr-live")).to_contain_text(words["saved"])
    assert len(site.stored(task)) == 1


def test_the_language_is_switched_in_the_middle_and_kept(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    press(page, "2 4")
    page.get_by_role("combobox", name="Language").select_option("ar")
    expect(page.get_by_role("button", name=texts("ar")["submit"])).to_be_visible()
    assert badges(page) == ["2", "4", "", ""]
    boxes = [page.locator(".pr-card").nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["x"] > boxes[1]["x"]  # from right to left
    page.locator(".pr-card").nth(0).focus()
    press(page, "ArrowLeft")
    expect(page.locator(".pr-card").nth(1)).to_be_focused()
    page.reload()
    expect(page.get_by_role("button", name=texts("ar")["submit"])).to_be_visible()
    page.locator(".pr-card").nth(2).focus()
    press(page, "1 3 Enter")
    expect(page.locator(".pr-live")).to_contain_text(texts("ar")["saved"])
    assert site.stored(task) == [dict(zip(order, [2, 4, 1, 3], strict=True))]
