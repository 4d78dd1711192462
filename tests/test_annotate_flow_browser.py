"""The annotate page at speed: the next task at once, typing ahead, a network that is cut, several people."""

import json

from tests.annotate import FOUR, annotate, badges, press, saved, shown, until

pytest_plugins = ["tests.browser"]


def three_tasks(site):
    return [site.add_task(FOUR, f"{which} prompt") for which in ("First", "Second", "Third")]


def prompt_is(page, text):
    from playwright.sync_api import expect

    expect(page.locator(".pr-prompt-text")).to_have_text(text)


def test_the_next_task_is_painted_before_the_server_has_answered(site, visit):
    first, second, _ = three_tasks(site)
    page = annotate(visit)
    held = []

    def hold_the_first(route):
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route("**/api/rankings", hold_the_first)
    press(page, "1 2 3 4 Enter")
    prompt_is(page, "Second prompt")
    press(page, "4 3 2 1 Enter")  # typing ahead
    prompt_is(page, "Third prompt")
    press(page, "2 1")
    assert site.query("select count(*) from rankings where task_id in (?, ?)", first, second) == [(0,)]
    until(page, lambda: held)
    assert len(held) == 1  # one after the other
    held[0].continue_()
    page.wait_for_function("document.querySelector('.pr-mine').textContent.startsWith('You: 2 ')")
    assert badges(page) == ["2", "1", "", ""]  # what is typed stays
    assert [sorted(r.values()) for task in (first, second) for r in site.stored(task)] == [[1, 2, 3, 4]] * 2
    press(page, "3 4 Enter")
    page.wait_for_function("document.querySelector('.pr').dataset.state === 'waiting'")
    order = [r.ranks for r in site.store.rankings()[-3:]]
    assert order == [[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 3, 4]]


def test_the_network_is_cut_in_the_middle_and_nothing_is_lost_or_doubled(site, visit):
    from playwright.sync_api import expect

    tasks = three_tasks(site)
    page = annotate(visit)
    page.context.set_offline(True)
    try:
        press(page, "1 2 3 4 Enter")
        prompt_is(page, "Second prompt")
        expect(page.locator(".pr-unsaved")).to_contain_text("Not saved yet: 1 ranking")
        press(page, "1 2 3 4 Enter 1 2 3 4 Enter")
        expect(page.get_by_role("heading", name="Waiting for the server")).to_be_visible()
        expect(page.locator(".pr-unsaved")).to_contain_text("Not saved yet: 3 rankings")
        press(page, "u")
        expect(page.locator(".pr-news")).to_contain_text("Undo waits")
    finally:
        page.context.set_offline(False)
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    expect(page.locator(".pr-unsaved")).to_be_hidden()
    assert [len(site.stored(task)) for task in tasks] == [1, 1, 1]
    assert page.evaluate("localStorage.getItem('podium.outbox')") is None


def test_the_server_is_gone_and_the_page_is_closed_and_opened_again(site, visit):
    first, *_ = three_tasks(site)
    page = annotate(visit)
    page.route("**/api/rankings", lambda route: route.abort())
    press(page, "1 2 3 4 Enter")
    prompt_is(page, "Second prompt")
    page.goto("about:blank")
    page.unroute("**/api/rankings")
    page.goto(site.url + "/annotate/")
    prompt_is(page, "Second prompt")
    assert len(site.stored(first)) == 1


def test_two_annotators_never_see_the_same_task(site, visit):
    from playwright.sync_api import expect

    tasks = [site.add_task(FOUR, f"Prompt {i}") for i in range(8)]
    anna = annotate(visit)
    ben = annotate(visit, viewport={"width": 800, "height": 900})
    seen = {"anna": [], "ben": []}
    for _ in range(4):
        for name, page in (("anna", anna), ("ben", ben)):
            if page.locator(".pr").get_attribute("data-state") != "task":
                continue
            seen[name].append(page.locator(".pr-prompt-text").inner_text())
            press(page, "1 2 3 4 Enter")
            expect(page.locator(".pr-mine")).to_contain_text(f"You: {len(seen[name])} today")
    assert not set(seen["anna"]) & set(seen["ben"])
    assert len(seen["anna"]) == len(seen["ben"]) == 4
    assert [len(site.stored(task)) for task in tasks] == [1] * 8
    people = (
        "select count(distinct person_id) from rankings where task_id in (select value from json_each(?))"
    )
    assert site.query(people, json.dumps(tasks)) == [(2,)]


def test_closing_the_page_gives_its_tasks_back_and_a_reload_has_them_again(site, visit):
    tasks = three_tasks(site)
    page = annotate(visit)
    page.reload()
    prompt_is(page, "First prompt")
    left = "select max(leased_until) - strftime('%s', 'now') from tasks where state = 'open'"
    assert site.query(left)[0][0] > 60
    page.goto(site.url + "/docs")
    until(page, lambda: site.query(left)[0][0] <= 11)
    other = site.store.add_person("p" * 43, "other", "human").id
    with site.store.write() as db:  # ten seconds later
        db.execute("update tasks set leased_until = leased_until - 11")
    assert site.store.claim_task(other).id == tasks[0]


