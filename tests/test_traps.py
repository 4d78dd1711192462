"""Traps that a loop of this kind falls into without a word: each is set here on real, tiny models."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from data.preferences import RankedResponses
from rlhf import functional as f
from rlhf import ppo
from rlhf.config import WorkerConfig
from rlhf.decoding import ModelSteps, QuickSteps, steps
from rlhf.generate import SamplingConfig, encode_prompt, longest_prompt, sample_from
from rlhf.imitation import Chosen, scored_chosen
from rlhf.likelihood import token_logprobs, token_logprobs_at
from rlhf.models import ROLES, load_family
from rlhf.passes import look
from rlhf.ppo import Learner, PPOConfig, rollout, update, warm_up_value
from rlhf.ppo_training import Average
from rlhf.prompts import load_prompts, prompt_limit
from rlhf.reward_model import RewardModel, RewardModelConfig, learn_heldout, train_reward_model
from tests.test_models import MODELS, SIZES, mistral_with_a_window, neo_with_a_window
from tests.test_resume import same

CONFIG = PPOConfig(
    episodes=16,
    minibatch=8,
    learning_rate=1e-3,
    kl_coef=0.02,
    approx_kl_stop=100.0,
    sampling=SamplingConfig(temperature=0.7, max_new_tokens=16),
)
BOTH = pytest.mark.parametrize("tuning", ["full", "lora"])


def family_of(folder, tuning="full", moved=("policy",)):
    """moved: roles that are not the reference any more; a new adapter adds nothing, and would hide much."""
    torch.manual_seed(0)  # LoRA draws its adapters
    family = load_family(str(folder), tuning=tuning, device="cpu", lora_rank=4)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for role in moved:
            for p in family.parameters(role):
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
    return family


def taught(family, epochs=1) -> RewardModel:
    """A reward model that has learned to like short responses, its scores at PPO's scale."""
    model = RewardModel(family)
    model.reset(0)
    texts = ("ab", "abcdefgh", "abcdefghijklmnopqr")
    data = [RankedResponses(f"prompt {i}", texts, (1, 2, 3)) for i in range(8)]
    for _ in train_reward_model(model, data, RewardModelConfig(epochs=epochs, rankings_per_step=4), 0):
        pass
    encoded = [model.encode(ranking.prompt, text) for ranking in data for text in texts]
    model.normalise_on([prompt for prompt, _ in encoded], [response for _, response in encoded])
    return model


def prompts_of(family, count):
    return [encode_prompt(family.tokenizer, f"prompt {'x' * i}") for i in range(count)]


def draw(family, model, prompts, config=CONFIG):
    return rollout(family, model, prompts, config, torch.Generator().manual_seed(0))


def moved_by(learner, data, config=CONFIG):
    """-> metrics of an update, and the policy after it."""
    metrics = update(learner, data, config.kl_coef, config, random.Random(0))
    return metrics, learner.family.state("policy")


def finite(metrics) -> bool:
    return all(map(math.isfinite, metrics.values()))


def gradients(family, role="policy"):
    return [p.grad for p in family.parameters(role)]


def saved_with_tokenizer(model, tiny_model, folder):
    """A folder of this model, with weights as after training, not all ones and zeros."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture
def sure_model(tiny_model, tmp_path):
    """The tiny model with ten times its logits: the head that LoRA leaves as it is can then say one word."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.model.norm.weight *= 10
    model.save_pretrained(tmp_path / "sure")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "sure")
    return tmp_path / "sure"


# -- the update sees what was sampled ------------------------------------------------------------------


