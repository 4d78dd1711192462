"""The lab's Constitution tab: versions, the switch, and what judges said; and judges on the Agreement tab."""

import pytest

from tests.annotate import FOUR

pytest_plugins = ["tests.browser"]


@pytest.fixture
def store(site):
    """The site's store without the rankings of earlier tests."""
    with site.store.write() as db:
        for table in ("judgements", "judges", "constitutions", "demonstrations", "ranks", "rankings"):
            db.execute(f"delete from {table}")
        db.execute("delete from people where id not in (select coalesce(leased_by, 0) from tasks)")
    site.store.set_ai_feedback(use=True, weight=0.5)
    return site.store


@pytest.fixture
def lab(visit, store):
    from playwright.sync_api import expect

    page = visit("/lab/#constitution")
    expect(page.get_by_role("textbox", name="Text of")).not_to_have_value("")
    return page


def judge_tasks(site, tasks, model="Qwen/Qwen3-4B"):
    """A judge ranks what Anna has ranked, and agrees with her but for every fifth task."""
    anna = site.store.add_person("anna", "anna", "human").id
    judge = site.store.judge("qwen3", model, "http://127.0.0.1:8000/v1").id
    for number in range(tasks):
        task = site.add_task(FOUR, f"prompt {number}")
        order = [1, 2, 3, 4] if number % 5 else [4, 3, 2, 1]
        site.store.add_ranking(anna, task, f"a {task}", [1, 2, 3, 4])
        known = {"calls": 2, "prompt_tokens": 1000, "response_tokens": 50, "consistent": 0.9, "seconds": 3.0}
        site.store.add_judgement(judge, task, f"j {task}", order, compare=True, **known)


def test_the_constitution_is_written_looked_at_and_kept_in_versions(site, lab):
    from playwright.sync_api import expect

    box = lab.get_by_role("textbox", name="Text of")
    said = lab.locator("#lab-constitution .text-message")
    before = site.store.constitution().version
    box.fill("- Prefer **short** ones.\n\n<script>window.pwned = 1</script>")
    lab.get_by_role("button", name="Preview").click()
    expect(lab.locator("#lab-constitution .editor-preview strong")).to_have_text("short")
    lab.get_by_role("button", name="Save as a new version").click()
    expect(said).to_contain_text(f"Saved as version {before + 1}.")
    lab.get_by_role("button", name="Save as a new version").click()
    expect(said).to_have_text("Nothing has changed.")
    box.fill("Be good.")
    lab.get_by_role("button", name="Save as a new version").click()
    expect(said).to_contain_text("Not saved: The constitution has no principle")
    box.fill("- Prefer **short** ones.\n\n<script>window.pwned = 1</script>")
    lab.get_by_role("button", name="Edit the delivered version").click()
    expect(box).to_have_value(site.store.constitution(0).text)
    assert site.store.constitution().version == before + 1
    assert lab.evaluate("window.pwned") is None


def test_one_switch_and_a_weight(site, lab):
    from playwright.sync_api import expect

    expect(lab.locator(".judges-none")).to_contain_text("No model has judged yet.")
    lab.get_by_role("checkbox", name="Learn from rankings by judges").uncheck()
    lab.locator(".feedback-part").get_by_role("button", name="Save").click()
    expect(lab.locator(".feedback-message")).to_contain_text("learns nothing from judges")
    assert site.store.ai_feedback() == {"use": False, "weight": 0.5}
    lab.get_by_label("Weight of one of theirs").fill("0.25")
    lab.get_by_role("checkbox", name="Learn from rankings by judges").check()
    lab.locator(".feedback-part").get_by_role("button", name="Save").click()
    expect(lab.locator(".feedback-message")).to_contain_text("with weight 0.25")
    assert site.store.ai_feedback() == {"use": True, "weight": 0.25}
    refused = lab.request.post(site.url + "/api/ai-feedback", data={"weight": 0})
    assert (refused.status, "switch them off" in refused.json()["error"]) == (422, True)


def test_what_judges_said_stands_apart_and_beside_people(site, store, lab):
    from playwright.sync_api import expect

    judge_tasks(site, 25)
    facts = lab.locator(".judges > li")
    expect(facts).to_contain_text("Qwen/Qwen3-4B at http://127.0.0.1:8000/v1")
    expect(facts).to_contain_text("80 % (60 to 91 %) of pairs in the same order, 25 tasks")
    expect(facts).to_contain_text("90 % of pairs ranked alike in both orders")
    expect(facts).to_contain_text("50, 3 s a task")
    expect(facts).to_contain_text("25,000 of prompts, 1,250 of responses")
    expect(lab.locator('[data-fact="Rankings"]')).to_contain_text("25 of them by judges")
    lab.get_by_role("tab", name="People").click()
    expect(lab.locator(".people-words")).to_have_text(
        "50 rankings: 25 by 1 person, 0 by 0 programs (0 %), 25 by 1 judge."
    )
    expect(lab.locator(".people-list tbody tr")).to_have_count(2)
    expect(lab.locator(".people-idle")).to_contain_text("looked at a page and ranked nothing.")
    expect(lab.locator(".taken-words")).to_have_text("No ranking has been changed or withdrawn.")
    assert lab.locator(".taken-list table").count() == 0
    lab.get_by_role("tab", name="Agreement").click()
    part = lab.locator('.part[data-part="judges"]')
    expect(part).to_contain_text("judge qwen3 puts 80 % of pairs in the order people do (60 to 91 %)")
    expect(part.locator("ul.rows li").nth(1)).to_contain_text("0.60")
    expect(lab.locator(".agreement-says")).to_have_text(
        "Counts 25 rankings by 1 person; 25 by judges are left out."
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_axe_finds_nothing(site, store, visit, scheme):
    from playwright.sync_api import expect

    from tests.test_axe_browser import violations

    judge_tasks(site, 21, model="a-rather-long-name-of-a-model-that-does-not-break/" * 2)
    page = visit("/lab/#constitution", viewport={"width": 390, "height": 800}, color_scheme=scheme)
    expect(page.locator(".judges > li")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []
    page.evaluate("location.hash = 'agreement'")  # on a phone most tabs are in a menu
    expect(page.locator('.part[data-part="judges"]')).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []
