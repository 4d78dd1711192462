"""The lab page in a real browser against the real server: what it shows is what the store has, and what its
buttons ask for arrives there. The tests play the worker."""

import re

import pytest

from data.starter.world import understand

pytest_plugins = ["tests.browser"]

HOSTILE = (
    "**bold** <img src=x onerror=\"window.ran='img'\"> <script>window.ran='script'</script> "
    "${window.ran='template'} {{window.ran}} [link](javascript:window.ran='link') ![](http://evil.test/x.png)"
)
UPDATE = {
    "objective/score": 0.5,
    "objective/kl": 3.21,
    "objective/entropy": 1.5,
    "response/length": 30.0,
    "response/eos_rate": 0.97,
    "response/repetition": 0.02,
    "value/loss": 0.2,
    "value/explained_variance": 0.6,
    "policy/approx_kl": 0.01,
    "policy/clipfrac": 0.05,
}


@pytest.fixture
def store(site):
    """The site's store without rounds, curves, samples and commands of earlier tests."""
    with site.store.write() as db:
        for table in ("samples", "metrics", "commands"):
            db.execute(f"delete from {table}")
        for table, column in (("publications", "policy_version"), ("policies", "version")):
            db.execute(f"delete from {table} where {column} > 0")
        db.execute("delete from rounds")
    site.store.put_setting("base", "data/starter/base")
    site.store.put_setting("paused", False)
    return site.store


def lab(visit, tab="", **options):
    """Open the page at a tab and wait until it has heard how things stand."""
    from playwright.sync_api import expect

    page = visit("/lab/" + (f"#{tab}" if tab else ""), **options)
    expect(fact(page, "Worker")).to_be_visible()
    return page


def fact(page, name):
    return page.locator(f'.fact[data-fact="{name}"]')


def panel(page, metric):
    return page.locator(f'.curve[data-metric="{metric}"]')


def rank_once(site, kind="human", name="Marta"):
    person = site.store.add_person(f"token of {name}", name, kind)
    task = site.add_task(["one", "two"])
    site.store.claim_task(person.id)
    site.store.add_ranking(person.id, task, f"nonce {task}", [1, 2])


def run_round(store, updates=3, accuracy=0.7):
    """Begin a round and write its curves, as the worker does; the round stays running."""
    round_ = store.begin_round({"ppo": {"updates": updates, "kl_limit": 30.0}})
    for step in range(1, 5):
        store.add_metrics(round_.id, round_.attempts, step, {"reward_model/loss": 1 / step})
    interval = {"reward_model/accuracy_low": accuracy - 0.06, "reward_model/accuracy_high": accuracy + 0.06}
    store.add_metrics(round_.id, round_.attempts, 4, {"reward_model/accuracy": accuracy, **interval})
    for step in range(1, updates + 1):
        values = UPDATE | {"objective/score": step / 10, "objective/kl": step + 0.21}
        store.add_metrics(round_.id, round_.attempts, step, values)
    return round_


def inked(canvas) -> int:
    """How many pixels of a canvas have the colour of the curve."""
    return canvas.evaluate(
        """canvas => {
            const context = document.createElement('canvas').getContext('2d');
            context.fillStyle = getComputedStyle(canvas).getPropertyValue('--curve-line').trim();
            context.fillRect(0, 0, 1, 1);
            const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
            const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let i = 0; i < all.length; i += 4)
                if (all[i] === r && all[i + 1] === g && all[i + 2] === b && all[i + 3] === 255) count += 1;
            return count;
        }"""
    )


def test_first_visit_says_what_to_do(site, store, visit):
    from playwright.sync_api import expect

    page = lab(visit)
    expect(fact(page, "Published")).to_contain_text("SFT (policy 0)")
    expect(fact(page, "Worker")).to_contain_text("Waiting for rankings")
    expect(page.locator(".curves-empty")).to_contain_text("No round yet")
    expect(page.locator(".status-notes")).to_contain_text("tiny demonstration model")
    stop = page.get_by_role("button", name="Stop this round")
    expect(stop).to_have_attribute("aria-disabled", "true")
    expect(stop).to_have_attribute("title", "No round is running.")
    stop.click(force=True)  # a finger cannot read a title: the reason is said
    expect(page.locator(".control-answer")).to_have_text("Stop this round: No round is running.")
    assert store.commands() == []

    page.evaluate("location.hash = 'before-after'")
    page.get_by_role("button", name="What is 7 plus 5?").click()
    expect(page.locator(".pane")).to_have_count(2)
    assert [sample["policy_version"] for sample in store.waiting_samples()] == [-1, 0]


