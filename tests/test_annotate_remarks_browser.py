"""What an annotator can say beside a whole order: the best only, none acceptable, by how much, a comment."""

import pytest

from labeling.store import Remarks
from tests.annotate import FOUR, annotate, badges, press, saved, shown

pytest_plugins = ["tests.browser"]


def read(site, task):
    """The standing ranking of a task, as training reads it."""
    ids = [row[0] for row in site.query("select id from rankings where task_id = ?", task)]
    (ranking,) = [r for r in site.store.rankings() if r.id in ids]
    return ranking


def said(ranking) -> Remarks:
    return Remarks(ranking.acceptable, ranking.strength, ranking.comment)


def test_the_best_only_is_asked_for_once_more_and_stored_as_such(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    best = shown(page)[1]
    press(page, "b Enter")
    expect(page.locator(".pr-left")).to_have_text("Enter again: B > the rest")
    assert site.stored(task) == []  # it may have been a slip
    press(page, "c Enter")  # another order is asked for anew
    expect(page.locator(".pr-left")).to_have_text("Enter again: B > C > the rest")
    press(page, "Backspace Enter Enter")
    saved(page)
    ranking = read(site, task)
    assert (ranking.partial, said(ranking)) == (True, Remarks())
    assert [rank for text, rank in zip(ranking.responses, ranking.ranks, strict=True) if text == best] == [1]
    assert sorted(ranking.ranks) == [1, 2, 2, 2]

    press(page, "u")
    expect(page.locator(".pr-medal").nth(1)).to_have_text("1")
    assert badges(page) == ["", "1", "", ""]  # what was not compared comes back as not ranked


@pytest.mark.parametrize("order", [False, True])
def test_none_acceptable_with_an_order_or_without(site, visit, order):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    button = page.get_by_role("button", name="None acceptable")
    expect(button).to_have_attribute("aria-pressed", "false")
    press(page, "n")
    expect(button).to_have_attribute("aria-pressed", "true")
    press(page, "n")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    if order:
        page.locator(".pr-card").first.focus()
        press(page, "1 2 3 4")
    says = "Ready: A > B > C > D, none acceptable" if order else "Ready: none acceptable"
    expect(page.locator(".pr-left")).to_have_text(says)
    page.get_by_role("button", name="Submit").click()
    saved(page)
    ranking = read(site, task)
    assert said(ranking) == Remarks(acceptable=False)
    assert (ranking.ranks, ranking.partial) == (([1, 2, 3, 4], False) if order else ([1] * 4, True))
    press(page, "u")
    expect(button).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    ("keys", "ranks", "strength", "says"),
    [
        ("b", [2, 1], 0, "Ready: B > A"),
        ("b b", [2, 1], 1, "Ready: B > A, slightly better"),
        ("a b b b", [2, 1], 2, "Ready: B > A, clearly better"),
        ("a a a a", [1, 2], 3, "Ready: A > B, much better"),
        ("a a a a a", [1, 2], 0, "Ready: A > B"),
        ("t", [1, 1], 0, "Ready: A = B"),
        ("a a t", [1, 1], 0, "Ready: A = B"),
    ],
)
def test_of_two_one_key_says_which_and_again_by_how_much(site, visit, keys, ranks, strength, says):
    from playwright.sync_api import expect

    task = site.add_task(FOUR[:2])
    page = annotate(visit)
    press(page, keys)
    expect(page.locator(".pr-left")).to_have_text(says)
    press(page, "Enter")
    saved(page)
    ranking = read(site, task)
    assert (ranking.ranks, said(ranking)) == (ranks, Remarks(strength=strength))


def test_by_how_much_has_buttons_that_come_with_a_choice(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR[:2])
    page = annotate(visit)
    group = page.get_by_role("group", name="By how much is it better")
    expect(group).to_be_hidden()
    page.get_by_role("button", name="1, best").first.click()
    expect(group).to_be_hidden()
    page.get_by_role("button", name="2", exact=True).nth(1).click()
    group.get_by_role("button", name="Much better").click()
    expect(group.get_by_role("button", name="Much better")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Submit").click()
    saved(page)
    assert said(read(site, task)) == Remarks(strength=3)


def test_a_comment_goes_with_the_ranking_or_the_skip_and_survives_a_reload(site, visit):
    from playwright.sync_api import expect

    task, other = site.add_task(FOUR), site.add_task(FOUR, "Another?")
    page = annotate(visit)
    press(page, "w")
    page.keyboard.type("b and c say the same, 1 2 3")  # letters and digits here rank nothing
    page.keyboard.press("Escape")
    assert badges(page) == ["", "", "", ""]
    page.reload()
    box = page.get_by_role("textbox", name="Comment")
    expect(box).to_have_value("b and c say the same, 1 2 3")
    page.locator(".pr-card").first.focus()
    press(page, "1 2 3 4 Enter")
    saved(page)
    assert said(read(site, task)) == Remarks(comment="b and c say the same, 1 2 3")

    expect(box).to_be_hidden()  # the next task has none
    press(page, "w")
    page.keyboard.type("not my subject")
    page.keyboard.press("Escape")
    press(page, "s s")
    expect(page.locator(".pr-live")).to_contain_text("Skipped")
    assert site.query("select comment from rankings where task_id = ?", other) == [("not my subject",)]


def test_enter_after_a_click_submits_and_does_not_press_the_button_again(site, visit):
    task, other = site.add_task(FOUR[:2]), site.add_task(FOUR, "Another?")
    page = annotate(visit)
    press(page, "a")
    page.get_by_role("button", name="Much better").click()
    press(page, "Enter")
    saved(page)
    assert said(read(site, task)) == Remarks(strength=3)
    page.get_by_role("button", name="None acceptable").click()
    press(page, "Enter")
    saved(page)
    page.wait_for_function("document.querySelector('.pr').dataset.state === 'waiting'")
    assert said(read(site, other)) == Remarks(acceptable=False)


def test_what_was_written_after_undo_survives_a_reload(site, visit):
    from playwright.sync_api import expect

    site.add_task(FOUR[:2])
    page = annotate(visit)
    press(page, "a Enter")
    saved(page)
    press(page, "u")
    expect(page.locator(".pr-left")).to_have_text("Brought back")
    press(page, "w")
    page.keyboard.type("on second thought")
    page.keyboard.press("Escape")
    press(page, "b")
    page.reload()
    expect(page.get_by_role("textbox", name="Comment")).to_have_value("on second thought")
    assert badges(page) == ["2", "1"]


def test_a_double_click_on_submit_is_one_click(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    press(page, "b")
    submit = page.get_by_role("button", name="Submit")
    submit.dblclick()
    expect(page.locator(".pr-left")).to_have_text("Enter again: B > the rest")
    expect(submit).to_have_attribute("aria-disabled", "false")
    assert site.stored(task) == []
    submit.click()
    saved(page)
    assert len(site.stored(task)) == 1
