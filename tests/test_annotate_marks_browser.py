"""What is said of single responses, a better one, why a task is skipped; texts that are long or the same."""

import json

import pytest

from labeling.form import Form
from tests.annotate import FOUR, annotate, badges, press, saved, shown

pytest_plugins = ["tests.browser"]


def marks(site, task):
    """The marks of a task's standing ranking, by position."""
    sql = """
        select marks from ranks join rankings on rankings.id = ranking_id
        where task_id = ? and withdrawn_at is null order by position
    """
    return [json.loads(text) for (text,) in site.query(sql, task)]


@pytest.fixture
def form(site):
    """Change the form; afterwards it is the delivered one again."""
    yield lambda **changes: site.store.put_form(Form(**changes))
    site.store.put_form(Form())


def test_marks_by_keyboard_are_stored_with_their_response(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    press(page, "1 f")
    expect(page.get_by_role("button", name="⚑ unsafe")).to_be_focused()
    press(page, "Space")
    expect(page.get_by_role("button", name="⚑ unsafe")).to_have_attribute("aria-pressed", "true")
    press(page, "Tab Enter Escape")  # "false" as well; Enter pressed a button and submitted nothing
    expect(page.locator(".pr-card").nth(1)).to_be_focused()
    expect(page.locator(".pr-said").nth(1)).to_have_text("⚑ unsafe · ⚑ false")
    page.reload()
    expect(page.locator(".pr-said").nth(1)).to_have_text("⚑ unsafe · ⚑ false")
    press(page, "2 3 4 Enter")
    saved(page)
    assert marks(site, task) == [{}, {"flags": ["unsafe", "false"]}, {}, {}]
    press(page, "u")
    expect(page.locator(".pr-said").nth(1)).to_have_text("⚑ unsafe · ⚑ false")


def test_reasons_by_mouse_and_ratings_where_a_project_wants_them(site, visit, form):
    from playwright.sync_api import expect

    task = site.add_task(FOUR[:2])
    page = annotate(visit)
    page.get_by_role("button", name="Marks of Response A").click()
    expect(page.get_by_role("group", name="tone, 1 (worst) to 5")).to_have_count(0)
    page.get_by_role("button", name="Marks of Response A").click()
    form(flags=("too loud",), ratings=("tone", "grammar"))
    page.reload()
    page.get_by_role("button", name="Marks of Response A").click()
    page.get_by_role("button", name="⚑ too loud").click()
    page.get_by_role("button", name="+ clear").click()
    page.get_by_role("button", name="− too long").click()
    tone = page.get_by_role("group", name="tone, 1 (worst) to 5")
    tone.get_by_role("button", name="4").click()
    tone.get_by_role("button", name="2").click()  # instead
    grammar = page.get_by_role("group", name="grammar, 1 (worst) to 5")
    grammar.get_by_role("button", name="5").click()
    grammar.get_by_role("button", name="5").click()  # taken back
    page.locator(".pr-card").nth(1).focus()
    press(page, "b Enter")
    saved(page)
    assert marks(site, task) == [
        {
            "flags": ["too loud"],
            "reasons_for": ["clear"],
            "reasons_against": ["too long"],
            "ratings": {"tone": 2},
        },
        {},
    ]


def test_a_better_response_is_written_from_one_and_ranks_first(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    press(page, "1 2 3 4 b e")
    box = page.get_by_role("textbox", name="A better response, yours")
    expect(box).to_be_focused()
    expect(box).to_have_value(order[1])
    expect(page.locator(".pr-better-words")).to_have_text("Started from Response B.")
    press(page, "Escape Enter")
    expect(page.get_by_role("alert")).to_contain_text("Your response is the same as Response B")
    press(page, "e End")
    page.keyboard.type(", and more")
    press(page, "Escape")
    expect(page.locator(".pr-left")).to_have_text("Ready: yours > A > B > C > D")
    page.get_by_role("button", name="Discard").click()
    expect(page.locator(".pr-left")).to_have_text("Ready: A > B > C > D")
    page.get_by_role("button", name="Put back").click()
    page.reload()
    expect(page.locator(".pr-left")).to_have_text("Your ranks are as you left them")
    expect(box).to_have_value(order[1] + ", and more")
    page.locator(".pr-card").first.focus()
    press(page, "Enter")
    saved(page)
    sql = """
        select demonstrations.text, responses.text from demonstrations
        join rankings on rankings.id = ranking_id join responses on responses.id = started_from
        where task_id = ?
    """
    assert site.query(sql, task) == [(order[1] + ", and more", order[1])]
    assert site.store.rankings()[-1].better == order[1] + ", and more"


def test_a_better_response_alone_by_touch(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Write a better one from C").tap()
    page.get_by_role("textbox", name="A better response, yours").fill("Quite another.")
    page.get_by_role("button", name="Submit").tap()
    expect(page.locator(".pr-live")).to_contain_text("Saved")
    [read] = [r for r in site.store.rankings() if r.better == "Quite another."]
    assert (read.ranks, read.partial) == ([1] * 4, True)
    assert len(site.stored(task)) == 1


@pytest.mark.parametrize(
    ("keys", "reason"), [("s 2", "prompt makes no sense"), ("s s", ""), ("s Enter", ""), ("s 4", "all alike")]
)
def test_a_skip_says_why_with_one_key_more(site, visit, keys, reason):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    press(page, keys)
    expect(page.locator(".pr-live")).to_contain_text("Skipped")
    sql = "select kind, skip_reason from rankings where task_id = ?"
    assert site.query(sql, task) == [("skipped", reason)]


def test_a_skip_is_given_up_by_escape_or_by_ranking_on(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    why = page.get_by_role("group", name="Skip: why?")
    press(page, "s")
    expect(why).to_be_visible()
    press(page, "Escape")
    expect(why).to_be_hidden()
    page.get_by_role("button", name="Skip", exact=True).click()
    press(page, "c")  # ranks: who goes on ranking does not want it skipped
    expect(why).to_be_hidden()
    assert badges(page) == ["", "", "1", ""]
    page.get_by_role("button", name="Skip", exact=True).click()
    why.get_by_role("button", name="harmful prompt").click()
    expect(page.locator(".pr-live")).to_contain_text("Skipped")
    assert site.query("select skip_reason from rankings where task_id = ?", task) == [("harmful prompt",)]


def test_the_same_text_twice_is_marked_and_ranked_together(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(["same text", "other one", "same text", "and a fourth"])
    page = annotate(visit)
    order = shown(page)
    first, second = (i for i, text in enumerate(order) if text == "same text")
    expect(page.locator(".pr-same")).to_have_count(2)
    expect(page.locator(".pr-card").nth(second).locator(".pr-same")).to_have_text(
        f"Same text as {'ABCD'[first]}: their ranks go together"
    )
    page.locator(".pr-card").nth(second).locator(".pr-number").nth(0).click()
    assert [badges(page)[i] for i in (first, second)] == ["1", "1"]
    press(page, "2 3 Enter")
    saved(page)
    assert sorted(site.stored(task)[0].values()) == [1, 2, 3]  # read by text: the two are one
    ranks = site.store.rankings()[-1].ranks
    assert ranks[first] == ranks[second] == 1


def test_a_long_response_scrolls_inside_and_can_be_shown_whole(site, visit):
    from playwright.sync_api import expect

    site.add_task(["word " * 1500, *FOUR[:3]], "A long prompt. " * 300)
    page = annotate(visit)
    expect(page.locator(".pr-card").get_by_role("button", name="Show all")).to_have_count(1)
    long = page.locator(".pr-card").nth([len(text) > 1000 for text in shown(page)].index(True))
    text = long.locator(".pr-text")
    height = text.bounding_box()["height"]
    assert height < 500
    long.focus()
    press(page, "ArrowDown ArrowDown")
    assert text.evaluate("(box) => box.scrollTop") > 0
    long.get_by_role("button", name="Show all").click()
    assert text.bounding_box()["height"] > 2 * height
    long.get_by_role("button", name="Show less").click()
    assert text.bounding_box()["height"] == height
    prompt = page.locator(".pr-prompt")
    expect(prompt.get_by_role("button", name="Show all")).to_be_visible()
    assert prompt.bounding_box()["height"] < 450