def test_curves_show_the_store_follow_it_and_survive_reload(store, visit):
    from playwright.sync_api import expect

    run_round(store)
    first = store.running_round()
    page = lab(visit)
    kl = panel(page, "objective/kl")
    expect(kl.locator(".curve-last")).to_have_text("3.21 nats from the reference")
    accuracy = panel(page, "reward_model/accuracy").locator(".curve-last")
    expect(accuracy).to_have_text("70 % right, interval 64 % to 76 %")
    expect(panel(page, "response/eos_rate").locator(".curve-value")).to_have_text("97 %")
    expect(panel(page, "response/repetition").locator(".curve-last")).to_have_text(
        "2.0 % of each response said before"
    )
    expect(page.locator(".curves-signs")).to_contain_text(f"No warning signs in round {first.id}")
    before = inked(kl.locator("canvas"))
    assert before > 50

    # live: only what is new is asked for, and a bad sign is said in words
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/api/metrics" in request.url else None)
    last = store.metrics()[-1]["id"]
    for step in (4, 5):
        bad = {"objective/kl": step * 3.0, "response/eos_rate": 0.2, "response/repetition": 0.5}
        store.add_metrics(first.id, 1, step, UPDATE | bad)
    expect(kl.locator(".curve-last")).to_have_text("15 nats over the warning line")
    expect(page.locator(".curves-signs")).to_contain_text("KL is over 10 nats")
    expect(page.locator(".curves-signs")).to_contain_text("More than half of the responses are cut off")
    expect(page.locator(".curves-signs")).to_contain_text("More than a fifth of each response repeats")
    assert min(int(url.rpartition("since=")[2]) for url in asked) >= last
    expect(fact(page, "Next round")).to_contain_text(f"Round {first.id} is running")

    page.reload()
    expect(kl.locator(".curve-last")).to_have_text("15 nats over the warning line")

    # a killed round is done again: its new curve replaces the broken one
    again = store.begin_round({})
    assert (again.id, again.attempts) == (first.id, 2)
    store.add_metrics(again.id, 2, 1, UPDATE | {"objective/kl": 0.5})
    expect(kl.locator(".curve-last")).to_have_text("0.500 nats from the reference")
    page.get_by_role("button", name="Show as table").click()
    expect(page.locator(".curves-table tbody tr")).to_have_count(1)
    expect(page.locator(".curves-table")).to_contain_text("0.500")

    # a sign belongs to its round: the next one does not inherit it
    store.add_metrics(again.id, 2, 2, UPDATE | {"objective/kl": 40.0})
    expect(page.locator(".curves-signs")).to_contain_text("KL is over the limit of 30 nats")
    store.end_round(again.id, "rejected", "it ran away", {})
    following = store.begin_round({})
    store.add_metrics(following.id, 1, 1, {"reward_model/loss": 0.7})
    expect(page.locator(".curves-signs")).to_have_text(f"No warning signs in round {following.id}.")


