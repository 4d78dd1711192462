"""Rankings over the JSON API: a task, its ranking, what is said beside it, undo, the next task."""

from fastapi.testclient import TestClient

from labeling.store import Better, NewResponse, Remarks, StoreError, open_store
from tests.api.ask import post, refused, stored

NOTHING_SAID = {
    "acceptable": None, "strength": 0, "comment": "", "skip_reason": "", "marks": [], "better": None,
}  # fmt: skip


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
    record = client.get("/api/taken-back").json()
    [gone] = record.pop("latest")
    assert record == {"changed": 0, "withdrawn": 1}
    assert (gone["withdrawn"], gone["before"], gone["after"], gone["rounds"]) == (
        True, "a better response > A > B > the rest", None, [],
    )  # fmt: skip


def test_what_was_taken_back_is_told_in_words_and_within_bounds(client, store):
    anna = store.add_person("a", "anna", "human").id
    store.add_prompts([("long **words** " * 40, "train")], "test")
    task = store.add_task(6, 0, [NewResponse(text, 1, True) for text in ("x", "y")])
    said = [
        (None, Remarks(skip_reason="cannot judge")),
        ([1, 2], Remarks(strength=2)),
        ([1, 1], Remarks(acceptable=False)),
        ([1, 1], Remarks(acceptable=False, comment="both", better=Better("z"))),
        ([1, 1], Remarks(acceptable=False, better=Better("zz"))),
    ]
    for nonce, (ranks, remarks) in enumerate(said):
        store.undo(anna)
        last = store.add_ranking(anna, task, str(nonce), ranks, None, remarks)
    told = client.get("/api/taken-back").json()["latest"][::-1]
    assert [(one["before"], one["also"]) for one in told] == [
        ("skipped: cannot judge", []),
        ("A > B, clearly better", []),
        ("A = B, none acceptable", ["comment"]),
        ("a better response > A = B, none acceptable", ["comment", "the better response"]),
    ]
    assert [one["after"] for one in told[:-1]] == [one["before"] for one in told[1:]]
    assert told[3]["before"] == told[3]["after"]
    assert told[0]["prompt"] == ("long **words** " * 40)[:160] + " …"
    for nonce in range(50):
        store.undo(anna)
        store.add_ranking(anna, task, f"again {nonce}", [1, 2])
    told = client.get("/api/taken-back").json()
    assert (told["changed"], len(told["latest"])) == (54, 50)
    assert told["latest"][0]["id"] == last.id + 49


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
