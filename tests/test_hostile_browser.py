"""Hostile model text on the annotate page in a real browser: nothing runs, nothing is fetched, and outside
its own box not one pixel is another one.

Every case is a response (four to a task) and a prompt; the long ones are both at once. Submitting leads to
the next task.
"""

import io
import re

import pytest

from labeling.render import render
from tests.annotate import FOUR, annotate
from tests.hostile import CASES, LENGTHS, ONE_SIGN

pytest_plugins = ["tests.browser"]

NAMES = [name for name in CASES if name not in LENGTHS]
CUT = [CASES[name][:10] for name in ONE_SIGN]
AT_ONCE = 24  # cases in one test
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
OWN_CALLS = re.compile(r"/api/(task|status|rounds|rankings|tasks/\d+/lease)")

# What is wrong with the page as it stands, as sentences: the first five.
LOOK = """(cut) => {
    const ALLOWED = new Set(("a blockquote br code del div em h4 h5 h6 hr li ol p pre s span strong table"
        + " tbody td th thead tr ul").split(" "));
    const wrong = [];
    const say = (...words) => wrong.push(words.join(" "));
    if ("pwned" in window || "pwned" in document) say("something ran");
    if (document.documentElement.scrollWidth > innerWidth) say("the page scrolls sideways");
    // of the thousands of equal parts of a long text the first and the last
    const some = (all) => all.length < 1000 ? all : [...all.slice(0, 500), ...all.slice(-500)];
    const texts = [...document.querySelectorAll(".pr-text, .pr-prompt-text")];
    for (const text of texts) {
        const where = text.className.split(" ")[0];
        const box = text.getBoundingClientRect();
        const scrolls = text.scrollHeight > text.clientHeight + 1; // a long text, within its box
        const outOf = (r) => r.width && r.height && (r.left < box.left - 1 || r.right > box.right + 1
            || !scrolls && (r.top < box.top - 1 || r.bottom > box.bottom + 1));
        if (getComputedStyle(text).unicodeBidi !== "isolate") say(where, "is not isolated");
        for (const element of some([...text.querySelectorAll("*")])) {
            const tag = element.localName;
            for (const { name } of element.attributes)
                if (!/^(href|title|rel|target|dir|start|class|tabindex|role|aria-label)$/.test(name))
                    say(where, tag, "has", name);
            for (const name of element.classList)
                if (/^(pr|is)-/.test(name) || /^pod-(?!image$|math$|host$|table$|long$|muted$)/.test(name))
                    say(where, tag, "looks like the page's", name);
            if (!ALLOWED.has(tag)) say(where, "has", tag);
            if (element.namespaceURI !== document.documentElement.namespaceURI) say(where, tag, "is foreign");
            if (tag === "a" && element.hasAttribute("href")) {
                if (!["https:", "mailto:"].includes(element.protocol)) say(where, "links to", element.href);
                if (element.target !== "_blank" || !element.relList.contains("noopener"))
                    say(where, "has a link that opens here");
                if (element.origin === location.origin) say(where, "links to this server");
            }
            const { position } = getComputedStyle(element);
            if (position !== "static") say(where, tag, "is", position);
            const scrolled = element.parentElement.closest(".pod-text pre, .pod-text .pod-table");
            if (!scrolled && outOf(element.getBoundingClientRect())) say(where, tag, "is out of its box");
        }
        const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT), words = [];
        while (walker.nextNode()) words.push(walker.currentNode);
        for (const node of some(words)) {
            if (node.parentElement.closest(".pod-text pre, .pod-text .pod-table")) continue;
            const range = document.createRange();
            range.selectNodeContents(node);
            const spot = range.getBoundingClientRect();
            const start = [...range.toString()].slice(0, 10).join("");
            if (outOf(spot) && !cut.includes(start)) say(where, "has words out of its box:", start);
        }
    }
    // what a person presses is there to be pressed, or something of the page lies above it
    const pressable = ".pr-task :is(button, summary, .pr-handle), .pod-nav a";
    for (const button of document.querySelectorAll(pressable)) {
        const r = button.getBoundingClientRect();
        const [x, y] = [r.x + r.width / 2, r.y + r.height / 2];
        if (!r.width || y < 0 || y >= innerHeight) continue;
        const hit = document.elementFromPoint(x, y);
        const bar = button.closest(".pr-bar");
        if (!button.contains(hit) && (bar || !hit?.closest(".pr-bar, .pr-head")))
            say(button.className, "cannot be pressed:", hit?.outerHTML.slice(0, 80));
    }
    return wrong.slice(0, 5);
}"""