def test_seconds_are_those_of_the_tab_that_is_seen(site, visit):
    task = site.add_task(FOUR)
    page = visit("/docs", viewport={"width": 1280, "height": 900})  # the clock is the context's
    page.clock.install()
    page.goto(site.url + "/annotate/")
    page.wait_for_selector(".pr-card")

    def turn(hidden):
        page.evaluate(
            """(hidden) => {
                Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    before = page.evaluate("performance.now()")
    page.clock.run_for(5_000)
    turn(True)
    page.clock.run_for(60_000)
    turn(False)
    page.clock.run_for(2_000)
    press(page, "1 2 3 4 Enter")
    saved(page)
    wall = (page.evaluate("performance.now()") - before) / 1000
    [(seconds,)] = site.query("select seconds from rankings where task_id = ?", task)
    assert wall > 67
    assert 7 <= seconds < 60


def test_what_the_rankings_did_is_said(site, visit):
    from playwright.sync_api import expect

    from labeling.store import NewPolicy

    site.add_task(FOUR, "First prompt")
    site.add_task(FOUR, "Second prompt")
    page = annotate(visit)
    press(page, "1 2 3 4 Enter")
    saved(page)
    expect(page.locator(".pr-effect")).to_be_hidden()
    round_ = site.store.begin_round({})
    version = site.store.next_version()
    policy = NewPolicy(version=version, path=f"policies/{version}", model="starter")
    summary = {"win_rate": 0.64, "win_rate_low": 0.57, "win_rate_high": 0.71}
    site.store.end_round(round_.id, "published", summary=summary, policy=policy)
    expect(page.locator(".pr-effect")).to_have_text(
        f"Policy {version}, trained on {round_.rankings} rankings, 1 of them yours, beats policy "
        f"{round_.parent_version} in 64 % (±7) of held-out prompts, as the reward model sees it."
    )
    assert shown(page)
    site.store.publish(0, "back")


def test_an_answer_to_the_first_does_not_free_the_third(site, visit):
    from playwright.sync_api import expect

    tasks = three_tasks(site)
    page = annotate(visit)
    held = []
    page.route("**/api/rankings", lambda route: held.append(route))
    for _ in tasks:
        press(page, "1 2 3 4 Enter")
    expect(page.locator(".pr-left")).to_have_text("Saving")
    for number in range(3):
        until(page, lambda number=number: len(held) > number)
        if number < 2:
            press(page, "4 Enter Enter")  # it is on its way: this says nothing
            prompt_is(page, "Third prompt")
            expect(page.locator(".pr-left")).to_have_text("Saving")
        held[number].continue_()
    expect(page.get_by_role("heading", name="All caught up")).to_be_visible()
    expect(page.locator(".pr-refused")).to_be_hidden()
    assert len(held) == 3
    assert [sorted(r.values()) for task in tasks for r in site.stored(task)] == [[1, 2, 3, 4]] * 3
    assert [r.ranks for r in site.store.rankings()[-3:]] == [[1, 2, 3, 4]] * 3


def test_practice_is_left_when_a_real_ranking_is_brought_back(site, visit):
    from playwright.sync_api import expect

    first, second, _ = three_tasks(site)
    page = annotate(visit)
    press(page, "1 2 3 4 Enter")
    saved(page)
    press(page, "2 1 g")
    page.get_by_role("button", name="Practise on four tasks first").click()
    expect(page.locator(".pr-practice")).to_be_visible()
    press(page, "h")
    page.get_by_role("button", name="Change the ranking of “First prompt”").click()
    prompt_is(page, "First prompt")
    expect(page.locator(".pr-practice")).to_be_hidden()
    press(page, "a 4 b 3 c 2 d 1 Enter")
    prompt_is(page, "Second prompt")
    assert badges(page) == ["2", "1", "", ""]
    until(page, lambda: [r.ranks for r in site.store.rankings()[-1:]] == [[4, 3, 2, 1]])
    assert len(site.stored(first)) == 1
    assert site.stored(second) == []


def test_a_note_of_what_was_refused_stays_while_typing_on(site, visit):
    from playwright.sync_api import expect

    first, *_ = three_tasks(site)
    page = annotate(visit)
    with site.store.write() as db:
        db.execute("update tasks set state = 'retired', leased_by = null where id = ?", [first])
    press(page, "1 2 3 4 Enter")
    note = page.get_by_role("alert")
    expect(note).to_contain_text("Your ranking of “First prompt” was not saved")
    press(page, "1 2 3 4 Enter")
    prompt_is(page, "Third prompt")
    expect(note).to_contain_text("Your ranking of “First prompt” was not saved")
    note.get_by_role("button").click()
    expect(note).to_have_count(0)
