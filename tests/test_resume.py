"""PPO put aside: a killed process's state, taken up by another, ends where one process would have ended."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data.preferences import RankedResponses
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model
from tests.put_aside import CONFIG, begin, family_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(params=["full", "lora"])
def tuning(request):
    return request.param


@pytest.fixture
def folder(tiny_model, tuning, tmp_path):
    """A reward model that likes short responses."""
    model = RewardModel(family_of(tiny_model, tuning))
    model.reset(0)
    texts = ("ab", "abcdefgh", "abcdefghijklmnopqr")
    rankings = [RankedResponses(f"prompt {i}", texts, (1, 2, 3)) for i in range(24)]
    for _ in train_reward_model(model, rankings, RewardModelConfig(), 0):
        pass
    pairs = [model.encode(r.prompt, text) for r in rankings for text in texts]
    model.normalise_on(*zip(*pairs, strict=True))
    model.save(tmp_path / "reward")
    return tmp_path / "reward"


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 3])  # after the value function's warm-up, and between two evaluations
def test_taken_up_after_a_kill_it_ends_where_it_would_have_ended(tiny_model, tuning, folder, tmp_path, kept):
    file = tmp_path / "state.pt"
    words = [tiny_model, tuning, folder, file, kept]
    killed = subprocess.run(
        [sys.executable, "-m", "tests.put_aside", *map(str, words)], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL

    straight = begin(family_of(tiny_model, tuning), folder)
    updates = list(straight)
    assert [u.step for u in updates] == list(range(CONFIG.updates + 1))
    assert any(u.metrics.get("policy/chosen_loss") for u in updates)
    assert updates[-1].metrics["objective/kl_coef"] != CONFIG.kl_coef

    again = begin(family_of(tiny_model, tuning), folder)
    state = torch.load(file, weights_only=True)
    again.set_state(state)
    assert same(again.state(), state)
    assert list(again) == updates[kept + 1 :]
    assert same(again.state(), straight.state())
    assert same(again.family.state("policy"), straight.family.state("policy"))


@pytest.mark.slow
def test_a_state_is_a_copy_and_a_training_that_has_ended_does_nothing_more(tiny_model, tuning, folder):
    training = begin(family_of(tiny_model, tuning), folder)
    updates = iter(training)
    next(updates)
    state = training.state()
    kept = torch.load(_saved(state, folder / "state.pt"), weights_only=True)
    *_, last = updates
    assert same(state, kept)  # what came after did not change it
    assert not same(training.state(), kept)
    assert list(training) == []
    assert last.step == CONFIG.updates


def _saved(state, file):
    torch.save(state, file)
    return file
