"""The annotate page when something is in the way: lost replies, other runs, other tabs, proxies, long waits.

Nothing may be stored that the person did not mean, nothing lost that they did.
"""

import json
import re

import pytest

from tests.annotate import FOUR, annotate, badges, lose_reply, press, saved, shown

pytest_plugins = ["tests.browser"]


@pytest.mark.parametrize("arrives", [False, True], ids=["lost on the way", "stored but the reply lost"])
@pytest.mark.parametrize("again", ["by itself", "by the button", "after a reload"])
def test_a_failed_save_is_kept_and_sent_again_under_the_same_nonce(site, visit, arrives, again):
    from playwright.sync_api import expect

    task, other = site.add_task(FOUR, "First prompt"), site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    order = shown(page)
    nonces = []

    def lose_the_first(route):
        nonces.append(json.loads(route.request.post_data)["nonce"])
        if len(nonces) > 1:
            route.continue_()
        else:
            if arrives:
                route.fetch()
            route.abort()

    page.route("**/api/rankings", lose_the_first)
    if again == "after a reload":  # or the page would try first
        page.add_init_script("window.later ??= window.setTimeout")
        page.evaluate("later = setTimeout; setTimeout = (act, ms) => (ms === 1000 ? 0 : later(act, ms))")
    press(page, "2 4 1 3 Enter")
    expect(page.locator(".pr-unsaved")).to_contain_text("Not saved yet: 1 ranking is kept here")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")  # nobody has to wait
    press(page, "3 1")
    if again == "by the button":
        page.get_by_role("button", name="Try now").click()
    elif again == "after a reload":
        page.reload()
    expect(page.locator(".pr-mine")).to_contain_text("You: 1 today")
    expect(page.locator(".pr-unsaved")).to_be_hidden()
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    assert badges(page) == ["3", "1", "", ""]
    assert nonces[0] == nonces[1]
    assert site.stored(task) == [dict(zip(order, [2, 4, 1, 3], strict=True))]
    assert site.query("select count(*) from rankings where task_id in (?, ?)", task, other) == [(1,)]


