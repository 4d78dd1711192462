"""Who is asking: people by their visit, programs by their name."""

import json
import sqlite3

import pytest
from fastapi.testclient import TestClient

from labeling.session import COOKIE
from labeling.store import StoreError
from tests.api.ask import HTML, post, refused, stored


def test_a_visit_makes_a_person_and_a_reload_does_not(app, store):
    browser = TestClient(app)
    answer = browser.get("/annotate/", headers=HTML)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    browser.get("/lab/", headers=HTML)
    [person] = store.people()
    assert person["kind"] == "human"
    assert person["name"].startswith("annotator-")
    assert browser.get("/api/task").json()["person"]["name"] == person["name"]


@pytest.mark.parametrize("failure", [sqlite3.OperationalError("disk is full"), StoreError("It is locked.")])
def test_a_visit_to_a_database_that_cannot_be_written_is_told_so(client, store, monkeypatch, failure):
    def broken(*_):
        raise failure

    monkeypatch.setattr(store, "add_person", broken)
    answer = client.get("/annotate/", headers=HTML)
    assert answer.status_code == 503
    assert answer.text in ("The database cannot be used: disk is full.", "It is locked.")
    assert "set-cookie" not in answer.headers
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("header", ["Sec-Fetch-Site", "Referer"])
def test_a_browser_that_lost_its_cookie_is_no_program(client, store, header):
    headers = {header: "same-origin" if header == "Sec-Fetch-Site" else "http://testserver/annotate/"}
    assert "reload" in refused(client.get("/api/task", headers=headers), 401)
    body = {"task_id": 1, "nonce": "n", "ranks": [1, 2, 3, 4]}
    refused(post(client, "/api/rankings", body, headers=headers), 401)
    assert stored(store) == (0, 0, 0)
    assert store.people() == []


def test_a_person_may_try_the_api_on_its_page(client, store):
    client.get("/docs", headers={"Accept": "text/html"})
    assert client.get("/api/task", headers={"Referer": "http://testserver/docs"}).status_code == 200
    assert [p["kind"] for p in store.people()] == ["human"]


def test_a_health_check_is_not_a_visit(client, store):
    answer = client.get("/annotate/", headers={"Accept": "*/*"})
    assert "set-cookie" not in answer.headers
    assert store.people() == []


def test_two_visitors_get_two_tasks(app):
    tasks = set()
    for _ in range(2):
        browser = TestClient(app)
        browser.get("/annotate/", headers=HTML)
        tasks.add(browser.get("/api/task").json()["task"]["id"])
    assert len(tasks) == 2


def test_another_runs_cookie_is_asked_to_reload_and_then_kept(app, store):
    browser = TestClient(app, cookies={COOKIE: "A" * 43})
    assert "reload" in refused(browser.get("/api/task"), 401)
    assert "reload" in refused(
        post(browser, "/api/rankings", {"task_id": 1, "nonce": "n", "skip": True}), 401
    )
    assert store.people() == []
    browser.get("/annotate/", headers=HTML)
    assert store.session("A" * 43).kind == "human"
    assert browser.get("/api/task").status_code == 200


def test_a_malformed_cookie_is_none(app, store):
    browser = TestClient(app, cookies={COOKIE: "short"})
    assert browser.get("/api/task").json()["person"] == {"name": "api", "kind": "program"}
    browser.get("/annotate/", headers=HTML)
    assert store.session("short") is None


def test_a_session_names_a_program_and_its_rankings_are_a_programs(app, store):
    program = TestClient(app)
    session = post(program, "/api/session", {"name": "  robot ", "kind": "program"}).json()
    assert (session["name"], session["kind"]) == ("robot", "program")
    task = program.get("/api/task").json()["task"]["id"]
    post(program, "/api/rankings", {"task_id": task, "nonce": "n", "ranks": [1, 2, 3, 4]})
    assert [r.person_kind for r in store.rankings()] == ["program"]
    assert program.get("/api/status").json()["programs"] == 1
    renamed = post(program, "/api/session", {"name": "robot two", "kind": "program"}).json()
    assert renamed["person_id"] == session["person_id"]
    human = post(program, "/api/session", {"name": "anna", "kind": "human"}).json()
    assert human["person_id"] != session["person_id"]
    assert [r.person_kind for r in store.rankings()] == ["program"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "kind": "human"},
        {"name": "   ", "kind": "human"},
        {"name": "x" * 61, "kind": "human"},
        {"name": "x", "kind": "admin"},
        {"kind": "human"},
        {"name": "\ud800", "kind": "human"},
    ],
)
def test_a_wrong_session_is_refused(client, store, body):
    answer = client.post(
        "/api/session", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    refused(answer, 422)
    assert store.people() == []
