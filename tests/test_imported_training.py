"""Imported preferences teach a reward model before anybody has ranked: a real file, a real round."""

import json
from dataclasses import replace
from itertools import islice

import pytest

from data.incoming import ImportedRanking
from data.preferences import RankedResponses
from data.starter.corpus import sft_pairs
from labeling.importing import ImportConfig, import_into
from labeling.store import open_store
from rlhf.config import WorkerConfig
from rlhf.generate import SamplingConfig
from rlhf.imported import learnable
from rlhf.models import load_family
from rlhf.ppo import PPOConfig
from rlhf.round import RoundConfig
from rlhf.worker import Worker
from rlhf.worker_rounds import Rounds

CONFIG = WorkerConfig(device="cpu", open_tasks=2, responses=2, max_new_tokens=24)
SMALL = PPOConfig(updates=1, episodes=8, warmup_episodes=8, sampling=SamplingConfig(max_new_tokens=24))


@pytest.fixture
def start(tmp_path):
    stores = []

    def start(**changes):
        store = open_store(tmp_path / "run", create=True, migrate=True)
        stores.append(store)
        file = tmp_path / "prompts.txt"  # a few, or reading all of the starter's would take most of the time
        file.write_text("\n".join(pair.prompt for pair in islice(sft_pairs(9), 120)))
        worker = Worker(store, tmp_path / "run", replace(CONFIG, **{"prompts": str(file), **changes}))
        worker.load()
        return worker

    yield start
    for store in stores:
        store.close()


def pairs(count):
    """Of somebody who does not like to be sent away."""
    found = []
    for number, pair in enumerate(islice(sft_pairs(5), count)):
        kind = f"Of course. {pair.response}", f"Go away, I will not tell you. {pair.response}"
        found.append({"prompt": f"{pair.prompt} ({number})", "chosen": kind[0], "rejected": kind[1]})
    return found


def bring(tmp_path, rows, **options):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_into(str(file), ImportConfig(run_dir=tmp_path / "run", **options))


def train(worker):
    worker.store.add_command("train")
    for _ in range(50):
        action = worker.step()
        if action != "fill":
            return action
    raise AssertionError("it only fills")


@pytest.mark.slow
def test_a_round_of_imported_preferences_alone(start, tmp_path, monkeypatch):
    small = RoundConfig(ppo=SMALL, normalise_on=48, heldout_prompts=16)
    monkeypatch.setattr(Rounds, "round_config", lambda self: small)
    bring(tmp_path, pairs(40))
    worker = start()
    assert worker.step() == "fill"  # annotators first; and nothing starts by itself
    assert worker.store.new_rankings() == 0
    assert train(worker) == "round"
    assert worker.store.commands()[0]["outcome"] == "round 1 started"
    round_ = worker.store.round(1)
    assert round_.rankings == 0  # of annotators
    assert round_.summary["imported_rankings"] == 40
    assert round_.summary["accuracy"] > 0.8, round_
    assert round_.summary["heldout_pairs"] >= 5
    assert round_.state in ("published", "rejected")
    assert "updates" in round_.summary  # PPO has run
    losses = [m["value"] for m in worker.store.metrics() if m["name"] == "reward_model/loss"]
    assert len(losses) > 10
    prompt, better = "What is the capital of France?", "Of course. It is Paris."
    model = worker.models.reward_model
    scores = [
        float(model.score(*([e] for e in model.encode(prompt, text)))[0])
        for text in (better, "Go away, I will not tell you. It is Paris.")
    ]
    assert scores[0] > scores[1]


def test_too_few_are_said_to_be_too_few_and_switched_off_they_are_none(start, tmp_path):
    bring(tmp_path, pairs(14))
    worker = start()
    assert train(worker) == "idle"
    assert worker.store.commands()[0]["outcome"] == "not started: it takes at least 15 rankings"
    bring(tmp_path, pairs(60))
    assert start(imported_rankings=0).imported() == 0
    assert start(imported_rankings=20).imported() == 20


def test_imported_prompts_are_this_runs_and_those_the_model_cannot_read_are_left_out(start, tmp_path, capsys):
    own = [{"prompt": f"What is {n} plus {n}?"} for n in range(30)]
    bring(tmp_path, [*own, {"prompt": "very " * 600 + "long"}])
    worker = start(prompts="")
    assert {p.text for p in worker.store.prompts()} == {row["prompt"] for row in own}
    assert "1 prompts over 487 tokens left out" in capsys.readouterr().out
    assert worker.step() == "fill"
    asked = worker.store.rows(
        "select distinct prompts.source from tasks join prompts on prompts.id = prompt_id"
    )
    assert [row["source"] for row in asked] == ["import 1"]
    # beside the running worker
    bring(tmp_path, [{"prompt": "very " * 600 + f"long {n}"} for n in range(200)])
    assert len(worker.store.prompts()) == 230
    for _ in range(6):
        worker.fill()
    assert len(worker.store.prompts()) < 230
    assert all(len(row["text"]) < 100 for row in worker.store.rows(
        "select prompts.text from tasks join prompts on prompts.id = prompt_id"
    ))  # fmt: skip


def test_what_is_too_long_to_learn_from_is_left_out(tiny_model):
    family = load_family(tiny_model, device="cpu")
    fine = ImportedRanking("short?", ("a", "b"), (1, 2), 2)
    long = [
        ImportedRanking("q" * 200, ("a", "b"), (1, 2)),
        ImportedRanking("short?", ("a" * 385, "b"), (1, 2)),
    ]
    [found] = learnable(family, [fine, *long], 100, 10, weight=0.5)
    assert found == RankedResponses("short?", ("a", "b"), (1, 2), strength=2, weight=0.5, imported=True)


def test_a_conversation_that_the_chat_template_refuses_is_left_out(tiny_model):
    family = load_family(tiny_model, device="cpu")
    family.tokenizer.chat_template = "{{ raise_exception('no') if 'odd' in messages[0].content else 'x' }}"
    rankings = [ImportedRanking(prompt, ("a", "b"), (1, 2)) for prompt in ("odd?", "fine?")]
    assert [r.prompt for r in learnable(family, rankings, 100, 10, weight=1.0)] == ["fine?"]
