"""PPO on really trained tiny models: first-step identities, planted preferences, seeds, the EOS rule."""

import copy
import itertools
import math
import random
from dataclasses import replace

import pytest
import torch

from data.preferences import RankedResponses
from data.starter.prompts import train_prompts
from rlhf import functional as f
from rlhf import ppo, ppo_training
from rlhf.batching import pad
from rlhf.generate import Sample, SamplingConfig, decode_text, encode_prompt, sample
from rlhf.imitation import Chosen, Imitation
from rlhf.likelihood import token_logprobs, token_logprobs_at
from rlhf.models import load_family, load_tokenizer
from rlhf.passes import look
from rlhf.ppo import Learner, PPOConfig, Rollout, paid_scores, rollout, update, warm_up_value
from rlhf.ppo_training import AdaptiveKL, Average, PPOTraining, evaluate_policy, repetition
from rlhf.probe import LikelihoodTerm
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model
from rlhf.value_function import ValueFunction

# Random weights end a response with probability 1/260 a token, so "half the vocabulary is EOS" stands in for
# a policy that knows how to stop; what is left is a policy whose length PPO can move.
SHORT = PPOConfig(
    updates=8,
    episodes=64,
    learning_rate=2e-3,
    value_learning_rate=2e-3,
    kl_coef=0.02,
    kl_limit=100.0,
    evaluate_every=4,
    sampling=SamplingConfig(temperature=1.0, max_new_tokens=24),
)


def setup(tiny_model, tuning="full", longest_first=False):
    """A family whose responses end, and a reward model with a planted taste for length."""
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=8)
    family.eos_ids = set(range(1, 30))
    model = RewardModel(family)
    model.reset(0)
    data = []
    for i in range(48):
        responses = tuple("".join(chr(97 + (i * j) % 26) for j in range(n)) for n in (2, 8, 18))
        data.append(RankedResponses(f"prompt {i}", responses, (3, 2, 1) if longest_first else (1, 2, 3)))
    for _ in train_reward_model(model, data, RewardModelConfig(), 0):
        pass
    prompts = [encode_prompt(family.tokenizer, f"prompt {i}") for i in range(64)]
    family.copy("reference", "policy")
    return family, model, prompts


