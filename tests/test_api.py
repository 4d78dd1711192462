"""The JSON API and the guard in front of it: every way in, every refusal."""

import json
import sqlite3

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from labeling import api, instructions_api, lab_api
from labeling.guard import BODY_LIMIT, Guard
from labeling.reference import api_page
from labeling.session import COOKIE, Visits
from labeling.store import NewPolicy, NewResponse, StoreError, open_store

NOTHING_SAID = {
    "acceptable": None, "strength": 0, "comment": "", "skip_reason": "", "marks": [], "better": None,
}  # fmt: skip
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        store.add_prompts([(f"prompt **{i}**", "train") for i in range(5)], "test")
        responses = [NewResponse(f"response *{i}*", 3, True) for i in range(4)]
        for i in range(5):
            store.add_task(i + 1, 0, responses, seed=i)
        yield store


@pytest.fixture
def app(store):
    """Everything of `labeling.web` but Gradio; a page stands in for Gradio's."""
    app = FastAPI()
    api.add_error_handlers(app)
    app.include_router(api.router(store))
    app.include_router(lab_api.router(store))
    app.include_router(instructions_api.router(store))
    for path in ("/annotate/", "/annotate/gradio_api/upload", "/lab/"):
        app.add_api_route(path, lambda: "page", methods=["GET", "POST"], include_in_schema=False)
    app.add_middleware(Visits, store=store)
    app.add_middleware(Guard)
    return app


@pytest.fixture
def client(app):
    return TestClient(app, raise_server_exceptions=False)


def post(client, path, body, **how):
    return client.post(path, json=body, **how)


def refused(answer, status) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert list(answer.json()) == ["error"]
    assert sentence[0].isupper() or ":" in sentence or "_" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def stored(store) -> tuple[int, int, int]:
    tables = ("rankings", "ranks", "commands")
    return tuple(store.value(f"select count(*) from {table}") for table in tables)


# ranking


def test_a_task_ranked_is_stored_as_shown_and_the_next_one_comes_back(client, store):
    first = client.get("/api/task").json()
    task = first["task"]
    assert task["prompt_html"].strip() == f'<p dir="ltr">prompt <strong>{task["id"] - 1}</strong></p>'
    assert len(task["responses"]) == 4
    assert all("<em>" in response["html"] for response in task["responses"])
    assert task["previous_ranks"] is None
    assert first["progress"] == {
        "mine_today": 0,
        "mine_total": 0,
        "total": 0,
        "until_next_round": 64,
        "effect": None,
    }
    assert first["person"] == {"name": "api", "kind": "program"}
    answer = post(
        client, "/api/rankings", {"task_id": task["id"], "nonce": "n", "ranks": [2, 4, 4, 1]}
    ).json()
    assert answer["task"]["id"] != task["id"]
    assert answer["progress"] == {
        "mine_today": 1,
        "mine_total": 1,
        "total": 1,
        "until_next_round": 63,
        "effect": None,
    }
    [ranking] = store.rankings()
    assert (ranking.id, ranking.ranks) == (answer["ranking_id"], [2, 3, 3, 1])
    assert ranking.responses == [response["text"] for response in task["responses"]]


def test_reading_a_task_again_gives_the_same_one(client):
    assert client.get("/api/task").json()["task"] == client.get("/api/task").json()["task"]


def test_a_retry_answers_the_same_and_stores_once(client, store):
    task = client.get("/api/task").json()["task"]
    body = {"task_id": task["id"], "nonce": "n", "ranks": [1, 2, 3, 4], "seconds": 3.5}
    first, second = post(client, "/api/rankings", body).json(), post(client, "/api/rankings", body).json()
    assert first["ranking_id"] == second["ranking_id"]
    assert first["task"] == second["task"]
    assert stored(store)[:2] == (1, 4)


def test_what_is_said_beside_the_order_is_stored_and_comes_back(client, store):
    task = client.get("/api/task").json()["task"]
    body = {"task_id": task["id"], "ranks": [None, 1, None, None], "acceptable": False, "comment": " meh "}
    post(client, "/api/rankings", body | {"nonce": "1"})
    [ranking] = store.rankings()
    assert (ranking.ranks, ranking.partial, ranking.acceptable) == ([2, 1, 2, 2], True, False)
    assert ranking.comment == "meh"
    undone = post(client, "/api/undo", {}).json()["task"]
    assert undone["previous_ranks"] == [None, 1, None, None]
    assert undone["previous_remarks"] == NOTHING_SAID | {"acceptable": False, "comment": "meh"}
    for wrong, says in [
        ({"ranks": [None] * 4, "acceptable": None}, "No response has a rank"),
        ({"strength": 2}, "one of two is better"),
        ({"strength": 9}, "wanted: 1"),
        ({"comment": "x" * 5000}, "characters"),
        ({"ranks": None, "skip": True}, "A skip says nothing"),
    ]:
        assert says in refused(post(client, "/api/rankings", body | {"nonce": "2"} | wrong), 422)
    for wrong in ({"acceptable": "no"}, {"strength": 1.5}, {"comment": None}):
        refused(post(client, "/api/rankings", body | {"nonce": "2"} | wrong), 422)
    post(client, "/api/rankings", body | {"nonce": "2", "ranks": [None] * 4})
    assert store.rankings()[0].ranks == [1, 1, 1, 1]