def test_a_task_that_was_taken_away_is_explained(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    press(page, "1 2 3 4")
    with site.store.write() as db:
        db.execute("update tasks set state = 'retired', leased_by = null where id = ?", [task])
    press(page, "Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    expect(page.get_by_role("alert")).to_contain_text("Your ranking of “First prompt” was not saved: Task")
    assert badges(page) == [""] * 4
    assert site.stored(task) == []


def test_what_is_refused_as_wrong_comes_back_with_why(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    answer = {"status": 422, "content_type": "application/json", "body": '{"error": "It is a Sunday."}'}
    page.route("**/api/rankings", lambda route: route.fulfill(**answer), times=1)
    press(page, "2 4 1 3 Enter")
    expect(page.get_by_role("alert")).to_have_text("Not saved: It is a Sunday.")
    expect(page.locator(".pr-prompt-text")).to_have_text("First prompt")
    assert badges(page) == ["2", "4", "1", "3"]
    press(page, "Enter")
    saved(page)
    assert len(site.stored(task)) == 1
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")


def test_another_run_never_gets_the_ranking_on_the_screen(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    press(page, "2 4 1 3")
    page.route("**/api/status", lambda route: route.abort())  # what the page would have noticed first
    # the server was started again on another run, where a task has the same number, and even the same texts
    own = site.store.run_id()
    site.store.put_setting("run_id", "another")
    press(page, "Enter")
    expect(page.locator(".pr-news")).to_contain_text("started on another run")
    expect(page.locator(".pr-card").first).to_be_visible()
    assert badges(page) == [""] * 4
    assert site.stored(task) == []
    page.unroute("**/api/status")
    site.store.put_setting("run_id", own)
    with page.expect_navigation():  # the page notices by itself
        pass
    # and what waited for its own run is stored there
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    assert [sorted(ranking.values()) for ranking in site.stored(task)] == [[1, 2, 3, 4]]


def test_undo_after_a_lost_reply_and_the_ranking_can_be_saved_again(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    lose_reply(page, "**/api/rankings")
    press(page, "2 4 1 3 Enter")
    expect(page.locator(".pr-unsaved")).to_be_visible()
    press(page, "u")  # first the ranking has to be known to be stored
    expect(page.locator(".pr-live")).to_contain_text("Brought back")
    assert site.stored(task) == []
    press(page, "Enter")
    saved(page)
    assert site.stored(task) == [dict(zip(order, [2, 4, 1, 3], strict=True))]


def test_a_ranking_taken_back_elsewhere_comes_back_and_is_sent_under_another_nonce(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)

    def lose(route):  # and in another tab it is taken back, before this page asks again
        route.fetch()
        site.store.undo(site.query("select person_id from rankings where task_id = ?", task)[0][0])
        route.abort()

    page.route("**/api/rankings", lose, times=1)
    press(page, "2 4 1 3 Enter")
    expect(page.get_by_role("alert")).to_contain_text("It is here again.")
    assert badges(page) == ["2", "4", "1", "3"]
    press(page, "Enter")
    saved(page)
    assert len(site.stored(task)) == 1


def test_a_failed_skip_is_sent_again_as_a_skip(site, visit):
    from playwright.sync_api import expect

    first = site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    bodies = []

    def lose(route):
        bodies.append(json.loads(route.request.post_data))
        if len(bodies) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/rankings", lose)
    press(page, "2 4 1 3 s 2")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    expect(page.locator(".pr-live")).to_contain_text("Skipped")
    assert bodies[0]["nonce"] == bodies[1]["nonce"]
    assert site.stored(first) == [{}]
    press(page, "u")  # with the ranks it had
    expect(page.locator(".pr-prompt-text")).to_have_text("First prompt")
    assert badges(page) == ["2", "4", "1", "3"]


@pytest.mark.parametrize("status", [200, 404])
def test_what_something_else_answers_saves_nothing(site, visit, status):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)

    def login(route):
        route.fulfill(status=status, content_type="text/html", body="<h1>Log in</h1>")

    page.route("**/api/status", login)
    page.route("**/api/rankings", login)
    press(page, "2 4 1 3 Enter")
    expect(page.locator(".pr-unsaved")).to_contain_text("Not saved yet")
    expect(page.get_by_role("heading", name="Waiting for the server")).to_be_visible()
    expect(page.get_by_text("Your rankings are kept in this browser")).to_be_visible()
    expect(page.locator(".pr-worker")).to_contain_text("the server does not answer")
    assert site.stored(task) == []
    page.unroute("**/api/status")
    page.unroute("**/api/rankings")
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    assert site.stored(task) == [dict(zip(order, [2, 4, 1, 3], strict=True))]


@pytest.mark.parametrize(
    ("state", "said"), [("idle", "no word for 2 minutes"), ("ppo", "training the policy")]
)
def test_a_worker_at_work_may_be_silent_for_longer_than_one_at_rest(site, visit, state, said):
    from playwright.sync_api import expect

    site.add_task(FOUR)
    site.store.beat(state)
    with site.store.write() as db:
        db.execute("update worker set seen = seen - 130")
    expect(annotate(visit).locator(".pr-worker")).to_contain_text(said)


def test_an_undo_whose_reply_is_lost_takes_back_one_ranking(site, visit):
    from playwright.sync_api import expect

    first, second = site.add_task(FOUR, "First prompt"), site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    press(page, "2 4 1 3 Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    press(page, "1 2 3 4 Enter")
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    page.route("**/api/task?*", lambda route: route.abort())  # it would show the task that is open again
    lose_reply(page, "**/api/undo")
    page.get_by_role("button", name="Undo").click()  # with nothing left to rank
    expect(page.locator(".pr-news")).to_contain_text("Not undone")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Second prompt", exact=True)).to_be_visible()
    assert (len(site.stored(first)), len(site.stored(second))) == (1, 0)
    press(page, "u")
    expect(page.locator(".pr-prompt-text")).to_have_text("First prompt")
    expect(page.locator(".pr-live")).to_contain_text(
        "Brought back, with the ranks you gave. Prompt: First prompt"
    )


def test_a_task_open_for_days_counts_two_minutes_and_the_next_prompt_is_said(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    site.add_task(FOUR, "A **bold** prompt. " + "long " * 60)
    page = annotate(visit)
    page.evaluate("performance.now = () => 3 * 86400 * 1000")
    press(page, "1 2 3 4 Enter")
    expect(page.locator(".pr-live")).to_have_text(
        re.compile(r"^Saved\. Next task\. Prompt: A bold prompt\. long .{150,200} …$")
    )
    assert site.query("select seconds from rankings where task_id = ?", task) == [(120.0,)]


def test_a_hidden_tab_holds_its_task_for_a_quarter_of_an_hour(site, visit):
    from playwright.sync_api import expect

    site.add_task(FOUR)
    page = visit("/docs", viewport={"width": 1280, "height": 900})  # the clock is the context's
    page.clock.install()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/lease" in request.url else None)
    page.goto(site.url + "/annotate/")
    expect(page.locator(".pr-card").first).to_be_visible()
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { value: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    with page.expect_response("**/lease"):
        page.clock.fast_forward(41_000)
    page.clock.fast_forward(15 * 60_000)
    asked.clear()
    page.clock.run_for(90_000)
    assert asked == []