def test_crosshair_by_mouse_and_keyboard(store, visit):
    from playwright.sync_api import expect

    one = run_round(store)
    store.end_round(one.id, "rejected", "a reason", {})
    two = run_round(store, updates=4)
    page = lab(visit)
    kl, score = panel(page, "objective/kl"), panel(page, "objective/score")
    expect(kl.locator(".curve-value")).to_have_text("4.21 nats")
    kl.locator("canvas").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(kl.locator(".curve-last")).to_have_text(f"3.21 nats round {two.id}, update 3")
    # shared by all panels, also by those that count other steps
    expect(score.locator(".curve-last")).to_have_text(f"0.300 round {two.id}, update 3")
    accuracy = panel(page, "reward_model/accuracy").locator(".curve-words")
    expect(accuracy).to_have_text(f"end of round {two.id}")
    for _ in range(3):  # over the edge into the round before
        page.keyboard.press("ArrowLeft")
    expect(kl.locator(".curve-last")).to_have_text(f"3.21 nats round {one.id}, update 3")
    expect(page.locator("[data-cursor]")).to_have_text(f"round {one.id}, update 3: KL 3.21 nats")
    page.keyboard.press("Escape")
    expect(kl.locator(".curve-value")).to_have_text("4.21 nats")

    box = kl.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 50)
    expect(score.locator(".curve-words")).to_have_text(f"round {two.id}, update 4")
    page.get_by_role("button", name="Last round").click()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.mouse.move(box["x"] + 60, box["y"] + 50)  # after the frame that draws the last round alone
    expect(score.locator(".curve-words")).to_have_text(f"round {two.id}, update 1")


def test_rounds_give_their_reason_and_their_samples(store, site, visit):
    from playwright.sync_api import expect

    rejected = run_round(store, accuracy=0.52)
    reason = "the reward model is not clearly better than chance yet"
    summary = {"accuracy": 0.52, "accuracy_low": 0.46, "accuracy_high": 0.58}
    store.end_round(rejected.id, "rejected", reason, summary)
    version = site.publish()
    published = store.rounds()[0]
    before, after = store.add_samples(f"round-{published.id}", "Tell me **something**", [0, version])
    store.update_sample(before, text=HOSTILE, score=-0.5, state="done")

    page = lab(visit, "rounds")
    row = page.locator(".round-row", has_text=f"Round {rejected.id}")
    expect(row).to_contain_text("rejected")
    expect(row).to_contain_text(reason)
    expect(row).to_contain_text("46 % to 58 %")
    expect(row).to_contain_text("still 0")
    page.get_by_role("button", name=f"Round {rejected.id}", exact=True).click()
    expect(page.locator(".round-samples")).to_contain_text("this round ended before it had a policy")

    old, new = store.add_samples(f"round-{rejected.id}", "Tell me", [0, -2])  # as after PPO made it worse
    store.update_sample(new, text="Worse.", state="done")
    store.update_sample(old, text="As it was.", state="done")
    page.reload()
    page.get_by_role("button", name=f"Round {rejected.id}", exact=True).click()
    sides = page.locator(f"#round-{rejected.id} .side")
    expect(sides.nth(0)).to_contain_text("Before, SFT (policy 0)")
    expect(sides.nth(1)).to_contain_text("After, not published")
    expect(sides.nth(1)).to_contain_text("Worse.")

    page.get_by_role("button", name=f"Round {published.id}", exact=True).click()
    sides = page.locator(f"#round-{published.id} .side")
    expect(sides.nth(0)).to_contain_text("Before, SFT (policy 0)")
    expect(sides.nth(0)).to_contain_text("score −0.50")
    expect(sides.nth(0).locator("strong").last).to_have_text("bold")
    expect(sides.nth(1)).to_contain_text("waiting for the worker")
    store.update_sample(after, text="Gladly.", score=1.25, state="done")
    expect(sides.nth(1)).to_contain_text("Gladly.")
    expect(page.locator(f"#round-{published.id} .pair-prompt")).to_have_text("Tell me **something**")
    assert page.evaluate("window.ran") is None
    assert page.locator(".round-samples :is(img, script)").count() == 0
    expect(fact(page, "Last round")).to_contain_text("published")

    page.reload()  # the address keeps the tab
    expect(page.locator(".round-row").first).to_contain_text(f"Round {published.id}")