def draw(family, model, prompts, config=SHORT, seed=0) -> Rollout:
    return rollout(family, model, prompts, config, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_first_step_identities(tiny_model, tuning):
    family, model, prompts = setup(tiny_model, tuning)
    data = draw(family, model, prompts)
    assert data.kl.abs().max() < 1e-5  # a fresh policy is the reference
    learner = Learner.start(family, model, SHORT)
    learner.set_rates(0.0)
    metrics = update(learner, data, 0.05, SHORT, random.Random(0))
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["policy/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["policy/clipfrac"] == 0


def test_an_update_that_sees_another_policy_is_refused(tiny_model):
    family, model, prompts = setup(tiny_model)
    data = draw(family, model, prompts)
    data.logprobs = data.logprobs - 0.5 * data.mask
    with pytest.raises(RuntimeError, match="first ratio"):
        update(Learner.start(family, model, SHORT), data, 0.05, SHORT, random.Random(0))


def test_the_value_starts_as_what_the_reward_models_head_makes_of_the_text_so_far(tiny_model):
    family, model, prompts = setup(tiny_model)
    model.mean, model.std = 0.3, 2.0
    data = draw(family, model, prompts)
    row = int(data.mask.sum(1).argmax())
    cut = data.responses[row][:-1]
    with family.use("reward") as trunk, torch.no_grad():
        states = look(trunk, pad([data.prompts[row]], [cut], 0)).middle[0]
        so_far = states[len(data.prompts[row]) - 1 :]  # the prompt's end knows what is asked
        pooled = torch.cat([so_far.max(0).values, so_far.min(0).values, so_far.sum(0)])
        expected = (model.head(pooled) - 0.3) / 2.0
        value_function = ValueFunction(model)
        values = value_function(value_function.read(data.states))
    assert values[row, len(cut)].item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_value_learns_and_the_trunk_that_it_reads_stays_as_it_is(tiny_model):
    family, model, prompts = setup(tiny_model)
    learner = Learner.start(family, model, SHORT)
    assert not learner.value_function.ahead[2].weight.any()
    data, trunk = draw(family, model, prompts), family.state("reward")
    with torch.no_grad():
        values = learner.value_function(learner.value_function.read(data.states))
    before = f.explained_variance(values, data.rewards(0.0).flip(1).cumsum(1).flip(1), data.mask)
    after = warm_up_value(learner, data, replace(SHORT, kl_coef=0.0), random.Random(0))
    assert after["value/explained_variance"] > before + 0.3
    assert after["value/explained_variance"] > 0
    assert all(torch.equal(now, trunk[name]) for name, now in family.state("reward").items())


def test_a_response_without_eos_gets_the_fixed_low_score(tiny_model):
    family, model, prompts = setup(tiny_model)
    family.eos_ids = {1}
    data = draw(family, model, prompts)
    assert not data.finished.all()
    assert (data.scores[~data.finished] == SHORT.missing_eos_score).all()


def test_what_a_token_earns_early_is_taken_from_the_last_reward(tiny_model):
    family, model, prompts = setup(tiny_model)
    data = draw(family, model, prompts)
    assert data.early.abs().max() > 0.01  # likelihood goes with length, which was preferred
    rewards = data.rewards(kl_coef=0.0)
    assert torch.allclose(rewards.sum(1), data.scores, atol=1e-4)
    last = data.mask.sum(1) - 1
    before = torch.arange(data.mask.shape[1]) < last.unsqueeze(1)
    assert torch.equal(rewards[before], data.early[before])


def taste_for_length(family, longest_first):
    """The starter, and a reward model that learned from its own responses to like them long, or short."""
    sampling = SamplingConfig(temperature=0.8, max_new_tokens=64)
    texts = train_prompts()[:160]
    ids = [encode_prompt(family.tokenizer, t) for t in texts]
    with family.use("reference") as model:
        drawn = sample(
            model,
            [i for i in ids[:48] for _ in range(3)],
            sampling,
            pad_id=family.pad_id,
            eos_ids=family.eos_ids,
            generator=torch.Generator().manual_seed(0),
        )
    data = []
    for number, text in enumerate(texts[:48]):
        responses = tuple(decode_text(family.tokenizer, s.tokens) for s in drawn[3 * number : 3 * number + 3])
        lengths = sorted({len(r) for r in responses}, reverse=longest_first)
        data.append(RankedResponses(text, responses, tuple(lengths.index(len(r)) + 1 for r in responses)))
    model = RewardModel(family)
    model.reset(0)
    for _ in train_reward_model(model, data, RewardModelConfig(epochs=2), 0):
        pass
    model.normalise_on([i for i in ids[:48] for _ in range(3)], [s.tokens for s in drawn])
    return model, ids, sampling


@pytest.mark.parametrize(("tuning", "longest_first"), [("full", True), ("lora", False)])
def test_the_starter_follows_a_planted_preference_and_its_opposite(tuning, longest_first):
    family = load_family("starter", tuning=tuning, device="cpu", lora_rank=8)
    model, ids, sampling = taste_for_length(family, longest_first)
    config = PPOConfig(
        updates=5, episodes=32, minibatch=8, warmup_episodes=32, kl_coef=0.02, evaluate_every=5,
        sampling=sampling,
    )  # fmt: skip
    family.copy("reference", "policy")
    before = evaluate_policy(family, model, ids[64:], config, 7, role="reference")
    updates = list(PPOTraining(family, model, ids, ids[:32], config, 0))
    after = evaluate_policy(family, model, ids[64:], config, 7)
    assert [u.step for u in updates] == list(range(config.updates + 1))
    assert after["heldout/score"] > before["heldout/score"] + 0.2
    if longest_first:
        assert after["heldout/length"] > before["heldout/length"] * 1.08
    else:
        assert after["heldout/length"] < before["heldout/length"] * 0.95
    unchanged = evaluate_policy(family, model, ids[64:], config, 7, role="reference")
    assert unchanged == before  # the reference did not move


@pytest.mark.parametrize("weight", [1.0, -1.0], ids=["sure", "unlikely"])
def test_the_policy_speaks_more_or_less_surely_as_the_rankings_ask(weight):
    family = load_family("starter", tuning="full", device="cpu")
    ids = [encode_prompt(family.tokenizer, t) for t in train_prompts()[:64]]
    model = RewardModel(family)
    model.reset(0)
    # a new head says 0: nothing counts but how likely the reference finds a response
    model.likelihood = LikelihoodTerm(torch.tensor([[weight], [0.0]]), std=torch.tensor([10.0, 1.0]))
    config = PPOConfig(
        episodes=64, minibatch=8, learning_rate=0.0, sampling=SamplingConfig(temperature=0.8)
    )  # fmt: skip
    family.copy("reference", "policy")
    learner = Learner.start(family, model, config)
    data = rollout(family, model, ids, config, torch.Generator().manual_seed(0))
    factor = update(learner, data, 0.0, config, random.Random(0))["policy/logit_scale"]
    assert factor > 1.05 if weight > 0 else factor < 0.95, factor


def test_same_seed_repeats_and_two_seeds_differ(tiny_model):
    def run(seed):
        family, model, prompts = setup(tiny_model)
        config = PPOConfig(updates=2, episodes=16, warmup_episodes=16, sampling=SHORT.sampling)
        return [u.metrics for u in PPOTraining(family, model, prompts, prompts[:8], config, seed)]

    first = run(3)
    assert first == run(3)
    assert first != run(4)


def test_responses_to_one_prompt_are_learned_in_one_step_and_one_row(tiny_model, monkeypatch):
    family, model, prompts = setup(tiny_model)
    family.packs = False  # which would put several prompts in a row
    changes = {"episodes": 32, "minibatch": 8, "responses_per_prompt": 4, "updates": 1}
    config = replace(SHORT, approx_kl_stop=100.0, **changes)
    steps, rows, real = [], [], ppo._policy_step

    def step(learner, data, advantages, picked, *others):
        steps.append([tuple(data.prompts[i]) for i in picked])
        rows.extend(batch.ids.shape[0] for _, batch in family.batches(*zip(*[
            (data.prompts[i], data.responses[i]) for i in picked
        ], strict=True)))  # fmt: skip
        return real(learner, data, advantages, picked, *others)

    monkeypatch.setattr(ppo, "_policy_step", step)
    training = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    *_, last = training
    assert last.step == 1
    assert len(steps) == 4 * config.inner_epochs
    for prompts_of_step in steps:
        assert [prompts_of_step.count(p) for p in dict.fromkeys(prompts_of_step)] == [4, 4]
    assert len({p for step in steps for p in step}) == 8
    assert sum(rows) == 2 * len(steps)
    with pytest.raises(ValueError, match="minibatch is 32; wanted: a multiple of responses_per_prompt, 3"):
        PPOConfig(responses_per_prompt=3, episodes=63, warmup_episodes=63)


def runaway(updates: int, **changes) -> PPOConfig:
    """Steps so large that KL soon passes 1 nat."""
    return PPOConfig(
        updates=updates, episodes=32, warmup_episodes=16, learning_rate=1e-2, kl_limit=1.0,
        approx_kl_stop=100.0, evaluate_every=1, sampling=SHORT.sampling, **changes,
    )  # fmt: skip


def test_beyond_the_kl_limit_the_policy_goes_back_and_the_coefficient_doubles(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = runaway(30, kl_coef=0.01)
    updates = list(PPOTraining(family, model, prompts, prompts[:32], config, 0))
    over = next(u for u in updates if u.step and u.metrics["objective/kl"] > 1.0)
    assert over.metrics["policy/went_back"] == 1
    assert "policy/loss" not in over.metrics  # it did not learn from what it should not have written
    after = updates[over.step + 1].metrics
    assert after["objective/kl"] < over.metrics["objective/kl"]
    assert after["objective/kl_coef"] == 2 * config.kl_coef
    assert evaluate_policy(family, model, prompts[:32], config, 0)["heldout/kl"] <= 1.0


def test_training_ends_when_the_average_is_beyond_the_kl_limit_too(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = runaway(30, kl_coef=0.0, average=0.0)  # an average that is the policy itself
    updates = list(PPOTraining(family, model, prompts, prompts[:32], config, 0))
    assert len(updates) < 30
    assert "over the limit of 1" in updates[-1].stop
    assert updates[-2].metrics["policy/went_back"] >= 1
    kept = evaluate_policy(family, model, prompts[:32], config, 0)
    assert kept["heldout/kl"] <= 1.0  # the best checkpoint, not the last policy


def test_a_round_that_begins_beyond_the_kl_limit_may_find_its_way_back(tiny_model):
    family, model, prompts = setup(tiny_model)
    moved = {k: v + 0.1 * torch.randn_like(v) for k, v in family.state("policy").items()}
    family.set_state("policy", moved)
    config = PPOConfig(updates=1, episodes=16, warmup_episodes=16, kl_limit=1e-3, sampling=SHORT.sampling)
    _, first = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    assert first.metrics["objective/kl"] > 1e-3
    assert "policy/loss" in first.metrics  # it learned
    assert first.stop is None


def test_the_best_checkpoint_is_kept_by_score_and_kl_together(tiny_model, monkeypatch):
    family, model, prompts = setup(tiny_model)
    verdicts = iter([(1.0, 2.0), (1.5, 3.0), (1.6, 9.0), (9.0, 11.0), (1.4, 3.0)])  # score and KL
    weights = []

    def judge(family, *_):
        score, kl = next(verdicts)
        weights.append(family.state("policy"))
        return {"heldout/score": score, "heldout/kl": kl, "heldout/length": 1.0}

    monkeypatch.setattr(ppo_training, "evaluate_policy", judge)
    config = PPOConfig(
        updates=5, episodes=16, warmup_episodes=16, evaluate_every=1, kl_coef=0.1, sampling=SHORT.sampling
    )
    *_, last = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    assert last.metrics["policy/best_update"] == 2  # 3 pays too much KL, 4 is beyond the limit
    kept = family.state("policy")
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)
    assert any(not torch.equal(kept[name], weights[2][name]) for name in kept)


def test_large_steps_end_the_inner_epochs(tiny_model):
    family, model, prompts = setup(tiny_model)
    for stop, steps in ((1e-9, 2), (100.0, 8)):  # the first step is seen by the second
        config = PPOConfig(
            updates=1,
            episodes=16,
            warmup_episodes=16,
            minibatch=4,
            inner_epochs=2,
            approx_kl_stop=stop,
            sampling=SHORT.sampling,
        )
        *_, update = PPOTraining(family, model, prompts, prompts[:8], config, 0)
        assert update.metrics["policy/inner_steps"] == steps


def test_cut_and_empty_responses_are_paid_the_fixed_low_score(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    blank = tokenizer(" \n", add_special_tokens=False)["input_ids"]
    samples = [Sample([70, 1], True), Sample([70, 71], False), Sample([1], True), Sample([*blank, 1], True)]
    paid = paid_scores(torch.full((4,), 2.0), samples, tokenizer, PPOConfig(missing_eos_score=-3.0))
    assert paid.tolist() == [2, -3, -3, -3]


def test_held_out_prompts_are_judged_by_what_is_paid(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = PPOConfig(missing_eos_score=-100.0, sampling=SamplingConfig(max_new_tokens=2))
    assert evaluate_policy(family, model, prompts[:16], config, 0)["heldout/score"] < -50


@pytest.mark.parametrize("every", [1, 5])  # with 5, nothing has been judged before
def test_numbers_that_are_not_finite_end_training_and_the_best_checkpoint_stays(
    tiny_model, monkeypatch, every
):
    family, model, prompts = setup(tiny_model)
    config = PPOConfig(
        updates=5, episodes=16, warmup_episodes=16, evaluate_every=every, sampling=SHORT.sampling
    )
    real, calls = ppo_training.rollout, []

    def rollout(*arguments, **options):
        if options:  # an evaluation
            return real(*arguments, **options)
        calls.append(arguments)
        if len(calls) == 4:  # the warm-up is the first
            raise FloatingPointError("the model's probabilities are not finite numbers")
        return real(*arguments)

    monkeypatch.setattr(ppo_training, "rollout", rollout)
    training = PPOTraining(family, model, prompts, prompts[:8], config, 0)
    *_, last = training
    assert (last.step, last.stop) == (3, "the model's probabilities are not finite numbers")
    assert last.metrics["policy/best_update"] == 3 if every == 5 else last.metrics["policy/best_update"] > 0
    if every == 5:
        assert "heldout/score" in last.metrics
        policy = family.state("policy")
        assert all(torch.equal(t, policy[name]) for name, t in training.average.state.items())


def test_the_average_forgets_its_start_follows_what_comes_and_leaves_old_states_alone():
    start = {"weight": torch.tensor([100.0]), "steps": torch.tensor([0])}
    average = Average(start, decay=0.85)
    average.add({"weight": torch.tensor([1.0]), "steps": torch.tensor([1])})
    first = average.state
    assert first["weight"].item() == pytest.approx(0.25 * 100 + 0.75 * 1)
    for step in range(2, 30):
        average.add({"weight": torch.tensor([1.0 + (-1.0) ** step]), "steps": torch.tensor([step])})
    assert average.state["weight"].item() == pytest.approx(1.0, abs=0.1)  # of a policy that jumps 0, 2, 0, 2
    assert average.state["steps"].item() == 29
    assert (start["weight"].item(), first["weight"].item()) == (100.0, 25.75)


def test_without_decay_the_average_is_the_policy_itself():
    average, live = Average({"weight": torch.tensor([5.0])}, decay=0.0), {"weight": torch.tensor([1.0])}
    average.add(live)
    live["weight"].fill_(9.0)  # the policy goes on
    assert average.state["weight"].item() == 1.0


def test_the_kl_coefficient_rises_above_the_target_and_falls_below_it():
    controller = AdaptiveKL(0.1, target=6.0, horizon=10_000)
    controller.update(kl=60.0, episodes=100)
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.2 * 100 / 10_000))
    controller.update(kl=6.0, episodes=100)
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.2 * 100 / 10_000))
    controller.update(kl=0.0, episodes=100)
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.002) * (1 - 0.002))


