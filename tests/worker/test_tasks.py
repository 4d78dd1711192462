"""Tasks that the worker makes ahead of the annotators."""

import pytest
import torch

from rlhf import worker_tasks
from rlhf.told import Outcome
from tests.worker.steps import ends_with, fill_up, publish, rank


def test_tasks_on_peoples_screens_are_not_ready(start):
    worker = start()
    fill_up(worker)
    for number in range(4):
        person = worker.store.add_person(str(number), "one of many", "human").id
        assert worker.store.claim_task(person)
    assert worker.store.open_tasks(0) == 4
    assert worker.decide() == "fill"
    fill_up(worker)
    late = worker.store.add_person("late", "late", "human").id
    assert worker.store.claim_task(late)


def test_a_prompt_that_comes_again_gets_other_responses(start, monkeypatch):
    worker = start()
    [prompt] = worker.store.next_prompts(1, 0)
    monkeypatch.setattr(worker.store, "next_prompts", lambda *_: [prompt])
    worker.fill()
    worker.fill()
    rows = worker.store.rows("select text, json_extract(sampling, '$.seed') as seed from responses")
    texts = {seed: {r["text"] for r in rows if r["seed"] == seed} for seed in {r["seed"] for r in rows}}
    first, second = texts.values()
    assert first != second


@pytest.mark.parametrize(("responses", "beside", "expected"), [(4, 2, 2), (3, 2, 1), (2, 2, 1), (4, 0, 0)])
def test_beside_a_better_policys_responses_stand_some_of_the_reference(start, responses, beside, expected):
    worker = start(responses=responses, reference_responses=beside)
    worker.fill()
    publish(worker)
    worker.fill()
    rows = worker.store.rows(
        """
        select tasks.policy_version as task, responses.policy_version as response, count(*) as responses
        from tasks join task_responses on task_id = tasks.id join responses on responses.id = response_id
        group by tasks.id, responses.policy_version
        """
    )
    of_the_reference = [row for row in rows if row["task"] == 0]
    assert of_the_reference
    assert {(row["response"], row["responses"]) for row in of_the_reference} == {(0, responses)}
    of_policy_1 = {(row["response"], row["responses"]) for row in rows if row["task"] == 1}
    assert of_policy_1 == {(1, responses - expected)} | ({(0, expected)} if expected else set())


def test_a_policy_with_one_answer_to_everything_does_not_spin_or_keep_a_round_from_starting(
    start, monkeypatch
):
    worker = start()
    rank(worker, 4)
    worker.store.retire_tasks(other_than=9)
    worker.tasks.fills = 0  # the last was a while ago
    monkeypatch.setattr(worker_tasks, "draw_drafts", lambda _family, prompts, *_: [[] for _ in prompts])
    ends_with(monkeypatch, Outcome(False, "no", {}))
    assert worker.decide() == "fill"
    assert worker.step() == "fill"
    assert worker.step() == "round"
    assert worker.step() == "idle"  # not the next fill at once
    assert worker.tasks.rest_until > 0


def test_old_tasks_stay_until_new_ones_are_really_there(start, monkeypatch):
    worker = start(open_tasks=2)
    fill_up(worker)
    with monkeypatch.context() as nothing:
        nothing.setattr(worker_tasks, "draw_drafts", lambda _family, prompts, *_: [[] for _ in prompts])
        publish(worker)
        for _ in range(3):
            worker.fill()
    assert worker.store.open_tasks(0) == 2
    fill_up(worker)
    worker.tasks.rest_until = 0.0
    fill_up(worker)
    assert (worker.store.open_tasks(0), worker.store.open_tasks(1)) == (0, 2)


def test_a_policy_is_published_with_its_first_tasks(start, monkeypatch):
    """Else whoever is fast would go on ranking what the last one has said."""
    worker = start(open_tasks=4)
    fill_up(worker)
    looking, other = (worker.store.add_person(name, name, "human").id for name in ("looking", "other"))
    seen, roles, draw = worker.store.claim_task(looking), [], worker_tasks.draw_drafts

    def draw_drafts(*arguments):
        roles.append(arguments[-1])
        return draw(*arguments)

    monkeypatch.setattr(worker_tasks, "draw_drafts", draw_drafts)
    publish(worker)
    assert (worker.store.open_tasks(0), worker.store.open_tasks(1)) == (1, 2)
    assert worker.store.claim_task(looking).id == seen.id  # on somebody's screen it stays
    assert worker.store.claim_task(other).policy_version == 1
    versions = worker.store.rows("select distinct policy_version as version from responses order by 1")
    assert [row["version"] for row in versions] == [0, 1]
    worker.fill()
    assert roles == ["policy", "published"]  # before it is published, and after


def test_a_policy_whose_first_tasks_cannot_be_drawn_is_published_all_the_same(start, monkeypatch):
    worker = start()

    def draw_drafts(*_):
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as full:
        full.setattr(worker_tasks, "draw_drafts", draw_drafts)
        assert publish(worker).version == 1
    assert worker.store.round(1).state == "published"
    assert worker.store.open_tasks(1) == 0
    fill_up(worker)
    assert worker.store.open_tasks(1) > 0


def test_as_many_first_tasks_as_a_fill_makes_at_most(start, monkeypatch):
    worker, counts = start(open_tasks=500), []
    monkeypatch.setattr(
        worker_tasks, "draw_drafts", lambda _family, prompts, *_: counts.append(len(prompts)) or []
    )
    monkeypatch.setattr(worker.tasks, "add", lambda *_: 0)
    publish(worker)
    assert counts == [16]


@pytest.mark.parametrize(("overlap", "wanted"), [(0.0, {1}), (0.5, {1, 2}), (1.0, {2})])
def test_a_share_of_the_tasks_is_for_two_annotators(start, overlap, wanted):
    worker = start(overlap=overlap)
    while worker.store.open_tasks() < 12:
        worker.fill()
    assert {row["wanted"] for row in worker.store.rows("select wanted from tasks")} == wanted
