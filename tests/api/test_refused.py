"""What the JSON API and the guard in front of it refuse, in one sentence each; and then nothing is stored."""

import json

import pytest
from fastapi.testclient import TestClient

from labeling.guard import BODY_LIMIT, Guard
from tests.api.ask import post, refused, stored


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
