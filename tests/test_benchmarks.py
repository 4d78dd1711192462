"""The benchmarks still run on what they measure; how fast or good that is, is not asked here."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlhf.models import load_family
from tests.benchmarks import (
    floor,
    gpu,
    hh_vs_trl,
    learner_vs_trl,
    limits,
    load,
    ppo_vs_trl,
    reward_vs_trl,
    tuning_memory,
)
from tests.benchmarks.planted import Planted
from tests.benchmarks.workload import make


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    return make(tmp_path_factory.mktemp("workload"), trained=False, prompts=40)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the most memory from /proc")
@pytest.mark.parametrize("own", [{"lora": True, "imitate": False}, {"lora": False, "imitate": True}])
def test_ppo(workload, own):
    small = {"episodes": 8, "response_length": 6, "minibatches": 2, "inner_epochs": 1}
    ask = ppo_vs_trl.COMMON | small | {"folder": str(workload), "updates": 2, "threads": 1, "bf16": False}
    found = ppo_vs_trl.podium(ask | own)
    assert len(found["seconds"]) == 1
    assert 1 < found["tokens"] <= 6


def test_reward_model(workload, tmp_path):
    prompts = json.loads((workload / "prompts.json").read_text())[:12]
    data = [
        {"prompt": p, "responses": [p[i : i + 5] for i in range(4)], "ranks": [1, 2, 2, 4]} for p in prompts
    ]
    (tmp_path / "rankings.json").write_text(json.dumps(data))
    ask = {"folder": str(workload), "rankings": str(tmp_path / "rankings.json"), "threads": 1, "seed": 0}
    found = reward_vs_trl.podium(ask | {"bf16": False, "borrow": True, "train": 8, "passes": 1})
    assert found["low"] <= found["accuracy"] <= found["high"]


def test_real_preferences_are_cut_alike_for_both(tiny_model, tmp_path):
    said = ["Hello", "word " * 90, "x" * 900]
    start = [f"\n\nHuman: {said[n % 3]} {n}\n\nAssistant: " for n in range(12)]
    rows = [{"chosen": f"{s}Yes {n}.", "rejected": s + "No. " * 80} for n, s in enumerate(start)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = hh_vs_trl.write_pairs(tmp_path / "pairs.jsonl", Path(tiny_model), tmp_path, 9, 3)
    assert (made["pairs"], made["cut"]) == (12, {"prompts": 8, "responses": 12})
    pairs = json.loads((tmp_path / "pairs.json").read_text())
    assert max(len(p["prompt"]) + len(r) for p in pairs for r in p["responses"]) == 512
    ask = {"folder": str(tmp_path), "rankings": str(tmp_path / "pairs.json"), "threads": 1, "seed": 0}
    found = reward_vs_trl.podium(ask | {"bf16": False, "borrow": False, "train": 9, "passes": 1})
    assert len(found["each"]) == 3
    mean, low, high = hh_vs_trl.difference([1, 0, 1, 1], [0, 0, 1, 1])
    assert low <= mean == 0.25 <= high


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """As the large shapes are made, taught and kept."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-trained"
    return make(folder, trained=True, prompts=70, shape="tiny", steps=2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the most memory from /proc")
def test_an_update_part_by_part(tiny):
    small = {"episodes": 8, "response_length": 6, "minibatches": 2, "inner_epochs": 1, "profile": 1}
    ask = ppo_vs_trl.COMMON | small | {"folder": str(tiny), "updates": 2, "threads": 1, "bf16": False}
    found = ppo_vs_trl.podium(ask | {"lora": True, "imitate": False})
    assert len(found["seconds"]) == 1
    assert set(found["parts"]) == {"sampling", "scoring", "inner_epochs", "rest", "longest"}
    assert 1 < found["parts"]["longest"] <= 6
    assert json.loads((tiny / "taught.json").read_text())[0] > 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the most memory from /proc")
def test_memory_of_a_tuning_beside_its_estimate(tmp_path):
    ask = {"folder": str(tmp_path), "shape": "tiny", "device": "cpu", "threads": 1, "precision": "float32"}
    assert tuning_memory.make(ask)["parameters"] > 1e5
    ask |= {"qlora_on_cpu": False, "tuning": "lora", "episodes": 8, "response_length": 4}
    found = tuning_memory.measure(ask)
    assert (found["kind"], found["stop"]) == ("lora", None)
    assert set(found["parts"]) == set(tuning_memory.PARTS)
    assert sum(found["estimate"].values()) > 5e8  # what Python and its libraries take
    assert tuning_memory.line("tiny", "lora", found).count("|") == tuning_memory.HEAD.count("|") // 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the most memory from /proc")
def test_decoding_beside_its_floor(tiny):
    ask = {"folder": str(tiny), "device": "cpu", "threads": 1, "runs": 1}
    found = limits.decoding(ask | {"tunings": ["full", "lora"], "tokens": [3]})
    lines = list(limits.decoding_table(found, "tiny", floor.Rates(1e12, 1e12)))
    assert [line.split(", 3 tokens")[0].split()[-1] for line in lines] == ["full", "lora"]


@pytest.mark.slow
def test_a_server_under_load_is_killed_and_has_lost_nothing(tmp_path):
    small = {"annotators": 6, "think": 0.0, "seconds": 1.0, "tasks": 2500, "history": 150, "people": 3}
    with ThreadPoolExecutor(1) as thread:  # the browser tests' library keeps a loop running in this one
        found = thread.submit(load.measure, load.Load(**small, worker=True), tmp_path).result()
    assert (found["lost"], found["twice"], found["denied"], found["said"]) == (0, 0, 0, {})
    assert 0 < found["acknowledged"] <= found["in_file"] <= found["acknowledged"] + 6


def test_what_does_not_fit_or_fails_does_not_stop_the_rest():
    def fails(_left):
        raise SystemExit("x" * 5000)

    said, notes = [], gpu.Notes()
    every = [
        gpu.Job("large", 1e6, lambda left: {}),
        gpu.Job("broken", 0, fails, alike="it"),
        gpu.Job("again", 0, fails, alike="it"),
        gpu.Job("needs it", 0, lambda left: {}, ("broken",)),
        gpu.Job("small", 0, lambda left: {"left": left}),
    ]
    gpu.go(every, notes, time.monotonic() + 60, said.append)
    assert list(notes.found) == ["small"]
    assert 0 < notes.found["small"]["left"] <= 60
    assert len(notes.failed["broken"]) == 2000
    assert [line.split(" (")[0] for line in notes.skipped] == ["large", "again", "needs it"]
    assert len(said) == 5
    assert [job.name for job in gpu.picked([*every, gpu.Job("rates", 0, fails)], ["needs"])] == [
        "broken",
        "needs it",
        "rates",
    ]


@pytest.mark.slow
def test_a_planted_reward_is_what_ppo_is_paid(tmp_path):
    planted = learner_vs_trl.prepare(tmp_path, "concise")
    for name, count in ("prompts", 16), ("heldout", learner_vs_trl.JUDGED + 16):
        asked = json.loads((tmp_path / f"{name}.json").read_text())
        (tmp_path / f"{name}.json").write_text(json.dumps(asked[:count]))
    ask = learner_vs_trl.COMMON | {"folder": str(tmp_path), "threads": 1, "updates": 1, "episodes": 8}
    ask |= {"planted": planted, "seed": 0, "save": str(tmp_path / "saved"), "each": 2}
    found = learner_vs_trl.podium(ask)
    assert found["stop"] is None
    family = load_family(str(tmp_path / "policy"), device="cpu")
    prompts, responses = learner_vs_trl.own_responses(family, tmp_path)
    paid = learner_vs_trl.planted_reward_model(family, planted).assess(prompts, responses)
    pay = Planted(family.tokenizer, **planted)
    assert paid.scores.tolist() == pytest.approx(list(map(pay, prompts, responses)))
    assert paid.scores.std() > 0.3
    assert not paid.early.any()
    before, after = (learner_vs_trl.measure(ask | {"save": str(tmp_path / p)}) for p in ("policy", "saved"))
    assert abs(before["kl"]) < 1e-4 < abs(after["kl"])
    assert abs(after["score"]) < 4
