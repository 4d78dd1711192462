"""A round that is kept on disk: another process ends it as the first would have, and trains nothing twice."""

import json
from dataclasses import replace

import pytest
import torch

from data.preferences import RankedResponses
from rlhf import round as rounds
from rlhf.generate import SamplingConfig
from rlhf.kept_round import KeptRound
from rlhf.models import load_family
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.reward_model import RewardModel
from rlhf.round import run_round
from rlhf.told import Outcome

RANKED = [RankedResponses(f"question {i}", ("a", "bbbb", "cccccccc"), (1, 2, 3)) for i in range(24)]
PROMPTS = [f"prompt {i}" for i in range(24)]
CONFIG = RoundConfig(
    gate=-1.0,  # whatever was learned
    normalise_on=48,
    ppo=PPOConfig(
        updates=4,
        episodes=8,
        warmup_episodes=8,
        learning_rate=2e-3,
        evaluate_every=2,
        sampling=SamplingConfig(max_new_tokens=16),
    ),
)


@pytest.fixture(params=["full", "lora"])
def start(request, tiny_model, tmp_path):
    """The round, as a new process would run it."""

    def start(folder=tmp_path / "round", identity="this round"):
        torch.manual_seed(0)
        family = load_family(tiny_model, tuning=request.param, device="cpu", lora_rank=2)
        family.eos_ids = set(range(1, 30))
        kept = KeptRound(folder, identity) if folder else None
        return run_round(family, RewardModel(family), RANKED, PROMPTS, CONFIG, 3, kept)

    return start


def all_of(events):
    """What a round says, but for how long it took and how much memory."""
    *told, outcome = events
    summary = {k: v for k, v in outcome.summary.items() if not k.endswith(("seconds", "memory_mb"))}
    return [*told, replace(outcome, summary=summary)]


def until(events, state, step):
    for event in events:
        if (event.state, event.step) == (state, step):
            return
    raise AssertionError(f"the round ended before {state} {step}")


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 3])
def test_a_round_that_was_killed_in_ppo_ends_as_it_would_have_ended(start, step, monkeypatch, capsys):
    straight = all_of(start(folder=None))
    assert isinstance(straight[-1], Outcome)
    until(start(), "ppo", step)
    monkeypatch.setattr(rounds, "train_reward_model", None)  # it would be called
    assert all_of(start()) == straight
    assert "is taken up after:" in capsys.readouterr().out


def test_a_round_that_was_killed_before_ppo_keeps_nothing(start, tmp_path):
    until(start(), "reward_model", 2)
    assert not (tmp_path / "round").exists()


@pytest.mark.slow
def test_what_belongs_to_another_round_is_not_taken_up(start, tmp_path):
    until(start(), "ppo", 1)
    events = start(identity="another round")
    assert next(events).step == 1
    assert next(events).state == "reward_model"
    until(events, "ppo", 1)
    kept = json.loads((tmp_path / "round" / "reward" / "round.json").read_text())
    assert kept["identity"] == KeptRound(tmp_path, "another round").identity


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reward/round.json", "reward/reward_head.safetensors"])
def test_a_damaged_one_begins_again(start, tmp_path, name, capsys):
    straight = all_of(start(folder=None))
    until(start(), "ppo", 3)
    file = tmp_path / "round" / name
    file.write_bytes(file.read_bytes()[:20])
    assert all_of(start()) == straight
    assert "so it begins again" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 20, None])
def test_of_a_damaged_state_of_ppo_the_reward_model_is_left(start, tmp_path, left, monkeypatch, capsys):
    """left: bytes of the file; None: it is whole, and of a device whose random numbers are made otherwise."""
    straight = all_of(start(folder=None))
    until(start(), "ppo", 3)
    file = tmp_path / "round" / "ppo.pt"
    if left is None:
        kept = torch.load(file, weights_only=True)
        kept["training"]["generator"] = kept["training"]["generator"][:16]
        torch.save(kept, file)
    else:
        file.write_bytes(file.read_bytes()[:left])
    monkeypatch.setattr(rounds, "train_reward_model", None)  # it would be called
    assert all_of(start()) == straight
    said = capsys.readouterr().out
    assert ("PPO begins again" if left is None else "so it begins again") in said


def test_a_round_that_cannot_be_kept_is_trained_all_the_same(start, tmp_path, capsys):
    (tmp_path / "file").touch()
    *_, outcome = start(folder=tmp_path / "file" / "round")
    assert isinstance(outcome, Outcome)
    assert "cannot be kept" in capsys.readouterr().out