def test_skip_and_undo(client, store):
    task = client.get("/api/task").json()["task"]
    assert refused(post(client, "/api/undo", {}), 409) == "There is nothing to undo."
    post(client, "/api/rankings", {"task_id": task["id"], "nonce": "1", "skip": True})
    undone = post(client, "/api/undo", {}).json()
    assert (undone["task"]["id"], undone["task"]["previous_ranks"]) == (task["id"], None)
    post(client, "/api/rankings", {"task_id": task["id"], "nonce": "2", "ranks": [1, 1, 2, 2]})
    undone = post(client, "/api/undo", {}).json()
    assert undone["task"]["previous_ranks"] == [1, 1, 2, 2]
    assert client.get("/api/task").json()["task"] == undone["task"]
    assert store.ranking_count() == 0


def test_undo_of_the_ranking_that_is_meant_is_harmless_twice(client, store):
    rankings = []
    for nonce in ("1", "2"):
        task = client.get("/api/task").json()["task"]
        body = {"task_id": task["id"], "nonce": nonce, "ranks": [1, 2, 3, 4]}
        reply = post(client, "/api/rankings", body).json()
        assert reply["last_ranking_id"] == reply["ranking_id"]
        rankings.append(reply["ranking_id"])
    meant = {"ranking_id": rankings[1]}
    undone = post(client, "/api/undo", meant).json()
    assert (undone["task"], undone["last_ranking_id"]) == (
        task
        | {
            "previous_ranks": [1, 2, 3, 4],
            "previous_remarks": NOTHING_SAID,
        },
        rankings[0],
    )
    assert post(client, "/api/undo", meant).json()["task"] == undone["task"]
    assert store.ranking_count() == 1
    assert client.post("/api/undo").json()["last_ranking_id"] is None  # without a body: the last one
    refused(post(client, "/api/undo", {"ranking_id": 99}), 409)
    refused(post(client, "/api/undo", {"ranking_id": "1"}), 422)


def test_a_ranking_of_another_run_is_refused(client, store):
    reply = client.get("/api/task").json()
    run = reply["status"]["run"]
    assert run == client.get("/api/status").json()["run"]
    body = {"task_id": reply["task"]["id"], "nonce": "n", "ranks": [1, 2, 3, 4]}
    assert "another run" in refused(post(client, "/api/rankings", body | {"run": "x" + run}), 409)
    assert stored(store) == (0, 0, 0)
    assert post(client, "/api/rankings", body | {"run": run}).status_code == 200
    assert "another run" in refused(post(client, "/api/undo", {"run": "x" + run}), 409)
    assert store.ranking_count() == 1


def test_every_run_has_its_own_id_and_keeps_it(store, tmp_path):
    with open_store(tmp_path / "other", create=True, migrate=True) as other:
        assert other.run_id() != store.run_id()
        assert other.run_id() == other.run_id() == other.status()["run"]


def test_a_ranking_is_acknowledged_though_the_next_task_cannot_be_claimed(client, store, monkeypatch):
    task = client.get("/api/task").json()["task"]

    def locked(*_):
        raise StoreError("Not saved: database is locked.")

    monkeypatch.setattr(store, "claim_tasks", locked)
    answer = post(client, "/api/rankings", {"task_id": task["id"], "nonce": "n", "ranks": [1, 2, 3, 4]})
    assert (answer.status_code, answer.json()["task"]) == (200, None)
    assert store.last_ranking_id() == answer.json()["ranking_id"]


def test_tasks_to_follow_are_sent_along(client):
    reply = client.get("/api/task?ahead=2").json()
    first, following = reply["task"], reply["next"]
    assert [first["id"], *(task["id"] for task in following)] == [1, 2, 3]
    body = {"task_id": 1, "nonce": "n", "ranks": [1, 2, 3, 4], "ahead": 1}
    reply = post(client, "/api/rankings", body).json()
    assert (reply["task"], [task["id"] for task in reply["next"]]) == (following[0], [3])
    undone = post(client, "/api/undo", {"ahead": 2}).json()
    assert (undone["task"]["id"], [task["id"] for task in undone["next"]]) == (1, [2, 3])
    assert client.get("/api/task").json()["next"] == []
    refused(client.get("/api/task?ahead=4"), 422)
    assert client.post("/api/leave").status_code == 204


