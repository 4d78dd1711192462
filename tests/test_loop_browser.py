"""The whole loop with nothing stood in for: `python app.py`, a person in a browser, a published policy.

The person likes short responses. They rank by keyboard and by drag, the worker trains on that and publishes,
and the page they never left says so.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

pytest_plugins = ["tests.browser"]

ROOT = Path(__file__).resolve().parent.parent
RANKINGS = 40
OPTIONS = {
    "--rankings-per-round": RANKINGS,
    "--ppo-updates": 4,
    "--ppo-episodes": 32,
    "--open-tasks": 6,
    "--max-new-tokens": 32,
}


@pytest.fixture
def app(tmp_path):
    """`python app.py` with its worker, on a free port and an empty run directory."""
    words = [str(word) for option in OPTIONS.items() for word in option]
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", "0", "--run-dir", str(tmp_path), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("Podium is at http://"), line
    yield line.split()[3]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()


def shortest_first(page) -> list[int]:
    """Positions of the shown responses, the shortest first."""
    lengths = [len(text.strip()) for text in page.locator(".pr-text").all_inner_texts()]
    return sorted(range(len(lengths)), key=lambda position: lengths[position])


def rank_by_keyboard(page) -> None:
    """Name the responses from best to worst, then Enter."""
    for position in shortest_first(page):
        page.keyboard.press("ABCD"[position])
    page.keyboard.press("Enter")


def rank_by_drag(page) -> None:
    """Drag each response's letter from the tray to its step of the podium, then submit."""
    for rank, position in enumerate(shortest_first(page), start=1):
        card = page.locator(".pr-card").nth(position)
        grip = card.locator(".pr-grip").bounding_box()
        step = page.locator(f'.pr-slot[data-rank="{rank}"]').bounding_box()
        page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
        page.mouse.down()
        page.mouse.move(step["x"] + step["width"] / 2, step["y"] + step["height"] / 2, steps=5)
        page.mouse.up()
    page.locator(".pr-submit").click()


def rank(page, numbers: range) -> None:
    """Submit the rankings of these numbers, each as soon as its task is there."""
    from playwright.sync_api import expect

    for number in numbers:
        if number:  # the next task is there: its responses are not ranked yet
            expect(page.locator("body")).to_contain_text(f"{number} today", timeout=90_000)
            expect(page.locator(".pr-card").first).to_be_visible(timeout=90_000)
        rank_by_drag(page) if number % 8 == 3 else rank_by_keyboard(page)
    expect(page.locator("body")).to_contain_text(f"{numbers.stop} today", timeout=90_000)


def ended_round(app: str, number: int) -> dict:
    """That round, once it was published, rejected or stopped."""
    for _ in range(900):
        rounds = {r["id"]: r for r in json.load(urlopen(app + "/api/rounds"))["rounds"]}
        if number in rounds and rounds[number]["state"] != "running":
            return rounds[number]
        time.sleep(0.2)
    raise AssertionError(f"round {number} did not end: {rounds}")


@pytest.mark.slow
def test_a_person_ranks_and_the_page_shows_the_policy_they_made(app, chromium):
    from playwright.sync_api import expect

    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(app + "/")  # as a stranger types it
    page.get_by_role("button", name="Start ranking").click(timeout=180_000)  # the guidelines are read
    expect(page.locator(".pr-card").first).to_be_visible()
    expect(page.locator("body")).to_contain_text("policy 0")
    for number in range(1, 5):
        rank(page, range(RANKINGS * (number - 1), RANKINGS * number))
        # nobody reloads: the round is trained and judged, and the page hears of it
        found = ended_round(app, number)
        if found["state"] == "published":
            break
        # 8 prompts judge the reward model of 40 rankings: one in ten is turned down, and people rank on
        assert found["state"] == "rejected", found
    trained = f"policy 1, trained on {RANKINGS * number} rankings"
    expect(page.locator("body")).to_contain_text(trained, timeout=90_000)

    page.goto(app + "/lab")
    expect(page.locator("body")).to_contain_text("Policy 1", timeout=90_000)
    page.get_by_role("tab", name="Rounds").click()
    expect(page.locator("body")).to_contain_text("published", timeout=90_000)
    page.close()
