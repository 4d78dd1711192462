"""How things stand, and what the lab page asks for: status, rounds, policies, commands, samples."""

import sqlite3

from labeling import api
from labeling.reference import api_page
from labeling.store import NewPolicy
from tests.api.ask import post, refused


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