@BOTH
def test_the_ratio_is_1_while_nothing_is_learned_for_responses_that_share_rows_too(tiny_model, tuning):
    family = family_of(tiny_model, tuning)
    family.eos_ids |= set(range(4, 30))
    family.token_budget = 128  # several micro-batches
    model = taught(family)
    data = draw(family, model, [p for p in prompts_of(family, 4) for _ in range(4)])
    batches = [batch for _, batch in family.batches(data.prompts, data.responses)]
    assert len(batches) > 1
    assert all(batch.attention is not None for batch in batches)
    assert data.kl.abs().mean() > 0.1  # the policy is not the reference, with LoRA its adapter counts
    learner = Learner.start(family, model, CONFIG)
    chosen = [model.encode(f"prompt {'x' * i}", "ab") for i in range(4)]  # to the same prompts
    learner.chosen = scored_chosen(model, chosen, 4, CONFIG.sampling.temperature, 0)
    learner.set_rates(0.0)
    metrics, _ = moved_by(learner, data)
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["policy/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["policy/clipfrac"] == 0
    assert metrics["policy/inner_steps"] == 4


@BOTH
def test_a_response_has_the_same_log_probabilities_alone_in_a_batch_and_in_a_shared_row(tiny_model, tuning):
    family = family_of(tiny_model, tuning, moved=("policy", "reward"))
    prompts = [[5, 6, 7]] * 3 + [[8], [9] * 40]
    responses = [[9, 1], [10, 11, 12, 1], [13], [14, 15, 1], [16] * 30]
    for role in ("policy", "reward"):
        together = token_logprobs(family, role, prompts, responses)
        for row, pair in enumerate(zip(prompts, responses, strict=True)):
            alone = token_logprobs(family, role, *([part] for part in pair))[0]
            assert torch.allclose(together[row, : len(alone)], alone, atol=2e-5)
            assert not together[row, len(alone) :].any()
    assert not torch.allclose(together, token_logprobs(family, "policy", prompts, responses), atol=0.01)


SAMPLED = {
    **{kind: MODELS[kind] for kind in ("gpt2", "opt", "llama")},
    "mistral, window": mistral_with_a_window,
    "neo, window": neo_with_a_window,
}


@BOTH
@pytest.mark.parametrize("kind", SAMPLED)
def test_what_is_drawn_beside_longer_prompts_is_drawn_as_the_update_sees_it_alone(
    tiny_model, tmp_path, kind, tuning
):
    """Prompts are padded on the left while others are longer, and rows leave while others go on."""
    family = family_of(saved_with_tokenizer(SAMPLED[kind](), tiny_model, tmp_path), tuning)
    family.eos_ids = set(range(1, 40))
    prompts = [[50], [60 + i for i in range(20)], [90, 91, 92], [100] * 9] * 4
    with family.use("policy", sampling=True) as model, torch.no_grad():
        kind_of_steps = steps(model, torch.tensor([[5]]), torch.tensor([[1]]), 1)
    assert isinstance(kind_of_steps, QuickSteps if kind == "llama" else ModelSteps)
    samples = sample_from(family, "policy", prompts, CONFIG.sampling, torch.Generator().manual_seed(0))
    assert len({len(s.tokens) for s in samples}) > 4
    for prompt, drawn in zip(prompts, samples, strict=True):
        (alone,) = token_logprobs_at((0.7,), family, "policy", [prompt], [drawn.tokens])
        assert drawn.logprobs == pytest.approx(alone[0].tolist(), abs=1e-4)


# -- EOS -----------------------------------------------------------------------------------------------


def whole_loop(folder, tuning):
    """-> every number of a reward model's training, a rollout and an update."""
    family = family_of(folder, tuning)
    family.eos_ids |= set(range(4, 30))
    model = taught(family)
    data = draw(family, model, prompts_of(family, 16))
    learner = Learner.start(family, model, CONFIG)
    pairs = [model.encode(f"prompt {i}", "ab") for i in range(8)]
    learner.chosen = scored_chosen(model, pairs, 8, CONFIG.sampling.temperature, 0)
    metrics, policy = moved_by(learner, data)
    seen = data.responses, data.finished, data.logprobs, data.scores, data.early, data.states
    return family, seen, metrics, policy, family.state("reward")


@BOTH
def test_padding_with_eos_changes_not_one_number_of_the_loop(tiny_model, tmp_path, tuning):
    usual, *right = whole_loop(tiny_model, tuning)
    assert usual.pad_id == 0
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for pad in ("<|end|>", None):  # PAD is EOS, or there is none
        tokenizer.pad_token = pad
        tokenizer.save_pretrained(tmp_path)
        family, *found = whole_loop(tmp_path, tuning)
        assert family.pad_id == family.closing_eos == usual.closing_eos == 1
        assert same(found, right)


@BOTH
def test_the_eos_that_closes_a_response_is_counted_and_learned_though_it_is_the_pad(tiny_model, tuning):
    family = family_of(tiny_model, tuning)
    family.pad_id = family.closing_eos
    family.eos_ids |= set(range(4, 30))
    model = taught(family)
    data = draw(family, model, prompts_of(family, 16))
    for response in data.responses:
        response[-1] = family.closing_eos
    (data.logprobs,) = token_logprobs_at((0.7,), family, "policy", data.prompts, data.responses)
    lengths = data.mask.sum(1)
    assert lengths.tolist() == [len(response) for response in data.responses]
    closing = torch.zeros_like(data.mask).scatter(1, lengths.unsqueeze(1) - 1, True)
    learner = Learner.start(family, model, CONFIG)
    # an update that is glad of these EOS and of nothing else
    watch = ppo._policy_step(learner, data, closing.float(), list(range(16)), 0.0, CONFIG)
    assert watch["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert watch["policy/loss"] == pytest.approx(-16 / float(lengths.sum()), rel=1e-4)
    (after,) = token_logprobs_at((0.7,), family, "policy", data.prompts, data.responses)
    assert (after - data.logprobs)[closing].mean() > 0.05


@BOTH
def test_a_response_that_is_only_eos_goes_through_the_whole_loop(sure_model, tuning):
    family = family_of(sure_model, tuning)
    model = taught(family)
    prompts = prompts_of(family, 16)
    silence = model.encode("prompt", "")[1]
    assert silence == [family.closing_eos]
    assert model.encode("prompt", "", finished=False)[1] == silence  # there has to be something to read

    alone = model.score(prompts[:1], [silence])
    beside = model.score(prompts[:2], [silence, [70] * 30])
    assert torch.isfinite(beside).all()
    assert alone[0].item() == pytest.approx(beside[0].item(), abs=1e-3)

    # imitation makes the policy silent half of the time, so that a rollout holds silence beside words
    said = model.encode("prompt", "ab")[1]
    states = model.assess(prompts, [silence] * 16, with_states=True).states[:, :1]
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=16)
    config = replace(CONFIG, chosen_coef=1.0, chosen_batch=32, sampling=sampling)
    learner = Learner.start(family, model, config)
    with torch.no_grad():
        value_function = learner.value_function
        values = value_function(value_function.read(states))[:, 0].tolist()
    chosen = [
        Chosen(prompt, response, score=value + 1, ref_logprob=-5.0, state=state)
        for prompt, value, state in zip(prompts, values, states, strict=True)
        for response in (silence, said)
    ]
    learner.chosen = itertools.cycle(chosen)
    data = draw(family, model, prompts[:1], config)
    nothing = torch.zeros(data.mask.shape)  # to learn from what was sampled
    for number in range(30):
        learner.set_rates(1 - number / 30)
        watch = ppo._policy_step(learner, data, nothing, [0], 0.0, config)
    assert 0 < watch["policy/chosen_loss"] < 0.5

    data = draw(family, model, prompts, config)
    silent = torch.tensor([r == silence for r in data.responses])
    assert 3 < silent.sum() < 13
    assert data.finished.all()
    assert (data.scores[silent] == config.missing_eos_score).all()
    assert (data.scores[~silent] != config.missing_eos_score).all()
    assert data.kl[silent].min() > 1
    assert torch.allclose(data.rewards(0.5)[silent, 0], data.scores[silent] - 0.5 * data.kl[silent])
    learner = Learner.start(family, model, config)
    assert finite(warm_up_value(learner, data, config, random.Random(0)))
    metrics, policy = moved_by(learner, data, config)
    assert finite(metrics)
    assert metrics["policy/skipped_steps"] == 0
    assert all(torch.isfinite(t).all() for t in policy.values())


# -- the longest and the shortest prompts --------------------------------------------------------------


@BOTH
def test_prompts_of_one_token_and_of_all_the_room_there_is_go_through_the_whole_loop(
    tiny_model, tmp_path, tuning
):
    """A model with a table of 64 positions: behind it is an index error, not a worse number."""
    folder = saved_with_tokenizer(MODELS["gpt2"](), tiny_model, tmp_path)
    family = family_of(folder, tuning)
    model = taught(family)
    room = SIZES["max_position_embeddings"] - CONFIG.sampling.max_new_tokens
    with family.use("policy") as policy:
        assert longest_prompt(policy, CONFIG.sampling) == room - 1  # one more fits, if no EOS is put behind
    prompts = [[50], [51] * room, [52], [53] * (room - 1)] * 4
    data = draw(family, model, prompts)
    full = [len(p) + len(r) for p, r in zip(prompts, data.responses, strict=True)]
    assert max(full) == SIZES["max_position_embeddings"]
    for row in (0, 1):
        (alone,) = token_logprobs_at((0.7,), family, "policy", [prompts[row]], [data.responses[row]])
        assert data.logprobs[row][data.mask[row]].tolist() == pytest.approx(alone[0].tolist(), abs=1e-4)
    learner = Learner.start(family, model, CONFIG)
    assert finite(warm_up_value(learner, data, CONFIG, random.Random(0)))
    learner.set_rates(0.0)
    metrics, _ = moved_by(learner, data)
    assert finite(metrics)
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-4)


