"""The annotate page in a real browser against the real server; what is stored is read back from the file."""

import re

import pytest

from tests.annotate import FOUR, annotate, badges, drag, place, press, saved, shown

pytest_plugins = ["tests.browser"]


def test_nothing_is_ranked_for_the_annotator(site, visit):
    from playwright.sync_api import expect

    site.add_task(FOUR)
    page = annotate(visit)
    assert badges(page) == [""] * 4
    expect(page.get_by_text("Not ranked", exact=True)).to_have_count(5)  # the cards and the tray
    expect(page.locator('.pr-number[aria-pressed="true"]')).to_have_count(0)
    assert "policy" not in page.locator(".pr-task").inner_text().lower()  # blind


def test_rank_by_digits_in_five_keys(site, visit):
    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    press(page, "2 4 1 3 Enter")
    saved(page)
    assert sorted(order) == FOUR
    assert site.stored(task) == [dict(zip(order, [2, 4, 1, 3], strict=True))]
    # and the positions in the file are those of the screen
    last = "(select max(ranking_id) from ranks)"
    join = "ranks join responses on responses.id = response_id"
    sql = f"select position, text from {join} where ranking_id = {last} order by position"
    assert site.query(sql) == list(enumerate(order))


def test_rank_by_letters_from_best_to_worst(site, visit):
    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    press(page, "c a d b")
    assert badges(page) == ["2", "4", "1", "3"]
    press(page, "Enter")
    saved(page)
    assert site.stored(task) == [dict(zip(order, [2, 4, 1, 3], strict=True))]


def test_rank_by_number_buttons_then_enter(site, visit):
    task = site.add_task(FOUR[:3])
    page = annotate(visit)
    order = shown(page)
    for card, rank in enumerate([3, 1, 2]):
        page.locator(".pr-card").nth(card).locator(".pr-number").nth(rank - 1).click()
    press(page, "Enter")  # the click did not leave the focus on a button, which Enter would press again
    saved(page)
    assert site.stored(task) == [dict(zip(order, [3, 1, 2], strict=True))]


def test_rank_by_mouse_drag(site, visit):
    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    handles = page.locator(".pr-handle")
    drag(page, handles.nth(0), place(page, 3))
    drag(page, handles.nth(1), place(page, 1))
    drag(page, page.locator(".pr-chip", has_text="C"), place(page, 2))
    drag(page, handles.nth(3), page.locator(".pr-card").nth(0))  # onto a response: a tie with it
    assert badges(page) == ["3", "1", "2", "3"]
    drag(page, page.locator(".pr-chip", has_text="B"), place(page, 2))
    drag(page, page.locator(".pr-chip", has_text="C"), place(page, 1))
    page.get_by_role("button", name="Submit").click()
    saved(page)
    assert site.stored(task) == [dict(zip(order, [3, 2, 1, 3], strict=True))]


