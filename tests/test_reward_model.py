"""The reward model: planted preferences are learned, scores are comparable, nothing depends on the batch."""

import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import rlhf.reward_training as training
from data.preferences import RankedResponses, split_by_prompt
from rlhf.batching import pad
from rlhf.likelihood import token_logprobs
from rlhf.models import load_family
from rlhf.passes import look
from rlhf.reward_accuracy import measure_accuracy
from rlhf.reward_model import LOG_RATIO, RewardModel
from rlhf.reward_training import RewardModelConfig, learn_heldout, train_reward_model


def rankings(count, *, longest_first, start=0):
    """A planted preference that a byte model can see: length."""
    made = []
    for i in range(start, start + count):
        responses = ("k" * (2 + i % 3), "k" * (9 + i % 4), "k" * (20 + i % 5))
        made.append(RankedResponses(f"prompt {i}", responses, (3, 2, 1) if longest_first else (1, 2, 3)))
    return made


def train(family, data, seed=0):
    model = RewardModel(family)
    model.reset(seed)
    losses = [m["reward_model/loss"] for m in train_reward_model(model, data, RewardModelConfig(), seed)]
    return model, losses


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("longest_first", [True, False])
def test_a_planted_preference_and_its_opposite_are_learned(tiny_model, tuning, longest_first):
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=8)
    model, losses = train(family, rankings(48, longest_first=longest_first))
    assert losses[-1] < 0.5
    assert losses[-1] < losses[0]
    heldout = measure_accuracy(model, rankings(16, longest_first=longest_first, start=100))
    assert heldout.accuracy > 0.9
    assert heldout.pairs == 48
    assert heldout.longer_wins == (1.0 if longest_first else 0.0)
    assert measure_accuracy(model, rankings(16, longest_first=not longest_first, start=100)).accuracy < 0.1


@pytest.mark.parametrize("weight", [0.3, 0.0])
def test_what_people_accept_is_above_0_and_what_nobody_accepts_below(tiny_model, weight):
    """All tied, so that nothing else is said: long ones are acceptable, short ones are not."""
    long, short = ("abcdefghabcd", "hgfedcbahg", "abababababcc"), ("a", "bc", "c")
    said = [
        RankedResponses(f"prompt {i}", short if i % 2 else long, (1, 1, 1), acceptable=not i % 2)
        for i in range(32)
    ]
    model = RewardModel(load_family(tiny_model, tuning="full", device="cpu"))
    model.reset(0)
    config = RewardModelConfig(acceptance_weight=weight)
    for _ in train_reward_model(model, said, config, 0):
        pass
    above = [float((model.score_texts([f"new {i}"] * 3, long) > 0).float().mean()) for i in range(4)]
    below = [float((model.score_texts([f"new {i}"] * 3, short) < 0).float().mean()) for i in range(4)]
    learned = sum(above + below) / 8
    assert (learned > 0.9) == (weight > 0), (above, below)