def test_marks_and_a_better_response_arrive(client, store):
    task = client.get("/api/task").json()["task"]
    said = {
        "marks": [{"flags": ["false"]}, {}, {"reasons_for": ["clear"], "ratings": {"tone": 4}}, {}],
        "better": {"text": " My own. ", "started_from": 1},
        "guidelines": 0,
        "seconds": 4.5,
    }
    body = {"task_id": task["id"], "nonce": "n", "ranks": [1, 2, None, None], **said}
    first, again = (post(client, "/api/rankings", body).json() for _ in range(2))
    assert first["ranking_id"] == again["ranking_id"]
    assert store.rankings()[0].better == "My own."
    [latest] = client.get("/api/rankings").json()["rankings"]
    assert latest["marks"][2]["ratings"] == {"tone": 4}
    assert (latest["ranks"], latest["better"]["text"]) == ([1, 2, None, None], "My own.")
    for wrong, says in [
        ({"marks": [{"flags": "false"}]}, "list"),
        ({"marks": [{"ratings": {"tone": 9}}, {}, {}, {}]}, "1 to 5"),
        ({"better": {"text": ""}}, "empty"),
        ({"guidelines": -1}, "greater"),
    ]:
        assert says in refused(
            post(client, "/api/rankings", body | {"task_id": 2, "nonce": "x"} | wrong), 422
        )
    assert client.post(f"/api/rankings/{latest['id']}/withdraw").status_code == 204
    refused(client.post("/api/rankings/77/withdraw"), 404)
    assert client.get("/api/rankings").json()["rankings"] == store.rankings() == []


def test_guidelines_form_and_texts(client):
    first = client.get("/api/guidelines").json()
    assert (first["version"], "<strong>" in first["html"]) == (0, True)
    written = post(client, "/api/guidelines", {"text": "**New** <script>alert(1)</script>"}).json()
    assert (written["version"], "<script>" in written["html"]) == (1, False)
    assert client.get("/api/status").json()["guidelines"] == 1
    assert client.get("/api/guidelines?version=0").json() == first
    refused(client.get("/api/guidelines?version=9"), 404)
    refused(post(client, "/api/guidelines", {"text": " "}), 422)
    assert client.get("/api/guidelines/versions").json()["versions"][0]["by"] == "api"
    form = client.get("/api/form").json()["form"]
    changed = post(client, "/api/form", form | {"flags": ["too loud"], "ratings": ["tone"]}).json()
    assert (changed["form"]["flags"], changed["form_changes"]) == (["too loud"], 1)
    refused(post(client, "/api/form", {"flags": [3]}), 422)
    refused(client.get("/api/texts/tlh"), 404)


def test_when_all_is_ranked_there_is_no_task(client):
    for i in range(5):
        task = client.get("/api/task").json()["task"]
        answer = post(
            client, "/api/rankings", {"task_id": task["id"], "nonce": str(i), "ranks": [1, 2, 3, 4]}
        )
    assert answer.json()["task"] is None
    assert client.get("/api/task").json()["task"] is None


def test_a_lease_is_renewed_by_its_holder_only(app, client):
    task = client.get("/api/task").json()["task"]["id"]
    assert client.post(f"/api/tasks/{task}/lease").status_code == 204
    other = TestClient(app)
    post(other, "/api/session", {"name": "ben", "kind": "program"})
    refused(other.post(f"/api/tasks/{task}/lease"), 409)
    refused(client.post("/api/tasks/99/lease"), 404)
    refused(client.post(f"/api/tasks/{10**30}/lease"), 404)
    refused(client.post("/api/tasks/one/lease"), 422)