def closed(family, text: str) -> list[int]:
    return [*family.tokenizer(text)["input_ids"], family.closing_eos]


def likelihood(family, pairs) -> float:
    """Mean log-probability per response under the policy."""
    prompts, responses = zip(*pairs, strict=True)
    return float(token_logprobs(family, "policy", prompts, responses).sum(1).mean())


def test_what_people_chose_is_learned_from_while_it_beats_what_the_policy_writes(tiny_model):
    family, model, prompts = setup(tiny_model)  # the shorter, the better
    model.normalise_on(prompts, draw(family, model, prompts).responses)
    short, long = ([(p, closed(family, text)) for p in prompts] for text in ("ab", "qxjvkw" * 8))
    config = replace(SHORT, updates=8, episodes=32, learning_rate=1e-3, chosen_coef=0.5, evaluate_every=8)

    def train(pairs):
        """-> loss on the chosen responses in each update, everything else of the last, their likelihood."""
        family.copy("reference", "policy")
        metrics = [
            done.metrics for done in PPOTraining(family, model, prompts, prompts[:16], config, 0, pairs)
        ]
        losses = [numbers.pop("policy/chosen_loss", 0) for numbers in metrics]
        return losses, metrics[-1], likelihood(family, short)

    _, plain, unlikely = train([])
    losses, _, likely = train(short)
    assert max(losses) > 0.1
    assert likely > unlikely + 1
    losses, *same = train(long)  # somebody chose it, but what the policy writes is better
    assert (losses, same) == ([0] * 9, [plain, unlikely])