@pytest.fixture(scope="module")
def trained(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    return train(family, rankings(24, longest_first=True))[0]


def guesses(family, count, start=0):
    """Responses of random letters, ranked by how likely the reference finds them."""
    letters, made = random.Random(start), []
    for i in range(start, start + count):
        responses = tuple("".join(letters.choices("abcdefgh", k=8)) for _ in range(3))
        encoded = [RewardModel(family).encode(f"prompt {i}", text) for text in responses]
        logprobs = token_logprobs(family, "reference", [p for p, _ in encoded], [r for _, r in encoded])
        order = logprobs.sum(1).argsort(descending=True).argsort()
        made.append(RankedResponses(f"prompt {i}", responses, tuple((order + 1).tolist())))
    return made


def test_token_logprobs_are_those_of_the_model(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    prompts, responses = [[5, 6, 7], [8]], [[9, 1], [10, 11, 12, 1]]
    found = token_logprobs(family, "reference", prompts, responses)
    for prompt, response, logprobs in zip(prompts, responses, found, strict=True):
        with family.use("reference") as model, torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        own = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(response).unsqueeze(1))
        assert logprobs[: len(response)].tolist() == pytest.approx(own.squeeze(1).tolist(), abs=1e-4)
        assert (logprobs[len(response) :] == 0).all()


def test_a_taste_for_what_the_reference_is_sure_of_is_found_without_touching_the_trunk(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    model = RewardModel(family)
    model.reset(0)
    assert list(train_reward_model(model, guesses(family, 40), RewardModelConfig(epochs=0), 0)) == []
    assert model.likelihood.weights[0] > 1
    assert measure_accuracy(model, guesses(family, 20, start=100)).accuracy > 0.95


def test_where_likelihood_says_nothing_its_weights_stay_near_zero(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    luck = random.Random(0)
    shuffled = [
        RankedResponses(r.prompt, r.responses, tuple(luck.sample(r.ranks, 3))) for r in guesses(family, 120)
    ]
    model = RewardModel(family)
    model.reset(0)
    for _ in train_reward_model(model, shuffled, RewardModelConfig(epochs=0), 0):
        pass
    assert model.likelihood.weights.abs().max() < 0.35


@pytest.mark.parametrize("without", ["log_ratio", "head.scale"])
def test_a_folder_of_another_version_is_refused_and_changes_nothing(trained, tiny_model, tmp_path, without):
    trained.save(tmp_path / "reward")
    file = tmp_path / "reward" / "reward_head.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != without}, file)
    again = RewardModel(load_family(tiny_model, tuning="full", device="cpu"))
    before = again.score_texts(["p"], ["a response"])
    with pytest.raises(ValueError, match="the next round makes a new one"):
        again.load(tmp_path / "reward")
    assert torch.equal(again.score_texts(["p"], ["a response"]), before)


def test_the_trunks_score_is_the_heads_and_the_log_ratio_of_each_token(trained):
    prompts, responses = [[5, 6, 7], [8]], [[9, 1], [10, 11, 12, 1]]
    family = trained.family
    reference = token_logprobs(family, "reference", prompts, responses)
    scores, ratios = trained.trunk_scores(prompts, responses, reference)
    own = token_logprobs(family, "reward", prompts, responses)
    assert torch.allclose(ratios, LOG_RATIO * (own - reference), atol=1e-4)
    assert ratios.abs().max() > 0.01  # the trunk has learned something
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        with family.use("reward") as model:
            states = look(model, pad([prompt], [response], 0)).middle[0, len(prompt) :]
        pooled = torch.cat([states.max(0).values, states.min(0).values, states.sum(0)])
        expected = trained.head(pooled).item() + ratios[row].sum().item()
        assert scores[row].item() == pytest.approx(expected, abs=1e-4)


def test_normalised_on_the_reference(trained):
    encoded = [trained.encode(f"p{i}", "word " * (1 + i % 9)) for i in range(40)]
    prompts, responses = [p for p, _ in encoded], [r for _, r in encoded]
    trained.normalise_on(prompts, responses)
    scores = trained.score(prompts, responses)
    assert scores.mean().item() == pytest.approx(0, abs=1e-3)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-3)


def test_a_response_scores_the_same_alone_in_a_batch_and_with_any_padding(trained):
    texts = ["a", "a longer one", "the longest response of them all, by far " * 3]
    together = trained.score_texts(["p"] * 3, texts)
    for text, score in zip(texts, together, strict=True):
        assert trained.score_texts(["p"], [text])[0].item() == pytest.approx(score.item(), abs=1e-3)


def test_saved_and_loaded_it_scores_the_same(trained, tiny_model, tmp_path):
    trained.save(tmp_path / "reward")
    again = RewardModel(load_family(tiny_model, tuning="full", device="cpu"))
    again.load(tmp_path / "reward")
    texts = ["one", "another response"]
    assert torch.equal(again.score_texts(["p", "q"], texts), trained.score_texts(["p", "q"], texts))


def test_same_seed_same_losses_other_seed_others(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    data = rankings(16, longest_first=True)
    first = train(family, data, seed=1)[1]
    assert first == train(family, data, seed=1)[1]
    assert first != train(family, data, seed=2)[1]


def test_accuracy_by_hand_and_without_pairs(trained):
    tied = [RankedResponses("p", ("a", "b"), (1, 1))]
    assert measure_accuracy(trained, tied).pairs == 0
    assert measure_accuracy(trained, []).pairs == 0


def test_a_gradient_that_is_not_finite_is_skipped_and_told(tiny_model, monkeypatch):
    """In one of two parts of the second step of three: nothing of that step is learned, all of the others."""
    family = load_family(tiny_model, tuning="full", device="cpu")
    config = RewardModelConfig(epochs=1, rankings_per_step=2, borrowed_weight=0.0)
    data = [replace(r, prompt=f"prompt {i // 3}") for i, r in enumerate(rankings(9, longest_first=True))]
    model, parts, states, losses_of = RewardModel(family), [], [], training._losses
    model.reset(0)

    def losses(*arguments):
        parts.append(losses_of(*arguments))
        return parts[-1] * (float("nan") if len(parts) == 4 else 1.0)

    monkeypatch.setattr(training, "_losses", losses)
    told = []
    for metrics in train_reward_model(model, data, config, 0):
        told.append(metrics)
        states.append(torch.cat([p.detach().flatten() for p in family.parameters("reward")]))
    assert len(parts) == 6
    assert [list(metrics) for metrics in told] == [
        ["reward_model/loss"],
        ["reward_model/skipped_steps"],
        ["reward_model/loss"],
    ]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


def test_a_prompt_with_many_rankings_is_learned_in_one_step_of_several_parts(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    once = rankings(1, longest_first=True)

    def weights(data, size):
        model = RewardModel(family)
        model.reset(0)
        config = RewardModelConfig(epochs=1, rankings_per_step=size)
        losses = [m["reward_model/loss"] for m in train_reward_model(model, data, config, 0)]
        return losses, torch.cat([p.detach().flatten() for p in family.parameters("reward")])

    whole, cut = weights(once * 6, 6), weights(once * 6, 4)
    assert len(whole[0]) == len(cut[0]) == 1
    assert whole[0] == pytest.approx(cut[0], rel=1e-4)
    assert torch.allclose(whole[1], cut[1], atol=1e-4)


def test_the_interval_knows_that_the_rankings_of_one_prompt_stand_or_fall_together(trained):
    """The model likes the long response: right on half of the prompts, wrong on the other half."""
    long, short = "k" * 20, "k" * 3
    spread = [RankedResponses(f"p{i}", (long, short), (1, 2) if i % 2 else (2, 1)) for i in range(40)]
    heaped = [RankedResponses(f"p{i % 4}", (long, short), (1, 2) if i % 2 else (2, 1)) for i in range(40)]
    wide, narrow = measure_accuracy(trained, heaped), measure_accuracy(trained, spread)
    assert wide.accuracy == narrow.accuracy == 0.5
    assert (wide.prompts, narrow.prompts) == (4, 40)
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert 0.3 < narrow.low < 0.45


def test_a_cut_response_is_not_shown_as_ended(trained):
    cut = RankedResponses("p", ("abc", "abc"), (1, 2), finished=(True, False))
    _, (ended, open_) = trained.encode_ranking(cut)
    assert ended == [*open_, trained.family.closing_eos]
    assert measure_accuracy(trained, [cut]).accuracy in (0.0, 1.0)  # and not equal scores, 0.5


def test_the_split_shares_no_prompt_and_never_changes():
    data = [RankedResponses(f"p{i % 30}", ("a", "b"), (1, 2)) for i in range(90)]
    train_half, heldout = split_by_prompt(data, 0.2)
    assert len(train_half) + len(heldout) == 90
    assert not {r.prompt for r in train_half} & {r.prompt for r in heldout}
    assert len({r.prompt for r in heldout}) == 6
    assert split_by_prompt(list(reversed(data)), 0.2)[1] == list(reversed(heldout))


@pytest.mark.parametrize(("prompts", "heldout"), [(64, 13), (18, 5), (15, 5), (14, 4), (8, 2), (0, 0)])
def test_a_small_set_holds_out_enough_to_judge_by_but_no_more_than_a_third(prompts, heldout):
    data = [RankedResponses(f"p{i}", ("a", "b"), (1, 2)) for i in range(prompts)]
    assert len(split_by_prompt(data, 0.2, least=5)[1]) == heldout


def test_a_ranking_without_a_rank_for_each_response_is_refused():
    with pytest.raises(ValueError, match="got 2 responses and 1 ranks"):
        RankedResponses("p", ("a", "b"), (1,))


def test_chosen_are_the_responses_ranked_first_that_ended():
    def chosen(*ranks, finished=()):
        return RankedResponses("p", ("a", "b", "", "d"), ranks, finished).chosen()

    assert chosen(2, 1, 3, 4) == ["b"]
    assert chosen(1, 2, 3, 1) == ["a", "d"]
    assert chosen(1, 2, 3, 1, finished=(True, True, True, False)) == ["a"]
    assert chosen(2, 2, 1, 2) == []  # who says nothing teaches nothing
    assert chosen(1, 1, 1, 1) == []  # nothing was better than anything


def test_several_heads_read_one_trunk_and_say_how_far_they_differ(tiny_model, tmp_path, monkeypatch):
    family = load_family(tiny_model, tuning="full", device="cpu")
    model, config = RewardModel(family), RewardModelConfig(heads=3, epochs=1)
    model.reset(0, config.heads)
    for _ in train_reward_model(model, rankings(24, longest_first=True), config, 0):
        pass
    prompts, responses = [[5, 6], [7]], [[9, 10, 1], [11, 12, 13, 1]]
    found = model.assess(prompts, responses)
    logprobs = token_logprobs(family, "reference", prompts, responses)
    trunk, _ = model.trunk_scores(prompts, responses, logprobs)
    each = (trunk + model.likelihood(logprobs) - model.mean) / model.std
    assert each.shape == (2, 3)
    assert torch.allclose(found.scores, each.mean(1), atol=1e-5)
    assert torch.allclose(found.spread, each.std(1, correction=0), atol=1e-5)
    assert found.spread.min() > 0.01
    assert model.head.linear.weight.std(0).max() > 1e-3
    assert measure_accuracy(model, rankings(16, longest_first=True, start=100)).accuracy > 0.9

    model.save(tmp_path / "reward")
    again = RewardModel(load_family(tiny_model, tuning="full", device="cpu"))
    again.load(tmp_path / "reward")
    assert torch.equal(again.assess(prompts, responses).spread, found.spread)
    monkeypatch.setattr(training, "out_of_place", lambda **_: True)  # so that there is a hardest to choose
    list(learn_heldout(again, rankings(8, longest_first=True, start=50), [], config, 0))
    assert again.assess(prompts, responses).spread.shape == (2,)

    model.reset(0)
    assert model.assess(prompts, responses).spread.tolist() == [0, 0]


def test_heldout_rankings_teach_what_the_others_do_not_know(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    known = rankings(32, longest_first=True)

    def about_letters(start, count):
        return [RankedResponses(f"letter {i}", texts, (2, 1)) for i in range(start, start + count)]

    def state(model):
        return [*family.state("reward").values(), *model.head.state_dict().values()]

    model, _ = train(family, known)
    texts = ("x" * 6, "m" * 6)
    if measure_accuracy(model, about_letters(100, 8)).accuracy > 0.5:
        texts = texts[::-1]  # what it happens to find better by itself would be no lesson
    before, likelihood = state(model), model.likelihood
    assert list(learn_heldout(model, [], known, RewardModelConfig(), 0)) == []
    assert (
        list(learn_heldout(model, about_letters(0, 16), known, RewardModelConfig(heldout_epochs=0), 0)) == []
    )
    assert all(map(torch.equal, before, state(model)))

    config = RewardModelConfig(heldout_epochs=12)
    steps = list(learn_heldout(model, about_letters(0, 16), known, config, 0))
    assert len(steps) == 12 * (16 + 16) / config.rankings_per_step
    assert model.likelihood is likelihood  # fitted to the others; a fifth of the rankings would fit it worse
    assert measure_accuracy(model, about_letters(100, 8)).accuracy == 1.0
    assert measure_accuracy(model, rankings(16, longest_first=True, start=100)).accuracy > 0.9