def test_a_prompt_one_token_above_the_limit_is_left_out_when_prompts_are_read(tiny_model, tmp_path, capsys):
    folder = saved_with_tokenizer(MODELS["gpt2"](), tiny_model, tmp_path / "model")
    family = family_of(folder)
    limit = prompt_limit(family, WorkerConfig(), CONFIG.sampling)
    assert limit == SIZES["max_position_embeddings"] - CONFIG.sampling.max_new_tokens - 1
    around = len(encode_prompt(family.tokenizer, ""))
    fitting = ["x" * (limit - around), *(f"question {i}" for i in range(20))]
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join([*fitting, "y" * (limit - around + 1)]))
    read = load_prompts(family, WorkerConfig(prompts=str(file)), limit)
    assert [prompt for prompt, _ in read] == fitting
    assert f"1 prompts over {limit} tokens left out" in capsys.readouterr().out


# -- nothing to tell apart -----------------------------------------------------------------------------

EVEN_ODDS = {"pairwise": math.log(2), "plackett-luce": math.log(6) / 2}  # loss of three equal scores


@BOTH
@pytest.mark.parametrize("length", [1, 8])
def test_a_rollout_of_equal_responses_gives_finite_numbers(sure_model, tuning, length):
    family = family_of(sure_model, tuning)
    model = taught(family)
    config = replace(CONFIG, sampling=SamplingConfig(temperature=0.01, max_new_tokens=length))
    data = draw(family, model, prompts_of(family, 1) * 16, config)
    assert len(set(map(tuple, data.responses))) == 1
    learner = Learner.start(family, model, config)
    assert finite(warm_up_value(learner, data, config, random.Random(0)))
    metrics, policy = moved_by(learner, data, config)
    assert finite(metrics)
    assert metrics["policy/skipped_steps"] == 0
    assert all(torch.isfinite(t).all() for t in policy.values())