def test_a_chosen_response_earns_its_score_less_its_kl(tiny_model):
    family, model, prompts = setup(tiny_model)
    value_function = ValueFunction(model)
    pairs = [(p, closed(family, "ab")) for p in prompts[:4]]
    states = model.assess(*zip(*pairs, strict=True), with_states=True).states[:, :1]
    with torch.no_grad():
        expected = value_function(value_function.read(states))[:, 0].tolist()
    own = token_logprobs_at((1.0,), family, "policy", *zip(*pairs, strict=True))[0].sum(1).tolist()

    def loss(kl, kl_coef):
        """Of responses one point of score above what is expected, at this KL of each."""
        chosen = [
            Chosen(*pair, score=value + 1, ref_logprob=logprob - kl, state=state)
            for pair, value, logprob, state in zip(pairs, expected, own, states, strict=True)
        ]
        imitation = Imitation.of(chosen, value_function)
        logprobs = token_logprobs_at((1.0,), family, "policy", *zip(*pairs, strict=True))[0]
        mask = torch.ones(logprobs.shape, dtype=torch.bool)
        return float(imitation.loss(range(len(pairs)), logprobs, mask, kl_coef))

    assert loss(kl=4.0, kl_coef=0.1) == pytest.approx(0.6 * loss(kl=0.0, kl_coef=0.1), rel=1e-3)
    assert loss(kl=4.0, kl_coef=0.4) == 0
    assert loss(kl=-20.0, kl_coef=0.4) == pytest.approx(loss(kl=0.0, kl_coef=0.0), rel=1e-3)  # no bonus


