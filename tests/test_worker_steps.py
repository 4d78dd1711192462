"""The background loop step by step in this process, on a tiny model: what a real run shows too seldom."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from labeling.store import Better, Remarks, StoreError, open_store
from rlhf import worker_rounds, worker_tasks
from rlhf.arena import evaluate_versions
from rlhf.config import WorkerConfig
from rlhf.models import ModelError
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.told import Outcome, Progress
from rlhf.viewer import UNPUBLISHED
from rlhf.worker import Worker, _threads
from rlhf.worker_rounds import ROUND, Rounds, as_learned

BETTER = Outcome(True, "better", {"score_after": 1.0})


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (3, 2), (4, 3), (16, 15)])
def test_the_worker_leaves_a_core_to_the_page_where_there_are_enough(cores, threads):
    assert _threads(cores) == threads


@pytest.fixture
def config(tiny_model, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"question {i}" for i in range(24)))
    return WorkerConfig(
        model=tiny_model,
        prompts=str(prompts),
        device="cpu",
        open_tasks=4,
        max_new_tokens=6,
        rankings_per_round=4,
    )


@pytest.fixture
def start(config, tmp_path):
    """A worker on the run directory, as after a restart."""
    stores = []

    def start(run_dir=tmp_path / "run", **changes):
        store = open_store(run_dir, create=True, migrate=True)
        stores.append(store)
        worker = Worker(store, run_dir, replace(config, **changes))
        worker.load()
        return worker

    yield start
    for store in stores:
        store.close()


def publish(worker):
    """A round that ends with the policy as it is."""
    round_ = worker.store.begin_round({})
    worker.rounds._publish(round_, BETTER)
    return worker.store.published()


def fill_up(worker):
    while worker.step() == "fill":
        pass


def rank(worker, count):
    person = worker.store.add_person("token", "anna", "human").id
    for _ in range(count):
        while (task := worker.store.claim_task(person)) is None:
            worker.fill()
        worker.store.add_ranking(person, task.id, str(task.id), list(range(1, len(task.responses) + 1)))


def ask(worker, name, argument=None):
    worker.store.add_command(name, argument)
    worker.commands.obey()
    return worker.store.commands()[0]["outcome"]


def ends_with(monkeypatch, *events):
    """Have every round go through these events, exceptions among them raised."""

    def run_round(*_):
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    monkeypatch.setattr(worker_rounds, "run_round", run_round)


STEP = Progress("reward_model", "training", 1, {"reward_model/loss": 0.5})


def test_a_round_is_set_up_as_asked_and_else_as_ppo_is_by_itself(start):
    assert start().rounds.round_config() == RoundConfig(ppo=PPOConfig(sampling=start().models.sampling))
    asked = start(ppo_updates=5, ppo_episodes=32, kl_coef=0.3, kl_limit=7.0).rounds.round_config().ppo
    assert (asked.updates, asked.episodes, asked.warmup_episodes) == (5, 32, 64)
    assert (asked.kl_coef, asked.kl_limit) == (0.3, 7.0)


# tasks


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


# rounds


def test_a_round_that_always_ends_the_worker_is_given_up(start):
    worker = start()
    for _ in range(3):
        worker.store.begin_round({})
    worker = start()
    worker.take_up()
    round_ = worker.store.round(1)
    assert (round_.state, round_.reason) == ("failed", "the worker ended 3 times in this round")
    fill_up(worker)
    assert "3 times" in worker.store.worker_status()["error"]


def test_a_round_that_people_ended_three_times_is_begun_again(start, monkeypatch):
    worker = start()
    for _ in range(3):
        worker.store.begin_round({})
    worker.end_in_order()
    begun = []
    monkeypatch.setattr(Rounds, "begin", lambda self: begun.append(self.store.begin_round({})))
    start().take_up()
    assert begun[0].attempts == 4
    start().take_up()  # the fourth attempt died, and nobody knows why
    assert len(begun) == 1
    assert worker.store.round(1).state == "failed"


def test_the_last_attempt_at_a_round_trusts_nothing_that_was_kept(start, monkeypatch):
    worker = start()
    worker.store.begin_round({})
    kept = worker.run_dir / ROUND / "reward"
    kept.mkdir(parents=True)
    there = []

    def begin_round(self):
        there.append(kept.exists())
        self.store.begin_round({})

    monkeypatch.setattr(Rounds, "begin", begin_round)
    start().take_up()  # the first attempt died
    start().take_up()  # and so did the second, perhaps of what it took up
    assert there == [True, False]


def test_a_round_of_another_policy_than_the_published_one_says_so(start):
    worker = start()
    publish(worker)
    worker.store.publish(0, "back")
    worker.store.begin_round({})
    worker.rounds.begin()  # again, with policy 1 in memory
    round_ = worker.store.round(2)
    assert (round_.state, round_.reason) == ("stopped", "policy 1 was published instead of 0")


@pytest.mark.parametrize("ending", [Outcome(False, "at the gate", {}), RuntimeError("broken"), "stop"])
def test_scores_are_there_after_a_round_that_ended_without_a_policy(start, monkeypatch, ending):
    worker = start()
    publish(worker)
    worker.models.viewer.scores_ready = True
    head = worker.models.reward_model.head.linear.weight.clone()

    def run_round(*_):
        worker.models.reward_model.reset(99)
        if ending == "stop":
            worker.store.add_command("stop")
        yield STEP
        if isinstance(ending, Exception):
            raise ending
        yield ending

    monkeypatch.setattr(worker_rounds, "run_round", run_round)
    worker.rounds.begin()
    assert worker.store.round(2).state in ("rejected", "failed", "stopped")
    assert worker.models.viewer.scores_ready
    assert worker.models.reward_model.head.linear.weight.equal(head)


def test_a_policy_whose_reward_model_is_of_another_version_goes_on_without_scores(start, capsys):
    worker = start()
    policy = publish(worker)
    file = worker.run_dir / policy.path / "reward" / "reward_head.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != "log_ratio"}, file)
    again = start()
    assert again.models.version == policy.version
    assert not again.models.viewer.scores_ready
    assert "the next round makes a new one" in capsys.readouterr().out
    fill_up(again)
    assert again.store.open_tasks(policy.version) > 0


def test_damaged_scores_cost_scores_only_and_an_older_reward_model_stands_in(start):
    worker = start()
    publish(worker)
    publish(worker)
    newest = worker.run_dir / worker.store.published().path / "reward" / "reward_head.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    again = start()
    assert again.models.version == 2
    assert again.models.viewer.scores_ready
    newest.unlink()
    shutil.rmtree(again.run_dir / "policies" / "1" / "reward")
    again = start()
    assert again.models.version == 2
    assert not again.models.viewer.scores_ready
    fill_up(again)
    assert again.store.open_tasks(2) > 0


def test_going_back_changes_the_policy_and_not_who_scores(start):
    worker = start()
    publish(worker)
    worker = start()
    ask(worker, "publish", {"policy_version": 0})
    assert worker.models.version == 0
    assert worker.models.viewer.scores_ready
    assert start().models.viewer.scores_ready


def test_a_rejected_policy_is_shown_before_it_is_gone(start, monkeypatch):
    worker = start()
    worse = Outcome(False, "it is worse", {"score_before": 1.0, "score_after": 0.5})
    ends_with(monkeypatch, worse)
    worker.store.add_command("train")
    worker.rounds.begin()
    assert worker.store.round(1).state == "rejected"
    worker.answer_samples()
    samples = worker.store.samples("round-1")
    assert {s["policy_version"] for s in samples} == {0, UNPUBLISHED}
    assert {s["state"] for s in samples} == {"done"}
    assert worker.models.version == 0


def test_a_round_is_published_with_its_samples_or_not_at_all(start, monkeypatch):
    worker = start()
    with monkeypatch.context() as full:

        def add_samples(*_):
            raise StoreError("the disk is full")

        full.setattr(worker.store, "add_samples", add_samples)
        with pytest.raises(StoreError):
            publish(worker)
    assert [p.version for p in worker.store.policies()] == [0]
    assert worker.store.round(1).state == "running"
    worker = start()
    publish(worker)
    assert {s["policy_version"] for s in worker.store.samples("round-1")} == {0, 1}


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


def test_every_setting_of_a_round_is_on_record(start, monkeypatch):
    worker = start()
    ends_with(monkeypatch, Outcome(False, "no", {}))
    worker.rounds.begin()
    config = worker.store.round(1).config
    assert set(config) == {"worker"} | {f.name for f in fields(RoundConfig)}
    assert config["ppo"]["sampling"]["max_new_tokens"] == 6


# what people ask


def test_a_policy_that_cannot_be_loaded_is_not_published(start):
    worker = start()
    publish(worker)
    assert ask(worker, "publish", {"policy_version": 0}) == "policy 0 is published again"
    shutil.rmtree(worker.run_dir / "policies" / "1" / "policy")
    assert ask(worker, "publish", {"policy_version": 1}) == "policy 1 could not be loaded, so policy 0 stays"
    assert (worker.store.published().version, worker.models.version) == (0, 0)
    fill_up(worker)
    assert worker.store.claimable_tasks(0) == 4
    start()  # and a restart works


def test_train_now_while_paused_starts_nothing(start):
    worker = start()
    rank(worker, 8)
    ask(worker, "pause")
    assert ask(worker, "train") == "paused; resume first"
    fill_up(worker)
    assert worker.store.rounds() == []
    ask(worker, "resume")
    assert ask(worker, "train") is None  # it will
    assert ask(worker, "pause") == "paused"
    assert worker.store.commands()[1]["outcome"] == "paused; resume first"


# restarts


def test_a_restart_with_a_full_queue_clears_why_it_was_needed(start):
    worker = start()
    fill_up(worker)
    worker.store.beat("failed", "Starting again in 1 s.", error="The worker was killed.")
    worker = start()
    assert worker.store.worker_status()["error"]
    assert worker.step() == "idle"
    assert worker.store.worker_status()["error"] is None


def test_what_was_being_written_when_the_worker_ended_is_not_tried_again(start):
    worker = start()
    [poisoned] = worker.store.add_samples("b", "a prompt", [0])
    worker.store.update_sample(poisoned, state="running")
    worker = start()
    assert worker.store.waiting_samples() == []
    assert worker.store.samples("b")[0]["error"] == "The worker ended while it wrote this."


def test_a_run_directory_may_be_moved_and_served_from_anywhere(start, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    worker = start(Path("run"))
    assert publish(worker).path == "policies/1"
    worker.store.close()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "run").rename("moved")
    worker = start(tmp_path / "elsewhere" / "moved")
    assert worker.models.version == 1
    fill_up(worker)
    worker.store.add_samples("b", "a prompt", [1, 0])
    publish(worker)
    worker.answer_samples()  # policy 1 is in no role any more
    assert [s["state"] for s in worker.store.samples("b")] == ["done", "done"]
    worker.store.put_setting("config", {"max_new_tokens": 6})
    result = evaluate_versions(worker.store, lambda _prompt, text: float(len(text)), before=1, prompts=2)
    assert (result["before"], result["after"]) == (1, 2)


def test_a_run_is_evaluated_on_its_own_device_or_on_the_one_asked_for(start):
    store = start().store
    store.put_setting("config", {"max_new_tokens": 6, "device": "no-such-device"})
    with pytest.raises(ModelError, match="--device no-such-device is not there on this machine"):
        evaluate_versions(store, lambda _prompt, text: float(len(text)), prompts=2)
    result = evaluate_versions(store, lambda _prompt, text: float(len(text)), prompts=2, device="cpu")
    assert result["n"] == 2


# settings


def test_adapters_keep_their_size(start):
    worker = start(tuning="lora", lora_rank=4)
    publish(worker)
    with pytest.raises(ModelError, match="was made with --lora-rank 4, not 8; use --lora-rank 4"):
        start(tuning="lora", lora_rank=8)
    with pytest.raises(ModelError, match="was made with --tuning lora, not full"):
        start(tuning="full", lora_rank=8)
    worker.store.put_setting("config", {"max_new_tokens": 6})
    result = evaluate_versions(worker.store, lambda _prompt, text: float(len(text)), prompts=2)
    assert result["after"] == 1


def test_prompt_and_response_fit_what_the_model_reads(start, tmp_path, config):
    with pytest.raises(ModelError, match="--max-new-tokens 600 leaves no room for a prompt in the 512"):
        start(max_new_tokens=600)
    with pytest.raises(ValueError, match="All prompts are over 1 tokens; lower --max-new-tokens"):
        start(max_new_tokens=510)
    worker = start(max_prompt_tokens=5000)
    assert worker.models.viewer.max_prompt_tokens == 512 - 6 - 1
    lines = [f"question {i}" + " x" * 300 * (i == 7) for i in range(24)]
    Path(config.prompts).write_text("\n".join(lines))
    for place in (tmp_path / "other", tmp_path / "run"):  # this one has all 24 already
        assert {p.text for p in start(place).store.prompts()} == {*lines} - {lines[7]}


def test_rankings_are_learned_with_all_that_was_said(start):
    """Who has said that none was acceptable found the best acceptable elsewhere; others were not asked."""
    worker = start()
    anna, ben = (worker.store.add_person(name, name, "human").id for name in ("anna", "ben"))
    for nonce, person, ranks, remarks in [
        ("1", anna, [None, 1, None, None], Remarks()),
        ("2", anna, [None] * 4, Remarks(acceptable=False)),
        ("3", ben, [1, 2, 3, 4], Remarks(comment="fine")),
    ]:
        while (task := worker.store.claim_task(person)) is None:
            worker.fill()
        worker.store.add_ranking(person, task.id, nonce, ranks[: len(task.responses)], 1.0, remarks)
    learned = as_learned(worker.store.rankings())
    assert [(r.partial, r.acceptable) for r in learned] == [(True, True), (True, False), (False, None)]


def test_a_better_response_is_learned_above_all_that_were_shown(start):
    worker = start()
    anna = worker.store.add_person("anna", "anna", "human").id
    for nonce, ranks, acceptable in [("1", [2, 1, 3, 4], None), ("2", [None] * 4, False)]:
        while (task := worker.store.claim_task(anna)) is None:
            worker.fill()
        remarks = Remarks(acceptable=acceptable, better=Better(f"Written {nonce}."))
        worker.store.add_ranking(anna, task.id, nonce, ranks[: len(task.responses)], 1.0, remarks)
    first, second = as_learned(worker.store.rankings())
    assert (first.chosen(), second.chosen()) == (["Written 1."], ["Written 2."])
    assert first.ranks[:3] == (1, 3, 2)
    assert set(second.ranks[1:]) == {2}
    assert (second.partial, second.acceptable, second.finished[0]) == (True, True, True)


@pytest.mark.parametrize(("overlap", "wanted"), [(0.0, {1}), (0.5, {1, 2}), (1.0, {2})])
def test_a_share_of_the_tasks_is_for_two_annotators(start, overlap, wanted):
    worker = start(overlap=overlap)
    while worker.store.open_tasks() < 12:
        worker.fill()
    assert {row["wanted"] for row in worker.store.rows("select wanted from tasks")} == wanted