@BOTH
@pytest.mark.parametrize("likelihood", EVEN_ODDS)
def test_rankings_of_equal_responses_teach_nothing_and_break_nothing(tiny_model, tuning, likelihood):
    family = family_of(tiny_model, tuning)
    model = RewardModel(family)
    model.reset(0)
    data = [RankedResponses("prompt 0", ("same",) * 3, (1, 2, 3))] * 8
    config = RewardModelConfig(likelihood=likelihood, epochs=2)
    losses = [step["reward_model/loss"] for step in train_reward_model(model, data, config, 0)]
    assert losses == pytest.approx([EVEN_ODDS[likelihood]] * len(losses), abs=1e-3)
    assert all(torch.isfinite(t).all() for t in family.state("reward").values())
    assert torch.isfinite(model.score_texts(["prompt 0", "another"], ["same", "something else"])).all()


@BOTH
@pytest.mark.parametrize("likelihood", EVEN_ODDS)
def test_rankings_of_ties_alone_pull_scores_together_and_choose_nothing(tiny_model, tuning, likelihood):
    family = family_of(tiny_model, tuning)
    model = taught(family, epochs=2)
    texts = ("cdefghijklmnop", "cdefgh", "cd")  # it likes the last best
    tied = [RankedResponses(f"question {i}", texts, (1, 1, 1)) for i in range(8)]
    assert not any(ranking.chosen() for ranking in tied)

    def spread():
        return model.score_texts(["question 3"] * 3, texts).std()

    before = spread()
    config = RewardModelConfig(likelihood=likelihood, heldout_epochs=8)
    losses = [step["reward_model/loss"] for step in learn_heldout(model, tied, [], config, 0)]
    assert EVEN_ODDS[likelihood] - 1e-4 < losses[-1] < losses[0] - 0.05
    assert spread() < 0.7 * before

    # with no others at all the probe has nothing to go by either
    assert all(map(finite, train_reward_model(model, tied, config, 0)))
    assert all(torch.isfinite(t).all() for t in family.state("reward").values())