def test_what_is_open_in_a_running_round_stays_open(store, visit):
    from playwright.sync_api import expect

    round_ = run_round(store)
    page = lab(visit, "rounds")
    page.get_by_role("button", name=f"Round {round_.id}", exact=True).click()
    page.get_by_text("Settings and figures").click()
    took = page.locator('td[data-label="Took"]')
    for _ in range(2):
        expect(took).not_to_have_text(took.inner_text())
    assert page.locator("details.settings").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    store.end_round(round_.id, "stopped", "by a person", {})  # the table is built again
    expect(page.locator(".round-row")).to_contain_text("by a person")
    assert page.locator("details.settings").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_silence_is_told_in_whole_minutes_and_a_server_that_hangs_is_noticed(store, visit):
    from playwright.sync_api import expect

    with store.write() as db:
        db.execute("update worker set seen = seen - 130")
    page = lab(visit)
    expect(page.get_by_role("alert")).to_contain_text("Nothing heard from the worker for 2 minutes. It is")
    page.evaluate(
        """() => {
            const real = AbortSignal.timeout.bind(AbortSignal);
            AbortSignal.timeout = (ms) => real(ms / 50);
        }"""
    )
    page.route("**/api/status", lambda route: None)
    expect(page.get_by_role("alert").first).to_contain_text("The server does not answer.")
    page.unroute("**/api/status")
    page.route("**/api/status", lambda route: route.fulfill(body="<h1>Log in</h1>"))
    expect(page.get_by_role("alert").first).to_contain_text("What answered is not this server")


def test_buttons_arrive_and_their_outcome_is_shown(store, site, visit):
    from playwright.sync_api import expect

    rank_once(site)
    version = site.publish()
    page = lab(visit)
    answer = page.locator(".control-answer")
    page.get_by_role("button", name="Train now").click()
    expect(answer).to_contain_text("Train now: asked.")
    command = store.waiting_commands()[0]
    assert (command["name"], command["argument"]) == ("train", None)
    store.finish_command(command["id"], "not started: it takes at least 8 rankings")
    expect(answer).to_have_text("Train now: not started: it takes at least 8 rankings")

    back = page.get_by_role("button", name="Go back to SFT (policy 0)").first
    back.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing is deleted")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).not_to_be_visible()
    assert store.waiting_commands() == []
    back.click()
    dialog.get_by_role("button", name="Go back to SFT (policy 0)").click()
    expect(answer).to_contain_text("asked.")
    command = store.waiting_commands()[0]
    assert (command["name"], command["argument"]) == ("publish", {"policy_version": 0})
    store.publish(0, "chosen by a person")
    store.finish_command(command["id"], "policy 0 is published again")
    expect(answer).to_contain_text("policy 0 is published again")
    expect(fact(page, "Published")).to_contain_text("SFT (policy 0)")
    expect(page.get_by_role("button", name=f"Go to policy {version}")).to_be_visible()

    store.put_setting("paused", True)
    store.beat("paused")
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("title", "It is paused already.")
    page.get_by_role("button", name="Resume").click()
    expect(answer).to_contain_text("Resume: asked.")
    assert [command["name"] for command in store.waiting_commands()] == ["resume"]
    page.get_by_text("What was asked of the worker").click()
    expect(page.locator(".control-log li")).to_have_count(3)


def test_before_after_streams_side_by_side(store, site, visit):
    from playwright.sync_api import expect

    version = site.publish()
    store.beat("ppo", "PPO update 3 of 40")
    page = lab(visit, "before-after")
    examples = page.locator(".example")
    expect(examples).to_have_count(12)
    for text in examples.evaluate_all("nodes => nodes.map(node => node.lastChild.textContent)"):
        assert understand(text) is not None, f"the starter does not know what to make of {text!r}"
    page.get_by_role("button", name="What is the capital of France?").click()
    expect(page.locator(".compare-message")).to_have_text("Waiting for the worker (PPO update in progress) …")
    samples = store.waiting_samples()
    assert [(s["policy_version"], s["prompt"]) for s in samples] == [
        (v, "What is the capital of France?") for v in (-1, 0, version)
    ]
    panes = page.locator(".pane")
    expect(panes.locator("h3")).to_have_text(["Base model", "SFT (policy 0)", f"Policy {version}"])
    for sample in samples:  # all grow at once
        store.update_sample(sample["id"], text=f"half of {sample['policy_version']}", state="running")
    expect(panes.locator(".pod-text")).to_have_text([f"half of {v}" for v in (-1, 0, version)])
    expect(panes.locator(".pane-state")).to_have_text(["writing …"] * 3)
    store.update_sample(samples[0]["id"], text=HOSTILE, score=-1.0, state="done")
    store.update_sample(samples[1]["id"], state="failed", error="the worker was restarted")
    store.update_sample(samples[2]["id"], text="**Paris**.", score=1.5, state="done")
    expect(panes.nth(2).locator("strong").first).to_have_text("Paris")
    scores = [re.compile("score −1.00"), "", re.compile(r"score \+1.50")]
    expect(panes.locator(".pane-score")).to_have_text(scores)
    expect(panes.nth(1)).to_contain_text("the worker was restarted")
    assert page.evaluate("window.ran") is None
    assert page.locator(".pane :is(img, script)").count() == 0

    page.reload()
    expect(panes.nth(2)).to_contain_text("Paris")

    # a model without a base: said plainly, not asked for
    store.put_setting("base", "")
    expect(page.locator(".version-list")).to_contain_text("There is no base model here")
    page.get_by_role("checkbox", name=f"Policy {version}").uncheck()
    page.get_by_label("Prompt", exact=True).fill("Something else?")
    page.keyboard.press("Control+Enter")
    expect(panes).to_have_count(1)
    assert [(s["policy_version"], s["prompt"]) for s in store.waiting_samples()] == [(0, "Something else?")]


