"""The lab's Agreement tab in a real browser, over real rankings: its words and bars are what the API says."""

import random

import pytest

pytest_plugins = ["tests.browser"]


@pytest.fixture
def store(site):
    """The site's store without the rankings of earlier tests."""
    with site.store.write() as db:
        for table in ("demonstrations", "ranks", "rankings"):
            db.execute(f"delete from {table}")
        db.execute("delete from people where id not in (select coalesce(leased_by, 0) from tasks)")
    return site.store


def fill(site, names, tasks, rank, kind="human", seconds=20.0, responses=4):
    """Every task ranked by all of them: `rank(random, positions)` gives each one's order."""
    people = [site.store.add_person(f"token of {name}", name, kind).id for name in names]
    rng = random.Random(1)
    with site.store.write():
        for number in range(tasks):
            texts = ["word " * rng.randint(1, 30) + str(at) for at in range(responses)]
            task = site.add_task(texts, seed=number)  # or lengths would be preferred in one run of twenty
            site.store.db.execute("update tasks set wanted = ? where id = ?", [len(people), task])
            for person in people:
                site.store.add_ranking(
                    person,
                    task,
                    f"nonce {task} {person}",
                    rank(rng, responses),
                    seconds and seconds * rng.random(),
                )


def always_the_first(_rng, responses):
    return list(range(1, responses + 1))


def mostly_the_first(rng, responses):
    """The first wins, and two of the others change places now and then."""
    order = list(range(1, responses + 1))
    if rng.random() < 0.5:
        order[-2:] = order[:-3:-1]
    return order


def agreement(visit, **options):
    from playwright.sync_api import expect

    page = visit("/lab/#agreement", **options)
    expect(page.locator(".agreement-report > *").first).to_be_visible()
    return page


def part(page, name):
    return page.locator(f'.part[data-part="{name}"]')


def test_nothing_yet_says_what_to_do_and_programs_are_shown_when_asked_for(site, store, visit):
    from playwright.sync_api import expect

    fill(site, ["simulated-1"], 25, mostly_the_first, kind="program", seconds=None)
    page = agreement(visit)
    report = page.locator(".agreement-report")
    expect(report).to_contain_text("No rankings by people yet")
    expect(report.locator("code")).to_have_text("python app.py --overlap 0.1")
    page.get_by_role("button", name="Show the 25 rankings by programs").click()
    expect(page.get_by_role("button", name="Programs", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".agreement-says")).to_have_text("Counts 25 rankings by 1 program.")
    expect(part(page, "agreement")).to_contain_text(
        "Too few: 0 of at least 20 tasks are ranked by two annotators."
    )
    expect(part(page, "agreement").locator("code")).to_have_text("python app.py --overlap 0.1")
    expect(part(page, "position").locator(".badge")).to_have_text("bias")
    expect(part(page, "position")).to_contain_text("A wins more than chance, 100 % of its pairs")
    expect(part(page, "pace")).to_contain_text("Too few: 0 of at least 8 rankings have a time.")


def test_figures_are_the_apis_and_bars_stand_where_they_say(site, store, visit):
    from playwright.sync_api import expect

    fill(site, ["Marta", "<b>Ben</b>"], 45, mostly_the_first)
    fill(site, ["simulated-1"], 3, always_the_first, kind="program", seconds=None)
    page = agreement(visit)
    expect(page.locator(".agreement-says")).to_have_text(
        "Counts 90 rankings by 2 people; 3 by programs are left out."
    )
    told = page.request.get(site.url + "/api/agreement").json()
    overall = told["agreement"]["overall"]
    rows = part(page, "agreement").locator("ul.rows").first.locator("li")
    for at, name in enumerate(("same_order", "tau", "alpha")):
        value, low = overall[name]["value"], overall[name]["low"]
        words = f"{100 * value:.0f} %" if name == "same_order" else f"{value:.2f}"
        expect(rows.nth(at).locator("strong")).to_have_text(words)
        drawn = rows.nth(at).evaluate(
            """row => {
                const box = (what) => row.querySelector(what).getBoundingClientRect();
                const bar = box('.row-bar');
                const at = (x) => (x - bar.left) / bar.width;
                const dot = box('.dot');
                return [at((dot.left + dot.right) / 2), at(box('.range').left), at(box('.mark').left)];
            }"""
        )
        share = [value, low, 0.5] if name == "same_order" else [(value + 1) / 2, (low + 1) / 2, 0.5]
        assert drawn == pytest.approx(share, abs=0.01)
    expect(rows.nth(2)).to_contain_text("45 tasks")

    position = part(page, "position")
    expect(position.locator(".badge").first).to_have_text("bias")
    expect(position.locator(".part-verdict")).to_contain_text(told["position"]["verdict"])
    expect(position.get_by_role("list").first.locator("strong").first).to_have_text("100 %")
    position.get_by_text("By annotator: 2 biases seen").click()
    expect(position.locator("tbody tr")).to_have_count(2)
    expect(position.locator("tbody")).to_contain_text("<b>Ben</b>")
    assert position.locator("tbody b").count() == 0

    pace = part(page, "pace")
    expect(pace.locator("ul.rows li:not(.axis)")).to_have_count(len(told["pace"]["over_time"]))
    pace.get_by_text("By annotator").click()
    expect(pace.locator("tbody tr").first).to_contain_text("person")
    expect(pace.locator("tbody tr").first).to_contain_text("45")

    # more rankings come: the figures follow, and what was open stays open
    fill(site, ["Carl"], 10, always_the_first)
    expect(page.locator(".agreement-says")).to_contain_text("Counts 100 rankings by 3 people")
    expect(pace.locator("tbody tr")).to_have_count(3)
    expect(pace.locator("tbody tr").first).to_be_visible()

    page.get_by_role("button", name="Both", exact=True).click()
    expect(page.locator(".agreement-says")).to_have_text(
        "Counts 103 rankings by 3 people and 1 program together."
    )
    expect(pace.locator("tbody")).to_contain_text("simulated-1")


