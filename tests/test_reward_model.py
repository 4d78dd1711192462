import pytest
import torch

from data.preferences import RankedResponses, pairs, split_by_prompt
from rlhf.models import load_family
from rlhf.reward_model import RewardModel, RewardModelConfig, measure_accuracy, train_reward_model


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
    assert losses[-1] < 0.5 < losses[0]
    heldout = measure_accuracy(model, rankings(16, longest_first=longest_first, start=100))
    assert heldout.accuracy > 0.9
    assert heldout.pairs == 48
    assert heldout.longer_wins == (1.0 if longest_first else 0.0)
    assert measure_accuracy(model, rankings(16, longest_first=not longest_first, start=100)).accuracy < 0.1


@pytest.fixture(scope="module")
def trained(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    return train(family, rankings(24, longest_first=True))[0]


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


def test_the_split_shares_no_prompt_and_never_changes():
    data = [RankedResponses(f"p{i % 30}", ("a", "b"), (1, 2)) for i in range(90)]
    train_half, heldout = split_by_prompt(data, 0.2)
    assert len(train_half) + len(heldout) == 90
    assert not {r.prompt for r in train_half} & {r.prompt for r in heldout}
    assert len({r.prompt for r in heldout}) == 6
    assert split_by_prompt(list(reversed(data)), 0.2)[1] == list(reversed(heldout))


def test_pairs_leave_ties_out():
    ranking = RankedResponses("p", ("a", "b", "c"), (1, 2, 2))
    assert list(pairs(ranking)) == [("a", "b"), ("a", "c")]


def test_a_ranking_without_a_rank_for_each_response_is_refused():
    with pytest.raises(ValueError, match="got 2 responses and 1 ranks"):
        RankedResponses("p", ("a", "b"), (1,))
