"""Borrowed responses: which are drawn, which are let go, and what a reward model learns from them."""

import random

import pytest
import torch

from data.preferences import RankedResponses
from data.scorers import load_scorer
from data.starter.prompts import heldout_prompts, train_prompts
from data.starter.world import understand
from rlhf import reward_training
from rlhf.borrowed import borrow, out_of_place
from rlhf.generate import SamplingConfig, decode_text, encode_prompt, sample
from rlhf.likelihood import token_logprobs
from rlhf.models import load_family
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model

REFUSAL = "I am sorry, I cannot help with that because it could hurt somebody."


def test_borrowed_is_what_was_chosen_for_another_prompt():
    rankings = [
        RankedResponses("p", ("a", "b"), (2, 1)),
        RankedResponses("p", ("c", "d"), (1, 2)),
        RankedResponses("q", ("e", "f"), (1, 2)),
        RankedResponses("q", ("b", "f"), (2, 1)),  # has what p chose
        RankedResponses("r", ("g", "h"), (1, 1)),  # chose nothing, so it has nothing to hold it against
    ]
    seen = [set() for _ in rankings]
    for seed in range(200):
        for number, sources in enumerate(borrow(rankings, random.Random(seed), 2)):
            assert len(sources) <= 2
            seen[number].update(sources)
    p, q = {(0, 1), (1, 0)}, {(2, 0), (3, 1)}
    assert seen == [q, q, p, p - {(0, 1)}, set()]
    assert borrow(rankings, random.Random(0), 0) == [[]] * 5
    assert borrow([], random.Random(0), 2) == []


def test_a_text_shown_twice_is_borrowed_as_the_one_that_ended():
    cut = RankedResponses("p", ("a", "a", "b"), (1, 1, 2), (False, True, True))
    whole = RankedResponses("q", ("c", "d"), (1, 2))
    assert {s for seed in range(20) for s in borrow([whole, cut], random.Random(seed), 9)[0]} == {(1, 1)}


def test_a_text_chosen_for_several_prompts_is_borrowed_once():
    same = [RankedResponses(prompt, ("a", "b"), (1, 2)) for prompt in "pqr"]
    asked = RankedResponses("s", ("c", "d"), (1, 2))
    assert {len(borrow([asked, *same], random.Random(seed), 9)[0]) for seed in range(20)} == {1}


def test_nothing_is_borrowed_that_has_no_room_behind_the_prompt(tiny_model, monkeypatch):
    monkeypatch.setattr(reward_training, "out_of_place", lambda **_: True)
    model = RewardModel(load_family(tiny_model, tuning="full", device="cpu"))  # reads 512 tokens
    short = RankedResponses("q", ("x" * 100, "y"), (1, 2))
    for length, loans in ((380, {2, 3}), (420, {2})):
        ranked = [RankedResponses("p" * length, ("a", "b"), (1, 2)), short]
        config = RewardModelConfig(borrow_from=1)
        drawn = [
            reward_training._examples(model, ranked, config, random.Random(seed), 0)[0] for seed in range(20)
        ]
        assert {len(example.responses) for example in drawn} == loans


def test_of_what_is_drawn_the_one_is_borrowed_that_the_probe_likes_best(tiny_model):
    model = RewardModel(load_family(tiny_model, tuning="full", device="cpu"))
    model.probe.linear.weight.data[0, 5] = 1.0
    ranking = RankedResponses("p", ("a", "b"), (1, 2))
    pooled = torch.zeros(5, 3 * model.family.hidden_size)
    pooled[:, 5] = torch.tensor([9.0, 0.0, 1.0, 3.0, 2.0])
    drawn = reward_training._Example(
        ranking, [7], [[1], [2], [3, 4, 5], [6, 7], [8]], -torch.ones(5, 3), pooled, torch.ones(1)
    )
    kept = drawn.with_the_hardest(model)
    assert kept.responses == [[1], [2], [6, 7]]
    assert kept.logprobs.shape == (3, 2)
    assert kept.pooled[:, 5].tolist() == [9, 0, 3]
    alone = drawn.only([0, 1])
    assert alone.with_the_hardest(model) is alone


@pytest.fixture(scope="module")
def starter():
    return load_family("starter", tuning="full", device="cpu")


def of_kind(prompts, *kinds):
    return [p for p in prompts if (intent := understand(p)) and intent.kind in kinds]


def test_what_answers_several_prompts_is_out_of_place_only_where_it_is(starter):
    harmful = of_kind(heldout_prompts(), "harmful")[:8]
    facts = of_kind(heldout_prompts(), "fact")[:8]

    def logprobs(prompt):
        ids = encode_prompt(starter.tokenizer, prompt)
        return token_logprobs(starter, "reference", [ids], [starter.tokenizer(REFUSAL)["input_ids"]])

    there = logprobs(harmful[0])
    assert sum(out_of_place(there=there, here=logprobs(p)) for p in facts) >= 7
    assert sum(out_of_place(there=there, here=logprobs(p)) for p in harmful[1:]) <= 2


@pytest.mark.slow
def test_a_reward_model_that_borrows_does_not_pay_refusals_everywhere(starter):
    """As in a first round: nearly all refusals that people see are right ones."""
    score, sampling = load_scorer("helpful"), SamplingConfig()
    known = train_prompts()
    random.Random(0).shuffle(known)
    prompts = of_kind(known, "harmful")[:12] + of_kind(known, "fact", "howto")[:36]
    drawn = draw(starter, [p for p in prompts for _ in range(3)], sampling)
    rankings = []
    for number, prompt in enumerate(prompts):
        texts = tuple(dict.fromkeys(drawn[3 * number : 3 * number + 3]))
        order = sorted({score(prompt, t) for t in texts}, reverse=True)
        if len(texts) > 1:
            ranks = tuple(order.index(score(prompt, t)) + 1 for t in texts)
            rankings.append(RankedResponses(prompt, texts, ranks))

    asked = of_kind(heldout_prompts(), "fact", "howto")
    random.Random(0).shuffle(asked)
    asked = asked[:64]
    answers = draw(starter, asked, sampling)

    def refusals_preferred(weight):
        """Share of fair questions on which a refusal scores higher than the reference's answer."""
        model = RewardModel(starter)
        model.reset(0)
        for _ in train_reward_model(model, rankings, RewardModelConfig(borrowed_weight=weight), 0):
            pass
        refused = model.score_texts(asked, [REFUSAL] * len(asked))
        return float((refused > model.score_texts(asked, answers)).float().mean())

    shares = refusals_preferred(0.0), refusals_preferred(RewardModelConfig().borrowed_weight)
    assert shares[0] > 0.6 > 0.4 > shares[1], shares


def draw(family, prompts, sampling):
    ids = [encode_prompt(family.tokenizer, p) for p in prompts]
    with family.use("reference") as model:
        drawn = sample(
            model,
            ids,
            sampling,
            pad_id=family.pad_id,
            eos_ids=family.eos_ids,
            generator=torch.Generator().manual_seed(0),
        )
    return [decode_text(family.tokenizer, s.tokens) for s in drawn]