def test_without_a_bias_it_says_so_and_sizes_are_told_apart(site, store, visit):
    from playwright.sync_api import expect

    def shuffled(rng, responses):
        return rng.sample(range(1, responses + 1), responses)

    fill(site, ["Marta"], 60, shuffled)
    fill(site, ["Marta"], 30, shuffled, responses=2)
    fill(site, ["Marta"], 3, shuffled, responses=3)
    page = agreement(visit)
    position = part(page, "position")
    expect(position.locator(".part-verdict")).to_contain_text("No bias seen (p = ")
    position.get_by_text("By number of responses").click()
    sizes = ["30 tasks with 2 responses", "3 tasks with 3 responses", "60 tasks with 4 responses"]
    expect(position.locator("h3")).to_have_text(sizes)
    expect(position.locator("h3:nth-of-type(2) + .about")).to_have_text("Too few to tell.")
    expect(part(page, "length").locator(".part-verdict")).to_contain_text("No preference for length seen")
    assert page.locator(".part .badge-rejected").count() == 0


def test_nobody_looking_nothing_asked_and_trouble_is_said(site, store, visit):
    from playwright.sync_api import expect

    fill(site, ["Marta"], 3, always_the_first)
    context = visit("/docs", viewport={"width": 1280, "height": 900}).context  # the clock is its own
    page = context.new_page()
    page.clock.install()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    page.goto(site.url + "/lab/")
    expect(page.locator(".curves-empty")).to_be_visible()
    page.clock.run_for(8000)
    assert any("/api/status" in url for url in asked)
    assert not any("/api/agreement" in url for url in asked)
    with page.expect_request("**/api/agreement?kind=human"):
        page.get_by_role("tab", name="Agreement").click()
    says = page.locator(".agreement-says")
    expect(says).to_contain_text("Counts 3 rankings")
    assert page.url.endswith("#agreement")

    refusal = '{"error": "The database cannot be used: locked."}'
    page.route("**/api/agreement*", lambda route: route.fulfill(status=503, body=refusal))
    page.clock.run_for(6000)
    expect(says).to_have_text("The database cannot be used: locked. Trying again.")
    page.unroute("**/api/agreement*")
    page.clock.run_for(6000)
    expect(says).to_contain_text("Counts 3 rankings")
    asked.clear()
    page.get_by_role("tab", name="People").click()
    page.clock.run_for(12000)
    assert not any("/api/agreement" in url for url in asked)
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_with_everything_open(site, store, visit, scheme):
    from playwright.sync_api import expect

    long = "an-annotator-with-a-rather-long-name-that-does-not-break"
    fill(site, ["Marta", long, "Carl"], 45, mostly_the_first)
    page = agreement(visit, viewport={"width": 390, "height": 800}, color_scheme=scheme, has_touch=True)
    for summary in page.locator(".part summary").all():
        summary.click()
    expect(part(page, "agreement").locator("tbody tr")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for text in page.locator(".part :is(.row-numbers, .row-name, td, th, summary, .about)").all():
        box = text.bounding_box()
        assert box is None or box["x"] + box["width"] <= 390