# -- steps and micro-batches ---------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("broken", ["first", "last"])
def test_a_step_of_which_one_micro_batch_is_nan_changes_nothing_and_the_next_go_on(
    tiny_model, tuning, broken, monkeypatch
):
    family = family_of(tiny_model, tuning)
    family.token_budget = 100
    model = taught(family)
    learner, data = Learner.start(family, model, CONFIG), draw(family, model, prompts_of(family, 16))
    real_step, real_logprobs, passes, states = ppo._policy_step, f.logprobs_of, [], []

    def step(learner, data, advantages, rows, *rest):
        prompts, responses = ([own[i] for i in rows] for own in (data.prompts, data.responses))
        parts = len(list(family.batches(prompts, responses)))
        assert parts > 2
        passes.extend("last" if i == parts - 1 else "first" if i == 0 else "" for i in range(parts))
        states.append(learner.state())
        return real_step(learner, data, advantages, rows, *rest)

    def logprobs(*arguments):
        """Of the second step one micro-batch overflows."""
        found, place = real_logprobs(*arguments), passes.pop(0)
        return found * (float("nan") if len(states) == 2 and place == broken else 1.0)

    monkeypatch.setattr(ppo, "_policy_step", step)
    monkeypatch.setattr(f, "logprobs_of", logprobs)
    metrics, policy = moved_by(learner, data)
    states.append(learner.state())  # weights, both optimisers, the value function, the factor on the logits
    assert [same(*pair) for pair in itertools.pairwise(states)] == [False, True, False, False]
    assert (metrics["policy/skipped_steps"], metrics["policy/inner_steps"]) == (1, 3)
    assert finite(metrics)
    assert all(torch.isfinite(t).all() for t in policy.values())


def test_a_batch_that_minibatches_do_not_divide_is_used_once_in_each_pass(tiny_model, monkeypatch):
    family = family_of(tiny_model)
    model = taught(family)
    config = replace(CONFIG, minibatch=4, inner_epochs=3, warmup_epochs=2)
    learner, data = Learner.start(family, model, config), draw(family, model, prompts_of(family, 10))
    policy, value = [], []
    real_policy, real_value = ppo._policy_step, ppo._value_step
    monkeypatch.setattr(ppo, "_policy_step", lambda *given: policy.append(given[3]) or real_policy(*given))
    monkeypatch.setattr(
        ppo, "_value_step", lambda *given: value.append(int(given[2].sum())) or real_value(*given)
    )
    warm_up_value(learner, data, config, random.Random(0))
    tokens = int(data.mask.sum())
    assert len(value) == 6
    assert [sum(value[i : i + 3]) for i in (0, 3)] == [tokens] * 2
    value.clear()
    metrics, _ = moved_by(learner, data, config)
    assert metrics["policy/inner_steps"] == 9
    assert [len(rows) for rows in policy] == [4, 4, 2] * 3
    passes = [[row for rows in policy[i : i + 3] for row in rows] for i in (0, 3, 6)]
    assert [sorted(rows) for rows in passes] == [list(range(10))] * 3
    assert passes[0] != passes[1]
    assert [sum(value[i : i + 3]) for i in (0, 3, 6)] == [tokens] * 3