def test_chosen_responses_may_be_longer_than_all_that_was_sampled(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, chosen_coef=1.0)

    def after(text):
        family.copy("reference", "policy")
        learner = Learner.start(family, model, config)
        state = torch.zeros(1, family.hidden_size + family.output_size)
        pair = prompts[0], closed(family, text)
        learner.chosen = itertools.cycle([Chosen(*pair, score=9.0, ref_logprob=-9.0, state=state)])
        told = update(learner, draw(family, model, prompts), 0.05, config, random.Random(0))
        return told["policy/chosen_loss"], likelihood(family, [pair])

    longest = config.sampling.max_new_tokens
    loss, likely = after("q" * (longest + 10))
    assert loss > 0
    unlikely = token_logprobs(family, "reference", prompts[:1], [closed(family, "q" * (longest + 10))]).sum()
    assert likely > float(unlikely) + 1


def test_chosen_responses_leave_the_factor_on_the_logits_alone(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, inner_epochs=1, minibatch=64, chosen_coef=1.0, logit_scale_learning_rate=0.02)

    def factor(chosen):
        family.copy("reference", "policy")
        learner = Learner.start(family, model, config)
        learner.chosen = itertools.cycle(chosen) if chosen else None
        update(learner, draw(family, model, prompts), 0.05, config, random.Random(0))
        return learner.logit_scale.log.item()

    state = torch.zeros(1, family.hidden_size + family.output_size)
    chosen = [Chosen(p, closed(family, "q"), score=9.0, ref_logprob=-9.0, state=state) for p in prompts]
    assert factor(chosen) == factor([]) != 0


