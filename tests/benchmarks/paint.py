"""How long an annotator waits after Enter, in a real browser, while the worker trains.

    python -m tests.benchmarks.paint --submissions 120

Starts `python app.py` on the starter in an empty run directory with rounds of 16 rankings, so that one
follows the other, and ranks by keyboard at an annotator's pace. For each submission, from the Enter key's
event:

- script: the key's handler has ended; its forced layout is in it.
- painted: the frame with the next task is made: layout and paint are done (the message that follows its
  animation frame, and no second frame).
- shown: that frame was presented, by the browser's own Event Timing, which counts in steps of 8 ms from the
  key's time stamp. Without a GPU this has the rasterizing in it.
- stored: the reply to the ranking is here. That is what a page without tasks sent ahead would wait for before
  it could begin to paint: the alternative, in the same run.

A submission after which no task was there, because the worker was slower than the annotator, is counted and
left out of both.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WATCH = """
() => {
    window.measured = [];
    let begun = null;
    const shown = new Map();
    new PerformanceObserver((list) => {
        for (const { name, startTime, duration } of list.getEntries())
            if (name === "keydown") shown.set(startTime, duration);
    }).observe({ type: "event", durationThreshold: 16 });
    addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        begun = { at: performance.now(), stamp: event.timeStamp, state: window.worker || "",
                  prompt: document.querySelector(".pr-prompt-text").textContent };
    }, { capture: true });
    new MutationObserver(() => {
        if (!begun || begun.painted) return;
        const { at } = begun;
        if (document.querySelector(".pr").dataset.state !== "task") { begun.waited = true; return; }
        if (document.querySelector(".pr-prompt-text").textContent === begun.prompt) return;
        const mine = begun;
        mine.painted = -1;
        mine.script = performance.now() - at;
        requestAnimationFrame(() => { const channel = new MessageChannel();
            channel.port1.onmessage = () => { mine.painted = performance.now() - at; };
            channel.port2.postMessage(0); });
    }).observe(document.querySelector(".pr"), {
        subtree: true, childList: true, attributes: true, characterData: true,
    });
    const send = window.fetch;
    window.fetch = async (...what) => {
        const reply = await send(...what);
        const path = String(what[0]);
        if (path.endsWith("/api/rankings") && begun) begun.stored ??= performance.now() - begun.at;
        if (path.endsWith("/api/status")) window.worker = (await reply.clone().json()).worker.state;
        return reply;
    };
    window.taken = () => {
        const found = begun;
        begun = null;
        return found && { ...found, shown: shown.get(found.stamp) ?? 8 }; // less than 16 is not reported
    };
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=120)
    parser.add_argument("--pace", type=float, default=0.8, help="Seconds an annotator looks at a task.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.submissions, options.pace)
    print(table(found))


def measure(folder: Path, submissions: int, pace: float) -> list[dict]:
    """One dict for each submission: script, painted, shown, stored (ms), state (the worker's), waited."""
    from playwright.sync_api import expect, sync_playwright

    command = [sys.executable, "app.py", "--run-dir", str(folder / "run"), "--port", "0"]
    command += ["--rankings-per-round", "16", "--open-tasks", "32"]
    app = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = re.search(r"http://\S+", app.stdout.readline()).group()
        with sync_playwright() as playwright:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{url}/annotate/")
            page.get_by_role("button", name="Start ranking").click(timeout=120_000)
            expect(page.locator(".pr-card").first).to_be_visible(timeout=120_000)
            page.evaluate(WATCH)
            found = []
            while len(found) < submissions:
                page.wait_for_function(
                    "document.querySelector('.pr').dataset.state === 'task'", timeout=600_000
                )
                page.wait_for_timeout(1000 * pace)
                cards = page.locator(".pr-card").count()
                for rank in range(1, cards + 1):
                    page.keyboard.press(str(rank))
                page.keyboard.press("Enter")
                page.wait_for_timeout(300)
                taken = page.evaluate("window.taken()")
                if taken:
                    found.append(taken)
                    print(f"{len(found)} of {submissions}", end="\r", file=sys.stderr, flush=True)
            browser.close()
        return found
    finally:
        app.terminate()
        app.wait(timeout=30)


def table(found: list[dict]) -> str:
    """Medians and 95th percentiles, all and while a round trained."""
    waited = sum(bool(one.get("waited")) for one in found)
    lines = [
        f"{len(found)} submissions, {waited} had to wait for the worker; load {os.getloadavg()[0]:.1f}",
        "| | n | script p50 | p95 | painted p50 | p95 | shown p50 | p95 | stored p50 | p95 ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    at_work = ("reward_model", "ppo", "publishing")
    groups = {"all": found, "while a round trains": [f for f in found if f["state"] in at_work]}
    for name, group in groups.items():
        figures = []
        for what in ("script", "painted", "shown", "stored"):
            times = sorted(f[what] for f in group if f.get(what, -1) > 0 and not f.get("waited"))
            figures += [f"{np.percentile(times, q):.1f}" if times else "-" for q in (50, 95)]
        lines.append(f"| {name} | {len(group)} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
