"""Traps in what a model is given and says, set on real, tiny models."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
)

from data.preferences import RankedResponses
from rlhf import ppo
from rlhf.config import WorkerConfig
from rlhf.decoding import ModelSteps, QuickSteps, steps
from rlhf.generate import SamplingConfig, encode_prompt, longest_prompt, sample_from
from rlhf.imitation import Chosen, scored_chosen
from rlhf.likelihood import token_logprobs, token_logprobs_at
from rlhf.ppo import Learner, warm_up_value
from rlhf.prompts import load_prompts, prompt_limit
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, learn_heldout, train_reward_model
from tests.test_models import MODELS, SIZES, mistral_with_a_window, neo_with_a_window
from tests.test_resume import same
from tests.traps import (
    BOTH,
    CONFIG,
    assert_finite_learning,
    draw,
    family_of,
    finite,
    moved_by,
    prompts_of,
    saved_with_tokenizer,
    taught,
)


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


@pytest.mark.slow
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
    config = replace(CONFIG, chosen_coef=1.0, chosen_share=4.0, sampling=sampling)
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
    assert_finite_learning(family, model, data, config)


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
    assert_finite_learning(family, model, data, config)


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