@pytest.mark.parametrize("bad", [1, 100])  # one of four minibatches, or all
def test_a_gradient_that_is_not_finite_is_skipped_and_told(tiny_model, monkeypatch, bad):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, minibatch=32)
    learner, data = Learner.start(family, model, config), draw(family, model, prompts)
    real, calls = f.policy_loss, []

    def policy_loss(*arguments):
        calls.append(arguments)
        loss, watch = real(*arguments)
        return loss * (float("nan") if len(calls) <= bad else 1.0), watch

    monkeypatch.setattr(f, "policy_loss", policy_loss)
    before = family.state("policy")
    if bad > 1:
        with pytest.raises(FloatingPointError, match="only gradients that are not finite"):
            update(learner, data, 0.05, config, random.Random(0))
        assert all(torch.equal(now, before[name]) for name, now in family.state("policy").items())
        return
    metrics = update(learner, data, 0.05, config, random.Random(0))
    assert (metrics["policy/skipped_steps"], metrics["policy/inner_steps"]) == (1, 3)
    after = family.state("policy")
    assert all(torch.isfinite(now).all() for now in after.values())
    assert any(not torch.equal(now, before[name]) for name, now in after.items())


@pytest.mark.parametrize("bad", [1, 100])
def test_so_is_one_of_the_value_function(tiny_model, monkeypatch, bad):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, minibatch=32, warmup_epochs=2)
    learner, data = Learner.start(family, model, config), draw(family, model, prompts)
    real, calls = f.value_loss, []

    def value_loss(*arguments):
        calls.append(arguments)
        return real(*arguments) * (float("nan") if len(calls) <= bad else 1.0)

    monkeypatch.setattr(f, "value_loss", value_loss)
    if bad > 1:
        with pytest.raises(FloatingPointError, match="value function met only gradients"):
            update(learner, data, 0.05, config, random.Random(0))
    else:
        metrics = update(learner, data, 0.05, config, random.Random(0))
        assert (metrics["value/skipped_steps"], metrics["policy/skipped_steps"]) == (1, 0)
        assert math.isfinite(metrics["value/loss"])
    before = copy.deepcopy(learner.value_function.state_dict())
    data.states[3] = float("inf")
    with pytest.raises(FloatingPointError, match="value function met only gradients"):
        warm_up_value(learner, data, replace(config, minibatch=64), random.Random(0))
    assert all(torch.equal(t, before[name]) for name, t in learner.value_function.state_dict().items())


