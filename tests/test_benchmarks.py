"""The benchmarks still run on what they measure; how fast or good that is, is not asked here."""

import json
import sys

import pytest

from rlhf.models import load_family
from tests.benchmarks import learner_vs_trl, ppo_vs_trl, reward_vs_trl
from tests.benchmarks.planted import Planted
from tests.benchmarks.workload import make


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    return make(tmp_path_factory.mktemp("workload"), trained=False, prompts=40)


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