# what is refused, and stores nothing


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"task_id": 999}, 404),
        ({"task_id": 2**63 - 1}, 404),
        ({"task_id": 2**63}, 422),
        ({"task_id": "1"}, 422),
        ({"task_id": True}, 422),
        ({"task_id": None}, 422),
        ({"ranks": [1, 2, 3]}, 422),
        ({"ranks": [1, 2, 3, 4, 4]}, 422),
        ({"ranks": []}, 422),
        ({"ranks": [0, 1, 2, 3]}, 422),
        ({"ranks": [1, 2, 3, 5]}, 422),
        ({"ranks": [1, 2, 3, 10**40]}, 422),
        ({"ranks": [1, 2, 3, 1.5]}, 422),
        ({"ranks": [1, 2, 3, True]}, 422),
        ({"ranks": [1, 2, 3, "4"]}, 422),
        ({"ranks": [None] * 4}, 422),
        ({"ranks": "1234"}, 422),
        ({"ranks": None}, 422),
        ({"skip": True}, 422),
        ({"skip": "yes", "ranks": None}, 422),
        ({"nonce": ""}, 422),
        ({"nonce": "n" * 101}, 422),
        ({"nonce": 7}, 422),
        ({"nonce": None}, 422),
        ({"nonce": "\ud800"}, 422),
        ({"seconds": -1}, 422),
        ({"seconds": "long"}, 422),
    ],
)
def test_a_wrong_ranking_stores_nothing(client, store, change, status):
    task = client.get("/api/task").json()["task"]
    body = {"task_id": task["id"], "nonce": "nonce", "ranks": [1, 2, 3, 4]} | change
    answer = client.post(
        "/api/rankings", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    refused(answer, status)
    assert stored(store) == (0, 0, 0)
    assert client.get("/api/task").json()["task"] == task


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"not json", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"task_id": 1', "application/json", 400),
        (b"[1, 2]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"task_id": 1, "nonce": "n", "ranks": [1, 2, 3, 4]}', "text/plain", 400),
        (b"task_id=1&nonce=n&skip=true", "application/x-www-form-urlencoded", 400),
        (b'{"task_id": 1, "nonce": "n", "seconds": NaN, "ranks": [1, 2, 3, 4]}', "application/json", 422),
        (b"{}", "application/json", 422),
    ],
)
def test_what_is_not_the_json_asked_for_is_refused(client, store, content, kind, status):
    client.get("/api/task")
    refused(client.post("/api/rankings", content=content, headers={"Content-Type": kind}), status)
    assert stored(store) == (0, 0, 0)


def test_closed_and_held_tasks_and_used_nonces_are_conflicts(app, client, store):
    task = client.get("/api/task").json()["task"]["id"]
    other = TestClient(app)
    post(other, "/api/session", {"name": "ben", "kind": "program"})
    body = {"task_id": task, "nonce": "n", "ranks": [1, 2, 3, 4]}
    assert "somebody else" in refused(post(other, "/api/rankings", body), 409)
    assert post(client, "/api/rankings", body).status_code == 200
    assert "nonce" in refused(post(client, "/api/rankings", body | {"ranks": [4, 3, 2, 1]}), 409)
    assert "nonce" in refused(post(other, "/api/rankings", body), 409)
    assert "already ranked" in refused(post(client, "/api/rankings", body | {"nonce": "m"}), 409)
    assert stored(store)[:2] == (1, 4)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(client, store, chunked):
    task = client.get("/api/task").json()["task"]["id"]
    body = {"task_id": task, "nonce": "n", "ranks": [1, 2, 3, 4], "more": "x" * BODY_LIMIT}
    content = json.dumps(body).encode()
    parts = (content[i : i + 8192] for i in range(0, len(content), 8192))
    headers = {"Content-Type": "application/json"}
    refused(client.post("/api/rankings", content=parts if chunked else content, headers=headers), 413)
    small = json.dumps(body | {"more": "x" * (BODY_LIMIT - 200)}).encode()
    assert stored(store) == (0, 0, 0)
    parts = (small[i : i + 8192] for i in range(0, len(small), 8192))
    answer = client.post("/api/rankings", content=parts if chunked else small, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://testserver.evil.example", "null", "http://["]
)
def test_other_sites_may_not_write(client, store, origin):
    task = client.get("/api/task").json()["task"]["id"]
    body = {"task_id": task, "nonce": "n", "ranks": [1, 2, 3, 4]}
    refused(post(client, "/api/rankings", body, headers={"Origin": origin}), 403)
    refused(post(client, "/annotate/", {}, headers={"Origin": origin}), 403)
    assert stored(store) == (0, 0, 0)
    assert post(client, "/api/rankings", body, headers={"Origin": "http://testserver"}).status_code == 200


def test_a_loopback_server_answers_to_its_own_names_only(store, app):
    guarded = Guard(app, hosts={"localhost", "127.0.0.1", "::1"})
    for host, status in [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("[::1]:7860", 200),
        ("evil.example:7860", 403),
        ("[", 403),
        ("", 403),
    ]:
        answer = TestClient(guarded).get("/api/health", headers={"Host": host})
        assert answer.status_code == status, host