def test_rank_by_touch_drag_on_a_phone(site, visit):
    task = site.add_task(FOUR[:2])
    page = annotate(visit, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    order = shown(page)
    touch = page.context.new_cdp_session(page)

    def middle(locator):
        box = locator.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    for card, rank in ((0, 2), (1, 1)):
        handle = page.locator(".pr-handle").nth(card)
        handle.scroll_into_view_if_needed()
        x, y = middle(handle)
        to_x, to_y = middle(place(page, rank))

        def send(kind, *points):
            spots = [{"x": x, "y": y} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

        send("touchStart", (x, y))
        for step in (0.2, 0.6, 1):
            send("touchMove", (x + (to_x - x) * step, y + (to_y - y) * step))
        send("touchEnd")
    # not tap(): chromium's emulation swallows the first tap after a drag, on a blank page too
    page.get_by_role("button", name="Submit").click()
    saved(page)
    assert site.stored(task) == [dict(zip(order, [2, 1], strict=True))]


@pytest.mark.parametrize(
    ("keys", "ranks", "says"),
    [
        ("1 2 2 1", [1, 2, 2, 1], "A = D > B = C"),
        ("2 t 1 t", [2, 2, 1, 1], "C = D > A = B"),
        ("1 1 4 3", [1, 1, 3, 2], "A = B > D > C"),
    ],
)
def test_ties_are_stored_as_ties(site, visit, keys, ranks, says):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    press(page, keys)
    expect(page.locator(".pr-words").nth(0)).to_contain_text("tied with")
    expect(page.locator(".pr-left")).to_have_text(f"Ready: {says}")  # what is stored, without gaps
    press(page, "Enter")
    saved(page)
    assert site.stored(task) == [dict(zip(order, ranks, strict=True))]


def test_enter_says_what_is_missing_and_sends_nothing(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    press(page, "Enter")
    expect(page.locator(".pr-left")).to_have_text("Still to rank: A, B, C and D")
    press(page, "1 2 Enter")
    expect(page.locator(".pr-left")).to_have_text("Enter again: A > B > the rest")
    assert site.stored(task) == []
    press(page, "9")  # there is no ninth place
    assert badges(page) == ["1", "2", "", ""]


def test_skip_and_the_next_task_is_there(site, visit):
    from playwright.sync_api import expect

    first, second = site.add_task(FOUR, "First prompt"), site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    expect(page.locator(".pr-prompt-text")).to_have_text("First prompt")
    press(page, "s")
    assert site.stored(first) == []  # no single key sends anything
    press(page, "s")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    expect(page.locator(".pr-live")).to_contain_text("Skipped")
    assert badges(page) == [""] * 4
    assert site.stored(first) == [{}]
    assert site.stored(second) == []


def test_undo_brings_the_task_back_with_its_ranks(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    order = shown(page)
    press(page, "2 4 1 3 Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    assert badges(page) == [""] * 4
    press(page, "u")
    expect(page.locator(".pr-prompt-text")).to_have_text("First prompt")
    assert shown(page) == order
    assert badges(page) == ["2", "4", "1", "3"]
    assert site.stored(task) == []
    press(page, "a 1 Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    saved(page)
    assert site.stored(task) == [dict(zip(order, [1, 3, 1, 2], strict=True))]


def test_clear_is_put_back(site, visit):
    site.add_task(FOUR)
    page = annotate(visit)
    press(page, "2 4 1 3")
    page.get_by_role("button", name="Clear").click()
    assert badges(page) == [""] * 4
    page.get_by_role("button", name="Put back").click()
    assert badges(page) == ["2", "4", "1", "3"]


def test_keys_meant_for_others_do_not_rank(site, visit):
    site.add_task(FOUR)
    page = annotate(visit)
    page.evaluate(
        """() => {
            document.querySelector(".pr-task").append(
                Object.assign(document.createElement("input"), { id: "comment" }));
            document.querySelector("#comment").focus();
        }"""
    )
    press(page, "1 2 s u Control+1")
    assert page.locator("#comment").input_value() == "12su"
    assert badges(page) == [""] * 4
    page.locator(".pr-card").first.focus()
    press(page, "Control+1 Alt+2 ?")
    press(page, "1")  # the sheet of keys is open
    assert badges(page) == [""] * 4
    page.get_by_label("Single-key shortcuts").uncheck()
    press(page, "Escape")
    page.locator(".pr-card").first.focus()
    press(page, "1")
    assert badges(page) == [""] * 4


def test_model_text_runs_nothing(site, visit):
    from playwright.sync_api import expect

    attacks = [
        "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>",
        "![x](https://example.com/seen.png) [go](javascript:window.pwned=3) <svg/onload=window.pwned=4>",
        "${window.pwned = 5} {{constructor.constructor('window.pwned = 6')()}} `${pwned}`",
        '</div><div style="position:fixed;inset:0;z-index:9999" onclick="window.pwned=7">all of it</div>',
    ]
    site.add_task(attacks, "${window.pwned = 8} <b onmouseover='window.pwned = 9'>**bold**</b>")
    page = annotate(visit)
    expect(page.locator(".pr-prompt-text strong")).to_have_text("bold")
    text = page.locator(".pr-grid").inner_text()
    assert "<script>" in text
    assert "${window.pwned = 5}" in text
    assert (
        page.locator(".pod-text :is(img, svg, script, style, iframe, [style], [onclick], [id])").count() == 0
    )
    assert page.locator(".pod-text a[href]").count() == 0
    press(page, "1 2 3 4")  # nothing lies over the page
    page.get_by_role("button", name="Submit").click()
    saved(page)
    assert page.evaluate("window.pwned") is None


def test_reload_keeps_the_ranks_of_this_task_only(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR)
    page = annotate(visit)
    order = shown(page)
    press(page, "2 4")
    page.reload()
    expect(page.locator(".pr-medal").nth(1)).to_have_text("4")
    assert shown(page) == order
    assert badges(page) == ["2", "4", "", ""]
    # another run directory has a task with the same number: its texts differ, so the draft is not for it
    page.goto(site.url + "/docs")
    page.evaluate(
        """() => {
            const drafts = JSON.parse(localStorage.getItem("podium.drafts"));
            for (const id in drafts) drafts[id].of = "other texts";
            localStorage.setItem("podium.drafts", JSON.stringify(drafts));
        }"""
    )
    page.goto(site.url + "/annotate/")
    expect(page.locator(".pr-card").first).to_be_visible()
    assert badges(page) == [""] * 4
    assert site.stored(task) == []


def test_coming_back_to_the_page_renews_the_lease(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)

    def come_back(status: int) -> None:
        with page.expect_response("**/lease") as reply:
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert reply.value.status == status

    with site.store.write() as db:  # the tab was in the background so long that the lease ran out
        db.execute("update tasks set leased_until = 1 where id = ?", [task])
    come_back(204)
    ahead = "select leased_until - strftime('%s', 'now') > 60 from tasks where id = ?"
    assert site.query(ahead, task) == [(1,)]
    press(page, "1 2")
    other = site.store.add_person("o" * 43, "other", "human").id
    with site.store.write() as db:  # and again, and somebody else took it
        db.execute("update tasks set leased_by = ? where id = ?", [other, task])
    come_back(409)
    expect(page.get_by_role("alert")).to_contain_text("Here is another one.")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")


def test_the_page_wakes_by_itself_and_says_what_the_worker_does(site, visit):
    from playwright.sync_api import expect

    site.store.beat("starting", "loading the model")
    page = visit("/annotate/")
    expect(page.get_by_role("heading", name="Waking the model")).to_be_visible()
    for state, words in (
        ("generating", "writing responses"),
        ("reward_model", "training the reward model"),
        ("ppo", "training the policy"),
    ):
        site.store.beat(state)
        expect(page.locator(".pr-worker")).to_contain_text(words)
    for state, detail, line in (
        ("generating", "writing responses of policy 3", "worker: writing responses of policy 3"),
        ("ppo", "round 2: PPO update 4 of 18", "worker: training the policy, round 2: PPO update 4 of 18"),
    ):
        site.store.beat(state, detail)
        expect(page.locator(".pr-worker-words")).to_have_text(line)  # nothing is said twice
    site.store.beat("failed", error="The graphics card is on fire.")
    expect(page.get_by_text("The graphics card is on fire.")).to_be_visible()
    site.store.beat("idle", error=None)
    site.add_task(FOUR)
    expect(page.locator(".pr-card").first).to_be_visible()
    press(page, "1 2 3 4 Enter")
    saved(page)
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()


def test_a_new_policy_appears_by_itself(site, visit):
    from playwright.sync_api import expect

    site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    press(page, "1 2 3 4 Enter")
    expect(page.locator(".pr-prompt-text")).to_have_text("Second prompt")
    press(page, "1 2")
    rankings = site.store.ranking_count()
    version = site.publish()
    expect(page.locator(".pr-policy")).to_have_text(
        re.compile(f"policy {version}, trained on {rankings} rankings?")
    )
    expect(page.locator(".pr-news")).to_contain_text(f"Policy {version} is live.")
    assert badges(page) == ["1", "2", "", ""]  # and nobody was disturbed
    site.store.publish(0, "back")
    expect(page.locator(".pr-news")).to_contain_text("Policy 0 answers again.")


def test_progress_and_programs(site, visit):
    from playwright.sync_api import expect

    robot = site.store.add_person("r" * 43, "robot", "program")
    task = site.add_task(FOUR)
    site.store.claim_task(robot.id)
    site.store.add_ranking(robot.id, task, "robot-1", [1, 2, 3, 4])
    total, programs = site.store.ranking_count(), site.store.status()["programs"]
    site.add_task(FOUR)
    page = annotate(visit)
    expect(page.locator(".pr-mine")).to_have_text("You: 0 today, 0 in all")
    expect(page.locator(".pr-total")).to_have_text(
        re.compile(rf"Project: {total} rankings? \({programs} by programs\)")
    )
    press(page, "1 2 3 4 Enter")
    saved(page)
    expect(page.locator(".pr-mine")).to_have_text("You: 1 today, 1 in all")
    expect(page.locator(".pr-total")).to_contain_text(f"{total + 1} rankings")
    left = site.store.status()["until_next_round"]  # other tests rank here too, so it may be none
    expected = f"{left} more ranking" if left else "enough rankings"
    if left:
        expected = re.compile(
            f"{left} more rankings? until policy {site.store.next_version()} starts training"
        )
    expect(page.locator(".pr-until")).to_contain_text(expected)


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_sideways_scrolling(site, visit, width):
    wide = (
        "```python\n"
        + "x = 1  # "
        + "long " * 40
        + "\n```\n\n"
        + "word" * 60
        + "\n\n|a|b|\n|-|-|\n|"
        + "c" * 90
        + "|d|"
    )
    site.add_task([wide, *FOUR[:3]])
    page = annotate(visit, viewport={"width": width, "height": 844}, has_touch=True, is_mobile=True)
    press(page, "1 1 1 1")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.add_style_tag(content=".pr-actions .pod-btn { letter-spacing: .15em; }")  # as a wide font would
    assert page.evaluate("document.documentElement.scrollWidth") == width
    small = page.evaluate(
        """() => [...document.querySelectorAll(".pr-task :is(button, .pr-handle)")]
            .map((b) => [b.className, b.getBoundingClientRect()])
            .filter(([, r]) => r.height > 0 && (r.height < 40 || r.width < 40)).map(([name]) => name)"""
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system(site, visit, scheme):
    site.add_task(FOUR)
    page = annotate(visit, color_scheme=scheme)
    rgb = page.locator(".pr-card").first.evaluate("(card) => getComputedStyle(card).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", rgb)[:3])) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60


def test_the_demonstration_model_says_so_until_it_is_hidden(site, visit):
    from playwright.sync_api import expect

    site.add_task(FOUR)
    page = annotate(visit)
    expect(page.locator(".pr-starter")).to_contain_text("tiny demonstration model")
    page.get_by_role("button", name="Hide this note", exact=True).click()
    expect(page.locator(".pr-starter")).to_be_hidden()
    page.reload()
    expect(page.locator(".pr-card").first).to_be_visible()
    expect(page.locator(".pr-starter")).to_be_hidden()