@BOTH
def test_micro_batches_add_up_to_the_gradient_of_the_whole(tiny_model, tuning):
    """Whether there is one or many, whether responses share rows, and with some that people chose."""
    config = replace(CONFIG, max_grad_norm=1e9, chosen_coef=0.5)
    family = family_of(tiny_model, tuning)
    model = taught(family)
    data = draw(family, model, [p for p in prompts_of(family, 5) for _ in range(2)], config)
    advantages = torch.randn(data.mask.shape, generator=torch.Generator().manual_seed(0)) * data.mask
    pairs = [model.encode(f"prompt {'x' * i}", "ab" * i) for i in range(8)]
    chosen = [replace(card, score=50.0) for card in scored_chosen(model, pairs, 8, 0.7, 0).cards]
    learner = Learner.start(family, model, config)
    learner.set_rates(0.0)
    learner.chosen = itertools.cycle(chosen)
    found, longest = [], family.longest_tree
    for budget, shared in ((10**6, True), (64, True), (64, False)):
        family.token_budget, family.longest_tree = budget, longest if shared else 0
        assert (len(list(family.batches(data.prompts, data.responses))) > 3) == (budget == 64)
        watch = ppo._policy_step(learner, data, advantages, list(range(10)), 0.02, config)
        found.append((watch, gradients(family)))
    whole, right = found[0]
    assert whole["policy/chosen_loss"] > 1
    largest = max(float(g.abs().max()) for g in right)
    assert largest > 0.01
    for parts, summed in found[1:]:
        assert parts == pytest.approx(whole, rel=1e-4, abs=1e-5)
        for one, other in zip(summed, right, strict=True):
            assert (one - other).abs().max() < 1e-4 * largest


# -- which weights learn -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("role", ["policy", "reward"])
def test_whatever_was_used_before_the_trained_role_gets_gradients_and_nothing_else_does(
    tiny_model, tuning, role
):
    family = family_of(tiny_model, tuning, moved=ROLES)
    others = [other for other in ROLES if other != role]
    with family.use("reference") as model:
        base = [p for name, p in model.named_parameters() if "lora_" not in name]
    before = [p.clone() for p in base]
    parameters = family.parameters(role)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for last in ("reference", *others, role):
        for sampling in (False, True):
            with family.use(last, sampling=sampling):
                pass
            optimizer.zero_grad()
            for _, batch in family.batches([[5, 6], [7]], [[8, 9, 1], [10, 1]]):
                with family.use(role) as model:
                    (-look(model, batch).logprobs(1.0).sum()).backward()
            assert all(p.grad is not None and p.grad.any() for p in parameters), last
            optimizer.step()
            for other in others:
                assert gradients(family, other) == [None] * len(family.parameters(other)), last
            assert not any(p.requires_grad or p.grad is not None for p in base), last
    assert all(map(torch.equal, base, before))


# -- dropout -------------------------------------------------------------------------------------------

DROPPING = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3, **SIZES
        )
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            attention_dropout=0.3, **SIZES,
        )
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("kind", DROPPING)
def test_dropout_is_off_in_every_role_while_it_learns_too(tiny_model, tmp_path, kind, tuning):
    folder = saved_with_tokenizer(DROPPING[kind](), tiny_model, tmp_path)
    family = family_of(folder, tuning, moved=("policy", "published"))
    family.eos_ids |= set(range(4, 30))
    model = taught(family)
    data = draw(family, model, prompts_of(family, 16))
    learner = Learner.start(family, model, CONFIG)
    learner.set_rates(0.0)
    metrics, _ = moved_by(learner, data)
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["policy/approx_kl"] == pytest.approx(0, abs=1e-6)
    for role in ("reference", "policy", "published", "viewer", "reward"):
        once, again = (token_logprobs(family, role, data.prompts, data.responses) for _ in range(2))
        assert torch.equal(once, again), role
    assert torch.equal(model.score(data.prompts, data.responses), model.score(data.prompts, data.responses))