@pytest.fixture
def watched(site, visit):
    """Open the page at the first task; afterwards it must have asked for nothing but its own calls, and have
    complained of nothing: what the content policy refuses is an error on the console."""
    seen: list[str] = []

    def asked(request) -> None:
        if not OWN_CALLS.search(request.url.removeprefix(site.url)):
            seen.append(request.url)

    def open_page(**options):
        page = annotate(visit, **options)
        page.on("request", asked)
        page.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        page.on("popup", lambda popup: seen.append(popup.url))
        page.on("frameattached", lambda frame: seen.append(f"a frame {frame.url}"))
        page.on("download", lambda download: seen.append(download.url))
        page.on("framenavigated", lambda frame: seen.append(f"went to {frame.url}"))
        return page

    yield open_page
    assert seen == []


def next_task(page, text: str) -> None:
    """Submit the task on the screen, all tied, and wait until this stands where the other one stood."""
    from playwright.sync_api import expect

    for _ in range(page.locator(".pr-card").count()):
        page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".pr-task")).to_contain_text(text)


def outside(page, style: str = ""):
    """A picture of the window with the boxes of model text painted over, and what a focus may draw around."""
    from PIL import Image

    style += """
        .pod-text { outline: 5px solid #f0f }
        .pr-card { outline: none !important }
        .pr-worker, .pr-progress, .pr-left { visibility: hidden }
    """
    boxes = page.locator(".pod-text")
    picture = page.screenshot(mask=[boxes], style=style, animations="disabled", caret="hide")
    return Image.open(io.BytesIO(picture)).convert("RGB")


def changed_outside(page) -> tuple[int, int, int, int] | None:
    """Where the window looks another way without the text, but for the boxes it stands in."""
    from PIL import ImageChops

    without = outside(page, ".pod-text > * { visibility: hidden !important }")
    difference = ImageChops.difference(outside(page), without).convert("L")
    return difference.point(
        lambda value: 255 * (value > 24)
    ).getbbox()  # round corners are not always the same


def groups(names: list[str]) -> list[list[str]]:
    return [names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)]


@pytest.mark.parametrize("names", groups(NAMES), ids=lambda names: names[0])
def test_as_responses(site, watched, names):
    tasks = [names[at : at + 4] for at in range(0, len(names), 4)]
    tasks = [names if len(names) > 1 else [*names, names[0]] for names in tasks]
    for number, four in enumerate(tasks):
        site.add_task([CASES[name] for name in four], f"Task {number}.")
    page = watched()
    wrong = []
    for number, four in enumerate(tasks):
        if number:
            next_task(page, f"Task {number}.")
        assert page.locator(".pr-text").count() == len(four)
        wrong += [(four[0], what) for what in page.evaluate(LOOK, CUT)]
        if spot := changed_outside(page):
            wrong.append((four[0], "shows outside of its box", spot))
        page.set_viewport_size(NARROW)
        wrong += [(four[0], "at 390", what) for what in page.evaluate(LOOK, CUT)]
        page.set_viewport_size(WIDE)
    assert wrong == []


@pytest.mark.parametrize("names", groups(NAMES), ids=lambda names: names[0])
def test_as_prompts(site, watched, names):
    for name in names:
        site.add_task([f"This is {name}.", "alpha text"], CASES[name])
    look_at_all(watched(), names)


@pytest.mark.slow
@pytest.mark.parametrize("names", groups(list(LENGTHS)), ids=lambda names: names[0])
def test_long_ones(site, watched, names):
    for name in names:
        site.add_task([f"This is {name}.", CASES[name], *FOUR[:2]], CASES[name])
        render(CASES[name])  # before a page waits for it; the server finds it in this process's cache
    look_at_all(watched(), names)


def look_at_all(page, names: list[str]) -> None:
    wrong = []
    for name in names:
        if name != names[0]:
            next_task(page, f"This is {name}.")
        wrong += [(name, what) for what in page.evaluate(LOOK, CUT)]
    assert wrong == []
