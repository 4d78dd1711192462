"""DPO through TRL's trainer: which preferences rankings hold, what its loss is, and rounds with it."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from data.preferences import RankedResponses
from rlhf.dpo import DPOConfig, Preference, as_often_as_weighed, preferences_of
from rlhf.dpo_training import columns_of, dpo_trainer, read_reference, train_dpo
from rlhf.generate import SamplingConfig, encode_prompt
from rlhf.kept_round import KeptRound
from rlhf.models import load_family
from rlhf.policy_round import RoundConfig, by_dpo
from rlhf.ppo import PPOConfig
from rlhf.reward_model import RewardModel
from rlhf.round import run_round
from rlhf.told import Outcome
from rlhf.trainer_steps import common_arguments, lent, steps
from tests.test_kept_round import CONFIG, PROMPTS, RANKED, all_of, until

PPO = PPOConfig(sampling=SamplingConfig(max_new_tokens=8))
DPO = DPOConfig(batch=8, evaluations=2, learning_rate=1e-3)


@pytest.fixture(params=["full", "lora"])
def family(request, tiny_model):
    torch.manual_seed(0)
    family = load_family(tiny_model, tuning=request.param, device="cpu", lora_rank=2)
    family.eos_ids = set(range(1, 30))
    family.copy("reference", "published")
    family.copy("reference", "policy")
    return family


@pytest.fixture
def reward_model(family):
    return RewardModel(family)


def texts(family, preferences):
    decode = family.tokenizer.decode
    return [(decode(p.chosen), decode(p.rejected)) for p in preferences]


def known_of(family, preferences):
    known = {}
    *_, count = read_reference(family, preferences, known, at_once=8)
    assert count == len(known)
    return known


def test_all_pairs_with_different_ranks_are_preferences(family, reward_model):
    ranking = RankedResponses("p", ("a", "b", "c", "d"), (1, 2, 2, 3))
    found = preferences_of(reward_model, [ranking], 0.5)
    e = "<|end|>"
    assert texts(family, found) == [
        (f"a{e}", f"b{e}"), (f"a{e}", f"c{e}"), (f"a{e}", f"d{e}"), (f"b{e}", f"d{e}"), (f"c{e}", f"d{e}"),
    ]  # fmt: skip
    assert {tuple(p.prompt) for p in found} == {tuple(encode_prompt(family.tokenizer, "p"))}
    assert {(p.offset, p.weight) for p in found} == {(0.0, 1.0)}


def test_what_was_cut_is_never_chosen_and_not_closed(family, reward_model):
    ranking = RankedResponses("p", ("cut", "b", "also cut"), (1, 2, 3), (False, True, False))
    assert texts(family, preferences_of(reward_model, [ranking], 0.5)) == [("b<|end|>", "also cut")]
    long = RankedResponses("p", ("x" * 600, "b"), (1, 2))  # the model reads 512 tokens
    assert preferences_of(reward_model, [long], 0.5) == []
    empty = RankedResponses("p", ("", "b"), (1, 2))
    assert preferences_of(reward_model, [empty], 0.5) == []


def test_strength_is_an_offset_and_weights_are_told_apart(reward_model):
    pair = RankedResponses("p", ("a", "b"), (1, 2), strength=3, weight=3.0)
    found = preferences_of(reward_model, [pair, replace(pair, strength=1, weight=1.0)], 0.6)
    assert [(p.offset, p.weight) for p in found] == [(0.6, 1.5), (pytest.approx(0.2), 0.5)]
    assert preferences_of(reward_model, [replace(pair, ranks=(1, 1), strength=0)], 0.6) == []


def test_a_weight_is_how_often_it_is_there():
    preference = Preference([1], [2], [3], weight=2.3)
    drawn = [len(as_often_as_weighed([preference], seed)) for seed in range(200)]
    assert set(drawn) == {2, 3}
    assert 2.2 < sum(drawn) / len(drawn) < 2.4
    assert (
        as_often_as_weighed([replace(preference, weight=1.0)] * 3, 0) == [replace(preference, weight=1.0)] * 3
    )


def test_preferences_that_count_little_are_not_all_left_out(family, reward_model):
    pair = RankedResponses("p", ("a", "b"), (1, 2), weight=0.1)
    ties = [RankedResponses(f"q {n}", ("a", "b"), (1, 1)) for n in range(40)]
    [few] = preferences_of(reward_model, [pair, *ties], 0.5)
    assert few.weight < 0.2
    prompts, known = [few.prompt] * 2, known_of(family, [few])
    for seed in range(3):
        training = train_dpo(family, reward_model, [few], known, prompts, DPO, PPO, seed)
        assert len(list(training)) == 1


def test_the_trainer_reads_these_tokens_and_its_loss_is_dpos(family, reward_model):
    """By hand: the policy has moved, one preference is clear, the batch is all of them."""
    rankings = [
        RankedResponses("p", ("yes", "no", "maybe"), (1, 2, 3)),
        RankedResponses("longer prompt", ("a", "bcd"), (2, 1), strength=3),
    ]
    found = preferences_of(reward_model, rankings, 0.5)
    with torch.no_grad():
        for p in family.parameters("policy"):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))

    def logprob(role, prompt, response):
        with torch.no_grad(), family.use(role) as model:
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            return -float(F.cross_entropy(logits, torch.tensor(response), reduction="sum"))

    config = replace(DPO, batch=len(found), beta=0.2)
    losses = []
    for p in found:
        gain = [
            logprob("policy", p.prompt, r) - logprob("reference", p.prompt, r) for r in (p.chosen, p.rejected)
        ]
        needed = 0.5 if p.offset else 0.0
        losses.append(-math.log(1 / (1 + math.exp(-(config.beta * (gain[0] - gain[1]) - needed)))))
    with common_arguments(family) as common, lent(family, "policy") as model:
        trainer = dpo_trainer(family, model, found, known_of(family, found), config, 0, common)
        batch = next(iter(trainer.get_train_dataloader()))
        training = steps(trainer)
        logs = next(training).logs
        training.close()
    assert logs["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-3)
    rows = zip(
        batch["input_ids"], batch["attention_mask"].bool(), batch["completion_mask"].bool(), strict=True
    )
    read = {(tuple(i[a & ~c].tolist()), tuple(i[c].tolist())) for i, a, c in rows}
    assert read == {(tuple(p.prompt), tuple(r)) for p in found for r in (p.chosen, p.rejected)}


def test_the_reference_is_version_0_whatever_is_published(family, reward_model):
    found = preferences_of(reward_model, [RankedResponses("p", ("a", "b"), (1, 2))], 0.5)
    before = columns_of(found, known_of(family, found), 0.1)
    for role in ("policy", "published"):
        family.set_state(role, {k: v + 0.1 for k, v in family.state(role).items()})
    assert columns_of(found, known_of(family, found), 0.1) == before


@pytest.mark.slow
def test_it_learns_the_order_and_only_in_its_role(family, reward_model):
    found = preferences_of(reward_model, RANKED, 0.5)
    heldout = [encode_prompt(family.tokenizer, p) for p in PROMPTS[:4]]
    others = {role: family.state(role) for role in ("published", "reward", "viewer")}
    told = list(
        train_dpo(
            family, reward_model, found, known_of(family, found), heldout, replace(DPO, epochs=2), PPO, 0
        )
    )
    assert told[0].metrics["dpo/loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert told[-1].metrics["dpo/loss"] < 0.3
    assert told[-1].metrics["dpo/accuracy"] == 1.0
    looked = [t.step for t in told if "dpo/heldout_score" in t.metrics]
    assert looked == [told[-1].step // 2, told[-1].step]
    for role, state in others.items():
        assert all(torch.equal(value, state[name]) for name, value in family.state(role).items()), role


def test_kl_over_the_limit_ends_it_with_the_best_so_far(family, reward_model):
    found = preferences_of(reward_model, RANKED, 0.5)
    heldout = [encode_prompt(family.tokenizer, p) for p in PROMPTS[:4]]
    before = family.state("policy")
    config = replace(DPO, learning_rate=0.05, epochs=4, evaluations=8)
    *_, last = train_dpo(
        family, reward_model, found, known_of(family, found), heldout, config, replace(PPO, kl_limit=1e-3), 0
    )
    assert "KL against the reference reached" in last.stop
    assert last.metrics["policy/best_update"] == 0
    assert all(torch.equal(value, before[name]) for name, value in family.state("policy").items())


def test_a_loss_that_is_no_number_ends_it(family, reward_model):
    found = preferences_of(reward_model, RANKED, 0.5)
    heldout = [encode_prompt(family.tokenizer, PROMPTS[0])]
    config = replace(DPO, learning_rate=1e30, evaluations=1)
    *_, last = train_dpo(family, reward_model, found, known_of(family, found), heldout, config, PPO, 0)
    assert "the loss became" in last.stop


SMALL = replace(CONFIG, reward_model=replace(CONFIG.reward_model, epochs=1, borrowed_weight=0.0), dpo=DPO)


@pytest.fixture(scope="module")
def rounds_family(tiny_model):
    torch.manual_seed(0)
    family = load_family(tiny_model, tuning="full", device="cpu")
    family.eos_ids = set(range(1, 30))
    return family


@pytest.fixture(scope="module")
def start(rounds_family):
    """A round, as a new process would run it."""

    def start(method, folder=None):
        torch.manual_seed(0)
        for role in ("published", "policy", "reward"):
            rounds_family.copy("reference", role)
        kept = KeptRound(folder, method) if folder else None
        config = replace(SMALL, method=method)
        return run_round(rounds_family, RewardModel(rounds_family), RANKED, PROMPTS, config, 3, kept)

    return start


@pytest.fixture(scope="module")
def alone(start, rounds_family):
    """What PPO and DPO come to, each in a round of its own, and the weights."""
    found = {}
    for method in ("ppo", "dpo"):
        found[method] = list(start(method)), rounds_family.state("policy")
    return found


def test_a_round_by_dpo_ends_with_figures(alone):
    *events, outcome = alone["dpo"][0]
    assert isinstance(outcome, Outcome)
    assert list(dict.fromkeys(e.state for e in events)) == ["reward_model", "dpo"]
    assert outcome.published == (
        outcome.summary["score_after"] - 0.1 * outcome.summary["kl"]
        > outcome.summary["score_before"] - 0.1 * outcome.summary["kl_before"]
    )
    assert {
        "win_rate",
        "win_rate_low",
        "kl",
        "length_after",
        "seconds",
        "memory_mb",
    } <= outcome.summary.keys()
    assert "PPO" not in outcome.reason


def test_what_was_imported_teaches_the_reward_model_alone(rounds_family):
    imported = [replace(ranking, imported=True) for ranking in RANKED]
    training = by_dpo(rounds_family, RewardModel(rounds_family), [], imported, SMALL, 3)
    with pytest.raises(StopIteration) as ended:
        next(training)
    assert "no two responses with different ranks" in ended.value.value.stop


def test_of_both_the_better_is_what_the_round_made(start, alone, rounds_family):
    *events, outcome = start("both")
    assert list(dict.fromkeys(e.state for e in events)) == ["reward_model", "ppo", "dpo"]
    figures = {method: told[-1].summary for method, (told, _) in alone.items()}
    for method, own in figures.items():  # each as if it were alone: both begin from one state
        for name in ("score_before", "score_after", "kl", "win_rate", "updates", "best_update"):
            assert outcome.summary[f"{method}/{name}"] == own[name], (method, name)
    worth = {m: f["score_after"] - 0.1 * f["kl"] for m, f in figures.items()}
    better = max(worth, key=worth.get)
    assert outcome.summary["score_after"] == figures[better]["score_after"]
    weights = alone[better][1]
    assert all(torch.equal(v, weights[k]) for k, v in rounds_family.state("policy").items())
    assert f"by {better.upper()}" in outcome.reason or not outcome.published


def test_a_method_that_finds_nothing_leaves_the_round_to_the_other(start, alone, monkeypatch):
    from rlhf import round as rounds
    from rlhf.policy_round import Trained

    def nothing(*_):
        yield from ()
        return Trained([], "DPO found nothing")

    monkeypatch.setattr(rounds, "by_dpo", nothing)
    *_, outcome = start("both")
    assert outcome.summary["score_after"] == alone["ppo"][0][-1].summary["score_after"]
    assert "dpo/score_after" not in outcome.summary
    assert list(start("dpo"))[-1].reason == "DPO found nothing"


def test_a_round_killed_in_dpo_goes_on_from_the_kept_reward_model(
    start, alone, tmp_path, monkeypatch, capsys
):
    from rlhf import round as rounds

    events = start("dpo", tmp_path / "round")
    until(events, "dpo", 2)
    events.close()
    monkeypatch.setattr(rounds, "train_reward_model", None)  # it would be called
    assert all_of(start("dpo", tmp_path / "round")) == all_of(alone["dpo"][0])
    assert "is taken up after:" in capsys.readouterr().out


def test_round_config_names_its_methods():
    assert RoundConfig(method="both").methods == ("ppo", "dpo")
    assert RoundConfig(method="dpo").methods == ("dpo",)
