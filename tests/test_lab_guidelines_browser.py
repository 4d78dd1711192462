"""The lab's Guidelines tab: a new version, the form, and what annotators see of both."""

import pytest

from labeling.form import Form
from tests.annotate import FOUR, annotate

pytest_plugins = ["tests.browser"]


@pytest.fixture
def lab(site, visit):
    from playwright.sync_api import expect

    page = visit("/lab/")
    page.get_by_role("tab", name="Guidelines").click()
    expect(page.get_by_role("textbox", name="Text of")).not_to_have_value("")
    yield page
    site.store.put_form(Form())


def look_away_and_back(page):
    """Coming back into view, a widget asks at once."""
    for hidden in (True, False):
        page.evaluate(
            """hidden => {
                Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
                document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )


def test_guidelines_are_written_looked_at_and_kept_in_versions(site, lab):
    from playwright.sync_api import expect

    box = lab.get_by_role("textbox", name="Text of")
    expect(box).to_have_value(
        site.store.guidelines().text.strip() + "\n" * (site.store.guidelines().version == 0)
    )
    said = lab.locator("#lab-guidelines .text-message")
    before = site.store.guidelines_version()
    box.fill("Be **strict**.\n\n<script>window.pwned = 1</script>")
    lab.get_by_role("button", name="Preview").click()
    expect(lab.locator("#lab-guidelines .editor-preview strong")).to_have_text("strict")
    lab.get_by_role("button", name="Save as a new version").click()
    expect(said).to_contain_text(f"Saved as version {before + 1}.")
    assert site.store.guidelines().text.startswith("Be **strict**.")
    lab.get_by_role("button", name="Save as a new version").click()
    expect(said).to_have_text("Nothing has changed.")
    box.fill("Be kind.")
    lab.route("**/guidelines/versions", lambda route: route.fulfill(status=500, body="{}"))
    with lab.expect_response("**/guidelines/versions"):  # and what is written meanwhile stays
        lab.get_by_role("button", name="Save as a new version").evaluate(
            "(save) => { save.click(); document.activeElement.value += ' And brief'; }"
        )
    expect(said).to_contain_text(f"Saved as version {before + 2}.")
    assert site.store.guidelines().text == "Be kind."
    expect(box).to_have_value("Be kind. And brief")
    box.fill("Be kind.")
    lab.unroute("**/guidelines/versions")
    look_away_and_back(lab)
    lab.get_by_role("button", name=f"Edit version {before + 1}").click()
    expect(box).to_have_value("Be **strict**.\n\n<script>window.pwned = 1</script>")
    box.fill("   ")
    lab.get_by_role("button", name="Save as a new version").click()
    expect(said).to_contain_text("Not saved: The guidelines have 0 characters")
    assert site.store.guidelines_version() == before + 2
    assert lab.evaluate("window.pwned") is None

    # what another person has written meanwhile is shown, but not over what is being written
    site.store.add_guidelines("Be brief.")
    look_away_and_back(lab)
    expect(lab.get_by_role("button", name=f"Edit version {before + 3}")).to_be_visible()
    expect(box).to_have_value("   ")
    lab.once("dialog", lambda dialog: dialog.accept())
    lab.get_by_role("button", name=f"Edit version {before + 3}").click()
    expect(box).to_have_value("Be brief.")
    site.store.add_guidelines("Be just.")
    look_away_and_back(lab)
    expect(box).to_have_value("Be just.")
    lab.get_by_role("button", name="Edit the delivered version").click()
    expect(box).to_have_value(site.store.guidelines(0).text)


def test_the_form_is_what_annotators_are_asked(site, visit, lab):
    from playwright.sync_api import expect

    lab.get_by_role("textbox", name="Flags: what is wrong with a response").fill("too loud\n\n  unsafe ")
    lab.get_by_role("textbox", name="Reasons to skip a task").fill("")
    lab.get_by_role("checkbox", name="Ask for ratings from 1 to 5").check()
    expect(lab.get_by_role("textbox", name="Scales")).to_have_value("helpfulness\naccuracy\nsafety\ntone")
    lab.get_by_role("button", name="Save", exact=True).click()
    expect(lab.locator(".form-message")).to_contain_text("Saved.")
    form = site.store.form()
    assert (form.flags, form.skip_reasons, len(form.ratings)) == (("too loud", "unsafe"), (), 4)
    lab.get_by_role("textbox", name="Reasons for it").fill("clear\nclear")
    lab.get_by_role("button", name="Save", exact=True).click()
    expect(lab.locator(".form-message")).to_have_text("Not saved: reasons_for: a name is there twice.")

    task = site.add_task(FOUR)
    page = annotate(visit)
    page.get_by_role("button", name="Marks of Response A").click()
    expect(page.get_by_role("button", name="⚑ too loud")).to_be_visible()
    expect(page.get_by_role("group", name="tone, 1 (worst) to 5")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("s")  # nothing is asked
    expect(page.locator(".pr-live")).to_contain_text("Skipped")
    assert site.stored(task) == [{}]