# -- tied weights, saving ------------------------------------------------------------------------------

SEEN = [[5, 6, 7], [8]], [[9, 1], [10, 11, 12, 1]]


def logits(family, role="policy"):
    with torch.no_grad(), family.use(role) as model:
        return model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits


def tied_of(family, role="policy"):
    with family.use(role) as model:
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        return model.get_input_embeddings().weight


def test_tied_weights_stay_one_and_are_averaged_drawn_back_and_saved_as_one(tiny_model, tmp_path):
    family = family_of(tiny_model)
    reference = tied_of(family, "reference").clone()
    start, tied = family.state("policy"), tied_of(family)
    other = family_of(tiny_model, moved=("policy",) * 2)
    average = Average(start, decay=0.85)
    average.add(other.state("policy"))
    family.set_state("policy", average.state)
    assert tied_of(family) is tied
    wanted = 0.25 * start["model.embed_tokens.weight"] + 0.75 * tied_of(other)
    assert torch.allclose(tied, wanted, atol=1e-6)

    family.draw_back("policy", 0.5)
    assert torch.allclose(tied, (wanted + reference) / 2, atol=1e-6)
    assert not torch.equal(tied_of(family, "reference"), tied)

    family.save("policy", tmp_path)
    family.copy("policy", "published")
    again = family_of(tiny_model, moved=())
    again.load("policy", tmp_path)
    assert torch.equal(tied_of(again), tied)
    assert torch.equal(logits(again), logits(family))
    assert torch.equal(logits(family, "published"), logits(family))
    tied_of(family, "published")


@BOTH
def test_a_reward_model_and_a_policy_that_were_saved_say_the_same_bit_for_bit(tiny_model, tmp_path, tuning):
    family = family_of(tiny_model, tuning)
    model = taught(family, epochs=2)
    model.normalise_on(*SEEN)
    model.save(tmp_path / "reward")
    family.save("policy", tmp_path / "policy")
    again = family_of(tiny_model, tuning, moved=("policy", "reward"))  # what is there before does not matter
    fresh = RewardModel(again)
    assert not torch.equal(logits(again, "reward"), logits(family, "reward"))
    fresh.load(tmp_path / "reward")
    again.load("policy", tmp_path / "policy")
    one, other = (m.assess(*SEEN, with_states=True) for m in (model, fresh))
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.early, other.early)
    assert torch.equal(one.states, other.states)
    assert torch.equal(logits(family), logits(again))
    assert not torch.equal(logits(family), logits(family, "reference"))
    drawn = [
        sample_from(f, "policy", [[5, 6], [7]], CONFIG.sampling, torch.Generator().manual_seed(0))
        for f in (family, again)
    ]
    assert drawn[0] == drawn[1]


# what has no room, and an EOS that is PAD in the model's own config


def test_what_encodes_longer_than_it_was_sampled_is_cut_to_the_room_there_is(tiny_model, tmp_path):
    family = family_of(saved_with_tokenizer(MODELS["gpt2"](), tiny_model, tmp_path))
    model = RewardModel(family)
    prompt, texts = "p" * 45, ("é" * 30, "a" * 30, "b")  # of 64 positions; "é" is two tokens
    room = family.context - len(encode_prompt(family.tokenizer, prompt))
    assert [len(model.encode(prompt, text)[1]) for text in texts] == [room, room, 2]
    ranking = RankedResponses(prompt, texts, (1, 2, 3))
    told = list(train_reward_model(model, [ranking] * 4, RewardModelConfig(epochs=1), 0))
    assert all(math.isfinite(numbers["reward_model/loss"]) for numbers in told)


def test_an_eos_that_the_models_own_config_pads_with_learns_its_embedding(tiny_model, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model.config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    found = []
    for folder in (tiny_model, tmp_path):
        family = family_of(folder)
        taught(family)
        found.append(family.state("reward")["model.embed_tokens.weight"])
    assert torch.equal(*found)
