"""Fixtures for tests in a real browser: a chromium, the real server, and pages that may not call out.

A test file uses them with `pytest_plugins = ["tests.browser"]`. Without a browser those tests are skipped,
unless PODIUM_REQUIRE_BROWSER=1 (as in `.ci/run`), which makes a missing browser a failure.

Tests wait for what is on the page (`expect`), never for a time.
"""

import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What chromium does by itself (updates, safe browsing) would look like the page calling out.
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
]
# The first page of a run pays for cold caches; on a busy machine that takes many seconds.
PATIENCE_MS = 20_000


def _no_browser(reason: str) -> None:
    if os.environ.get("PODIUM_REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for the whole run: the system's chromium, or else Playwright's own."""
    try:
        from playwright.sync_api import Error, expect, sync_playwright
    except ImportError:
        _no_browser("Browser tests need Playwright: pip install -e '.[test]'.")
    expect.set_options(timeout=PATIENCE_MS)
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    with sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            _no_browser("No chromium here; install it, or run: playwright install chromium.")
        try:
            browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        except Error as error:
            _no_browser(f"Chromium does not start: {error}")
        yield browser
        browser.close()


@dataclass
class Site:
    """A running Podium: the real app over a real file, without a worker. Tests play the worker."""

    url: str
    store: Any

    def add_task(self, responses: list[str], prompt: str = "Which is best?", seed: int | None = None) -> int:
        """Put a task into the queue, as the worker does. The store shuffles the positions."""
        from labeling.store import NewResponse

        self.store.add_prompts([(prompt, "train")], "test")
        prompt_id = next(p.id for p in self.store.prompts() if p.text == prompt)
        new = [NewResponse(text, len(text.split()), True, {"temperature": 1.0}) for text in responses]
        return self.store.add_task(prompt_id, self.store.published().version, new, seed=seed)

    def query(self, sql: str, *values: Any) -> list[tuple]:
        """Read the file as anybody could, with nothing of ours in between."""
        with sqlite3.connect(self.store.path) as db:
            return db.execute(sql, values).fetchall()

    def stored(self, task_id: int) -> list[dict[str, int]]:
        """Each standing ranking of a task as {response text: rank}; {} is a skip."""
        standing = "select id from rankings where task_id = ? and withdrawn_at is null order by id"
        ranks = (
            "select text, rank from ranks join responses on responses.id = response_id where ranking_id = ?"
        )
        return [dict(self.query(ranks, ranking_id)) for (ranking_id,) in self.query(standing, task_id)]

    def publish(self) -> int:
        """Play a round that is published; return the new version."""
        from labeling.store import NewPolicy

        round_ = self.store.begin_round({})
        version = self.store.next_version()
        policy = NewPolicy(version=version, path=f"policies/{version}", model="starter")
        self.store.end_round(round_.id, "published", policy=policy)
        return version


@pytest.fixture(scope="module")
def running_site(tmp_path_factory) -> Iterator[Site]:
    """The server. Building its pages takes a second or two, so one serves a whole test file."""
    import uvicorn

    from labeling.store import open_store
    from labeling.web import create_app

    store = open_store(tmp_path_factory.mktemp("site") / "run", create=True, migrate=True)
    store.put_setting("config", {"model": "starter", "rankings_per_round": 8})
    store.add_reference("data/starter/sft", "starter")
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(store), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", store)
    server.should_exit = True
    thread.join(timeout=20)
    listener.close()
    store.close()


@pytest.fixture
def site(running_site: Site) -> Site:
    """The server with an empty queue and an idle worker. Rankings and policies of earlier tests remain."""
    with running_site.store.write() as db:
        db.execute("update tasks set state = 'retired', leased_by = null where state = 'open'")
    running_site.store.beat("idle", error=None)
    return running_site


@pytest.fixture(scope="session")
def desk(chromium: Any) -> Iterator[Any]:
    """A context that stays: with its cache warm a page opens in half the time."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def visit(chromium: Any, desk: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """Open a page as a new person: `visit("/annotate/")`, on another device: `visit("/lab/", viewport=...)`.
    The guidelines count as read, unless it is a `first_visit`.

    Fails the test if any page asked another origin for anything, or had an error of its own.
    """
    outside: list[str] = []
    errors: list[str] = []
    pages = []

    def open_page(path: str = "/annotate/", *, first_visit: bool = False, **options: Any) -> Any:
        context = chromium.new_context(**options) if options else desk
        page = context.new_page()
        if not first_visit:
            read = json.dumps({site.store.run_id(): site.store.guidelines_version()})
            keep = f"localStorage['podium.guidelines'] ??= {json.dumps(read)}"
            page.add_init_script(f"if (location.protocol === 'http:') {keep}")
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: outside.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
        page.goto(site.url + path)
        return page

    yield open_page
    for page in pages:
        page.unroute_all(behavior="ignoreErrors")
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.close()
        if page.context is not desk:
            page.context.close()
    desk.clear_cookies()
    own = (site.url + "/", "data:", "blob:")
    assert [url for url in outside if not url.startswith(own)] == [], "the page asked another origin"
    assert errors == [], "the page had errors"