def test_an_update_that_sees_another_policy_is_refused_also_when_its_first_step_was_left_out(
    tiny_model, monkeypatch
):
    family, model, prompts = setup(tiny_model)
    data, real, calls = draw(family, model, prompts), ppo._policy_step, []
    data.logprobs = data.logprobs - 0.5 * data.mask

    def step(*given):
        calls.append(given)
        return real(*given) if len(calls) > 1 else None

    monkeypatch.setattr(ppo, "_policy_step", step)
    with pytest.raises(RuntimeError, match="first ratio"):
        update(Learner.start(family, model, SHORT), data, 0.05, SHORT, random.Random(0))
    assert len(calls) == 2


def test_a_policy_of_no_numbers_ends_training_with_a_reason(tiny_model):
    family, model, prompts = setup(tiny_model)
    with torch.no_grad():
        family.parameters("policy")[0].fill_(float("nan"))
    updates = list(PPOTraining(family, model, prompts, prompts[:8], SHORT, 0))
    assert [(u.step, u.metrics) for u in updates] == [(0, {})]
    assert "not finite numbers" in updates[0].stop


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ([], 0),
        ([5, 5], 0),
        ([5, 5, 5], 0),
        ([5, 5, 5, 5], 0.5),
        ([1, 2, 3, 1, 2, 3, 1], 2 / 5),
        ([1, 2, 3, 4], 0),
    ],
)
def test_repetition_by_hand(tokens, share):
    assert repetition(tokens) == pytest.approx(share)
