"""All of the page in one go: by keyboard alone, by mouse alone, by touch alone on a phone; zoomed; calm."""

import pytest

from tests.annotate import FOUR, annotate, badges, drag, place, press, until

pytest_plugins = ["tests.browser"]


def tasks(site):
    """Eight tasks: of four responses, and the last of two."""
    return [site.add_task(FOUR if i < 7 else FOUR[:2], f"Prompt number {i}") for i in range(8)]


def said(site, task):
    """What stands of a task: kind, rank by text, acceptable, strength, comment, skip reason, partial."""
    sql = """
        select kind, acceptable, strength, comment, skip_reason, partial from rankings
        where task_id = ? and withdrawn_at is null
    """
    return (*site.query(sql, task), *site.stored(task))


def at(page, number):
    from playwright.sync_api import expect

    expect(page.locator(".pr-prompt-text")).to_have_text(f"Prompt number {number}")


def finished(site, page, all_tasks):
    """All of it is in the file, each once."""
    until(page, lambda: all(len(site.stored(task)) == 1 for task in all_tasks))


def test_by_keyboard_alone(site, visit):
    from playwright.sync_api import expect

    ids = tasks(site)
    page = visit("/annotate/", first_visit=True)
    expect(page.get_by_role("dialog", name="Guidelines")).to_be_visible()
    press(page, "Enter")  # the focus is on the way on
    at(page, 0)
    press(page, "1 2 3 4 Enter")
    at(page, 1)
    press(page, "1 t t t Enter")  # all tied
    at(page, 2)
    press(page, "d Enter Enter")  # the best only
    at(page, 3)
    press(page, "n Enter")
    at(page, 4)
    press(page, "s 1")
    at(page, 5)
    press(page, "w")
    page.keyboard.type("a comment")
    press(page, "Escape f Enter Escape e End")
    page.keyboard.type(" or so")
    press(page, "Escape c b a d Enter")
    at(page, 6)
    press(page, "u")
    at(page, 5)
    press(page, "Enter")
    at(page, 6)
    press(page, "h")
    expect(page.locator(".pr-recent-row")).to_have_count(6)
    press(page, "Escape ?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press(page, "Escape g Escape")
    page.locator(".pr-card").first.focus()
    for _ in range(60):  # everything is reached by Tab, and can be seen to have the focus
        press(page, "Tab")
        if page.evaluate("document.activeElement.matches('.pr-submit')"):
            break
    else:
        raise AssertionError("Tab never came to Submit")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.locator(".pr-card").first.focus()
    press(page, "1 ArrowRight 3 4 2 Backspace Enter")
    expect(page.locator(".pr-left")).to_contain_text("Enter again")  # one is left
    press(page, "2 Enter")
    at(page, 7)
    press(page, "b b b Enter")
    finished(site, page, ids)
    assert said(site, ids[3])[0] == ("ranked", 0, 0, "", "", 1)
    assert said(site, ids[4])[0] == ("skipped", None, 0, "", "cannot judge", 0)
    assert said(site, ids[5])[0][3] == "a comment"
    assert said(site, ids[7])[0] == ("ranked", None, 2, "", "", 0)
    assert set(said(site, ids[1])[1].values()) == {1}
    assert said(site, ids[2])[0][5] == 1


def test_by_mouse_alone(site, visit):
    from playwright.sync_api import expect

    ids = tasks(site)
    page = visit("/annotate/", first_visit=True)
    page.get_by_role("button", name="Start ranking").click()
    submit = page.get_by_role("button", name="Submit")
    at(page, 0)
    for rank, card in enumerate((2, 0, 3, 1), start=1):
        drag(page, page.locator(".pr-handle").nth(card), place(page, rank))
    assert badges(page) == ["2", "4", "1", "3"]
    submit.click()
    at(page, 1)
    for card in range(4):
        page.locator(".pr-card").nth(card).locator(".pr-number").nth(0).click()
    submit.click()
    at(page, 2)
    page.locator(".pr-card").nth(3).locator(".pr-number").nth(0).click()
    submit.click()
    expect(page.locator(".pr-left")).to_contain_text("D > the rest")
    submit.click()
    at(page, 3)
    page.get_by_role("button", name="None acceptable").click()
    submit.click()
    at(page, 4)
    page.get_by_role("button", name="Skip", exact=True).click()
    page.get_by_role("button", name="No reason").click()
    at(page, 5)
    page.get_by_role("button", name="Marks of Response A").click()
    page.get_by_role("button", name="− wrong").click()
    page.get_by_role("button", name="Marks of Response A").click()
    page.locator(".pr-card").nth(1).locator(".pr-number").nth(0).click()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Put back").click()
    submit.click()
    submit.click()
    at(page, 6)
    page.get_by_role("button", name="Undo").click()
    at(page, 5)
    expect(page.locator(".pr-said").first).to_have_text("− wrong")
    submit.click()
    submit.click()
    at(page, 6)
    page.get_by_role("button", name="Latest").click()
    page.get_by_role("button", name="Change the ranking of “Prompt number 3”").click()
    at(page, 3)
    page.get_by_role("button", name="None acceptable").click()
    page.locator(".pr-card").nth(2).locator(".pr-number").nth(0).click()
    submit.click()
    submit.click()
    at(page, 6)
    page.get_by_role("button", name="All keys").click()
    page.get_by_role("button", name="Close").click()
    for card in range(4):
        page.locator(".pr-card").nth(card).locator(".pr-number").nth(card).click()
    submit.click()
    at(page, 7)
    for card, rank in ((0, 2), (1, 1)):
        page.locator(".pr-card").nth(card).locator(".pr-number").nth(rank - 1).click()
    page.get_by_role("button", name="Slightly better").click()
    submit.click()
    finished(site, page, ids)
    assert said(site, ids[7])[0] == ("ranked", None, 1, "", "", 0)
    assert said(site, ids[3])[0] == ("ranked", None, 0, "", "", 1)
    assert sorted(said(site, ids[0])[1].values()) == [1, 2, 3, 4]


def test_by_touch_alone_on_a_phone(site, visit):
    from playwright.sync_api import expect

    ids = tasks(site)
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = visit("/annotate/", first_visit=True, **phone)
    page.get_by_role("button", name="Start ranking").tap()
    submit = page.get_by_role("button", name="Submit")

    def tap_rank(card, rank):
        page.locator(".pr-card").nth(card).locator(".pr-number").nth(rank - 1).tap()

    for number, ranks in enumerate(([2, 4, 1, 3], [1, 1, 1, 1])):
        at(page, number)
        for card, rank in enumerate(ranks):
            tap_rank(card, rank)
        submit.tap()
    at(page, 2)
    tap_rank(3, 1)
    submit.tap()
    submit.tap()
    at(page, 3)
    page.get_by_role("button", name="None acceptable").tap()
    submit.tap()
    at(page, 4)
    page.get_by_role("button", name="Skip", exact=True).tap()
    page.get_by_role("button", name="harmful prompt").tap()
    at(page, 5)
    page.get_by_role("button", name="Marks of Response C").tap()
    page.get_by_role("button", name="+ polite").tap()
    page.get_by_role("button", name="Marks of Response C").tap()
    page.locator(".pr-comment summary").tap()
    page.get_by_role("textbox", name="Comment").fill("by touch")
    tap_rank(2, 1)
    submit.tap()
    submit.tap()
    at(page, 6)
    page.get_by_role("button", name="Undo").tap()
    at(page, 5)
    submit.tap()
    submit.tap()
    at(page, 6)
    page.get_by_role("button", name="Latest").tap()
    withdraw = page.get_by_role("button", name="Withdraw the ranking of “Prompt number 4”")
    withdraw.tap()
    page.get_by_role("button", name="Withdraw for good").tap()
    expect(page.locator(".pr-recent-words")).to_contain_text("Withdrawn")
    page.get_by_role("button", name="Close").tap()
    page.get_by_role("button", name="Guidelines").tap()
    page.get_by_role("button", name="Close").tap()
    for card in range(4):
        tap_rank(card, card + 1)
    submit.tap()
    at(page, 7)
    tap_rank(0, 1)
    tap_rank(1, 2)
    page.get_by_role("button", name="Much better").tap()
    submit.tap()
    finished(site, page, [*ids[:4], *ids[5:]])
    assert site.stored(ids[4]) == []
    assert said(site, ids[7])[0] == ("ranked", None, 3, "", "", 0)
    assert said(site, ids[5])[0][3] == "by touch"


@pytest.mark.parametrize("width", [1280, 390])
def test_at_twice_the_size_nothing_is_out_of_reach(site, visit, width):
    """200 % zoom is half the width, in CSS pixels, and half the height (WCAG 2.2, 1.4.10 goes to 320)."""
    site.add_task(FOUR)
    viewport = {"width": max(320, width // 2), "height": 450}
    page = annotate(visit, viewport=viewport, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    for name in ("Submit", "Skip", "Undo", "None acceptable", "Guidelines", "Latest"):
        button = page.get_by_role("button", name=name, exact=True)
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        hit = "([x, y]) => document.elementFromPoint(x, y)?.closest('button')?.innerText.trim() ?? ''"
        middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        assert name.split()[0] in page.evaluate(hit, middle)


def test_who_wants_little_motion_gets_none(site, visit):
    site.store.beat("ppo")
    page = annotate_waiting(visit)
    moving = page.evaluate("document.getAnimations().filter((a) => a.playState === 'running').length")
    assert moving == 0


def annotate_waiting(visit):
    from playwright.sync_api import expect

    page = visit("/annotate/", reduced_motion="reduce")
    expect(page.get_by_role("heading", name="A round is running")).to_be_visible()
    return page


def test_forced_colours_show_what_is_chosen(site, visit):
    site.add_task(FOUR)
    page = annotate(visit, forced_colors="active")
    press(page, "1")
    chosen, other = (page.locator(".pr-number").nth(i) for i in (0, 1))
    background = "(node) => getComputedStyle(node).backgroundColor"
    assert chosen.evaluate(background) != other.evaluate(background)
    assert (
        page.locator(".pr-card.is-current").evaluate("(node) => getComputedStyle(node).outlineStyle")
        == "solid"
    )