def test_nobody_looking_nothing_asked(store, visit):
    from playwright.sync_api import expect

    run_round(store)
    context = visit("/docs", viewport={"width": 1280, "height": 900}).context  # the clock is its own
    page = context.new_page()
    page.clock.install()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    page.goto(context.pages[0].url.replace("/docs", "/lab/"))
    expect(panel(page, "objective/kl").locator(".curve-value")).to_have_text("3.21 nats")

    page.get_by_role("tab", name="People").click()
    expect(page.locator(".people-words")).not_to_be_empty()
    asked.clear()
    page.clock.run_for(8000)
    assert any("/api/status" in url for url in asked)
    assert not any("/api/metrics" in url or "/api/compare" in url for url in asked)

    hide = """hidden => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    before = None
    while before != len(asked):  # what one answer asks for next may still be on its way
        before = len(asked)
        page.wait_for_timeout(500)
    asked.clear()
    page.clock.run_for(8000)
    assert asked == []
    with page.expect_request("**/api/status"):
        page.evaluate(hide, False)


@pytest.mark.slow
def test_trouble_is_said_in_words_and_fits_a_phone(store, site, visit):
    from playwright.sync_api import expect

    name = "a-simulated-annotator-with-a-rather-long-name"
    rank_once(site, "program", name)
    done = run_round(store)
    store.end_round(done.id, "failed", "RuntimeError: " + "x" * 200, {"accuracy": 0.7})
    who = store.session(f"token of {name}").id
    store.add_ranking(who, store.undo(who).id, "changed", [2, 1])
    store.beat("failed", error="OutOfMemoryError: " + "y" * 300)
    page = lab(visit, viewport={"width": 390, "height": 800}, color_scheme="dark", has_touch=True)
    expect(page.get_by_role("alert")).to_contain_text("The worker failed: OutOfMemoryError")
    expect(fact(page, "Last round")).to_contain_text("failed")
    seen = {
        "curves": '.curve[data-metric="objective/kl"]',
        "rounds": ".round-row",
        "before-after": ".compare-form",
        "people": ".people-list tbody tr",
    }
    for tab, what in seen.items():
        page.evaluate("tab => { location.hash = tab }", tab)
        expect(page.locator(what).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    row = page.locator(".people-list tbody tr", has_text="a-simulated-annotator")
    expect(row).to_contain_text("program")
    taken = page.locator(".taken-list tbody tr").first
    expect(taken).to_contain_text("A > B → B > A")
    expect(taken).to_contain_text(f"in round {done.id}")
    expect(page.locator(".taken-words")).to_contain_text("1 changed, 0 withdrawn.")

    with store.write() as db:
        db.execute("update worker set seen = seen - 300, error = null")
    expect(fact(page, "Worker")).to_contain_text("Not answering")
    page.route("**/api/status", lambda route: route.abort())
    expect(page.get_by_role("alert").first).to_contain_text("The server does not answer.")
    page.unroute("**/api/status")
    expect(page.get_by_text("The server does not answer.")).to_have_count(0)