def test_answers_keep_the_browser_at_home(client):
    for path in ("/annotate/", "/api/status", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/api/status").headers["cache-control"] == "no-store"
    assert client.get("/annotate/gradio_api/upload").status_code == 404


def test_what_is_not_there_is_one_sentence_too(client):
    refused(client.get("/api/nothing"), 404)
    refused(client.get("/api/undo"), 405)


# who is asking


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


# how things stand


def test_status_health_rounds_and_policies(client, store):
    assert client.get("/api/health").json() == {"ok": True, "version": api.VERSION}
    round_ = store.begin_round({"updates": 1})
    store.add_metrics(round_.id, 1, 0, {"objective/kl": 1.5, "objective/score": 2.0})
    store.end_round(round_.id, "published", "better", {"kl": 1.5}, NewPolicy(1, "policies/1", "starter"))
    status = client.get("/api/status").json()
    assert (status["policy_version"], status["open_tasks"], status["rankings"]) == (1, 5, 0)
    assert status["worker"].keys() == {"state", "detail", "error", "seen"}
    assert (status["last_round"]["state"], status["last_round"]["policy_version"]) == ("published", 1)
    metrics = client.get("/api/metrics").json()
    assert [m["value"] for m in metrics["metrics"]] == [1.5, 2.0]
    assert client.get("/api/metrics", params={"since": metrics["last_id"]}).json() == {
        "metrics": [],
        "last_id": metrics["last_id"],
    }
    [shown] = client.get("/api/rounds").json()["rounds"]
    assert (shown["policy_version"], shown["summary"], shown["attempts"]) == (1, {"kl": 1.5}, 1)
    policies = client.get("/api/policies").json()["policies"]
    assert [(p["version"], p["round"], p["published"]) for p in policies] == [(0, None, False), (1, 1, True)]
    for since in ("-1", "x", str(2**63)):
        refused(client.get("/api/metrics", params={"since": since}), 422)


def test_commands_reach_the_worker_and_wrong_ones_do_not(client, store):
    assert post(client, "/api/commands", {"name": "train"}).json() == {"id": 1}
    post(client, "/api/commands", {"name": "publish", "argument": {"policy_version": 0}})
    assert [(c["name"], c["argument"]) for c in store.waiting_commands()] == [
        ("train", None),
        ("publish", {"policy_version": 0}),
    ]
    for body in [
        {"name": "explode"},
        {"name": "publish"},
        {"name": "publish", "argument": {"policy_version": "0"}},
        {"name": "publish", "argument": {"policy_version": 7}},
        {"name": "publish", "argument": {"policy_version": 10**30}},
        {},
    ]:
        refused(post(client, "/api/commands", body), 422)
    assert len(store.waiting_commands()) == 2


def test_compare_asks_for_samples_and_shows_them_growing(client, store):
    batch = post(client, "/api/compare", {"prompt": " hello ", "versions": [0]}).json()["batch"]
    [sample] = store.waiting_samples()
    store.update_sample(sample["id"], text="**hi**<script>", score=0.5, state="running")
    [shown] = client.get(f"/api/compare/{batch}").json()["samples"]
    assert (shown["prompt"], shown["policy_version"], shown["text"]) == ("hello", 0, "**hi**<script>")
    assert (shown["score"], shown["state"]) == (0.5, "running")
    assert "<strong>" in shown["html"]
    assert "<script>" not in shown["html"]
    for body in [
        {"prompt": "", "versions": [0]},
        {"prompt": "x" * 8001, "versions": [0]},
        {"prompt": "hello", "versions": []},
        {"prompt": "hello", "versions": [0] * 5},
        {"prompt": "hello", "versions": [3]},
        {"prompt": "hello", "versions": [-2]},
        {"prompt": "hello", "versions": [-1]},  # there is no base model here
        {"prompt": "hello", "versions": ["0"]},
    ]:
        refused(post(client, "/api/compare", body), 422)
    refused(client.get("/api/compare/nothing"), 404)
    store.put_setting("base", "models/base")
    assert post(client, "/api/compare", {"prompt": "hello", "versions": [-1, 0]}).status_code == 200


def test_a_database_that_cannot_be_used_is_said_so(client, store, monkeypatch):
    def broken(*_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "status", broken)
    assert "disk I/O error" in refused(client.get("/api/status"), 503)
    monkeypatch.setattr(store, "status", lambda: 1 / 0)
    assert "log" in refused(client.get("/api/status"), 500)


def test_the_reference_page_has_every_route_and_asks_for_nothing(app):
    description = app.openapi()
    page = api_page(description)
    for path in ("/api/task", "/api/rankings", "/api/undo", "/api/metrics", "/api/compare/{batch}"):
        assert path in description["paths"]
        assert path in page
    assert "1 is best" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
