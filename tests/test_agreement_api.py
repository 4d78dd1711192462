"""GET /api/agreement: whom it counts, and that it is reckoned only when the rankings have changed."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from labeling import api, lab_api
from labeling.store import open_store
from tests.store.make import add_task, rank


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        yield store


@pytest.fixture
def client(store):
    app = FastAPI()
    api.add_error_handlers(app)
    app.include_router(lab_api.router(store))
    return TestClient(app, raise_server_exceptions=False)


def fill(store, name, kind, tasks):
    person = store.add_person(f"token of {name}", name, kind).id
    with store.write():
        for number in range(tasks):
            add_task(store, f"{name} {number}")
            rank(store, person, f"{name} {number}")


def get(client, **query):
    answer = client.get("/api/agreement", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_humans_are_counted_unless_programs_are_asked_for(client, store):
    fill(store, "Marta", "human", 3)
    fill(store, "simulated", "program", 25)
    assert get(client)["says"] == "Counts 3 rankings by 1 person; 25 by programs are left out."
    assert get(client) == get(client, kind="human")
    assert get(client, kind="human")["position"]["too_few"] == "Too few: 3 of at least 20 tasks are ranked."
    programs = get(client, kind="program")
    assert programs["says"] == "Counts 25 rankings by 1 program; 3 by people are left out."
    assert programs["position"]["positions"][0]["value"] == 1  # rank() puts the first first
    assert "A wins more than chance, 100 % of its pairs" in programs["position"]["verdict"]
    assert programs["pace"]["annotators"][0]["person"] == "simulated"
    assert get(client, kind="all")["rankings"] == 28


def test_judges_are_counted_with_nobody(client, store):
    fill(store, "Marta", "human", 1)
    fill(store, "simulated", "program", 2)
    judge = store.judge("qwen3", "Qwen/Qwen3-4B").id
    with store.write():
        for number in range(3):
            store.add_judgement(judge, add_task(store, f"judged {number}"), str(number), [1, 2, 3, 4])
    left_out = "2 by programs and 3 by judges are left out."
    assert get(client)["says"] == f"Counts 1 ranking by 1 person; {left_out}"
    assert get(client, kind="program")["says"].startswith("Counts 2 rankings by 1 program; 1 by people and 3")
    together = get(client, kind="all")
    assert together["says"].startswith("Counts 3 rankings by 1 person and 1 program together; 3 by judges")
    assert (together["rankings"], together["left_out"]) == (3, 0)


def test_another_kind_is_refused_in_one_sentence(client):
    answer = client.get("/api/agreement", params={"kind": "robots"})
    assert answer.status_code == 422
    assert answer.json() == {"error": "kind: Input should be 'human', 'program' or 'all'."}


def test_it_is_made_once_and_again_when_the_rankings_change(client, store, monkeypatch):
    made = []

    def counted(facts, kind, left_out=0, by_judges=0, judged=()):
        made.append(kind)
        return {"rankings": len(facts)}

    monkeypatch.setattr(lab_api, "report", counted)
    fill(store, "Marta", "human", 2)
    for _ in range(3):
        assert get(client) == {"rankings": 2}
        get(client, kind="all")
    assert sorted(made) == ["all", "human"]
    store.undo(store.session("token of Marta").id)
    assert get(client) == {"rankings": 1}
    assert made.count("human") == 2
