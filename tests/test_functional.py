"""Every function against numbers worked by hand, or a slow and obvious version in float64."""

import itertools
import math

import pytest
import torch

from rlhf import functional as f


def float64(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_masked_mean_takes_only_what_counts():
    values = float64([1, 2, 100], [3, 100, 100])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert f.masked_mean(values, mask) == 2.0
    assert f.masked_mean(values, torch.zeros_like(mask)) == 0.0


def test_masked_whiten_gives_mean_0_variance_1_and_zero_padding():
    torch.manual_seed(0)
    values = torch.randn(4, 7, dtype=torch.float64) * 5 + 3
    mask = torch.rand(4, 7) > 0.3
    white = f.masked_whiten(values, mask)
    counted = white[mask]
    assert counted.mean().abs() < 1e-9
    assert counted.var(unbiased=False) == pytest.approx(1, abs=1e-6)
    assert (white[~mask] == 0).all()
    assert torch.isfinite(f.masked_whiten(float64([5.0]), torch.tensor([[True]]))).all()


def test_logprobs_are_of_the_tempered_distribution():
    logits = float64([[0.0, math.log(3.0)]]).float()
    tokens = torch.tensor([[1]])
    assert f.logprobs_of(logits, tokens, 1.0).item() == pytest.approx(math.log(3 / 4), abs=1e-6)
    # temperature 0.5 squares the odds: 9 to 1
    assert f.logprobs_of(logits, tokens, 0.5).item() == pytest.approx(math.log(9 / 10), abs=1e-6)


def test_both_kl_estimators_average_to_the_kl_and_k3_is_never_negative():
    p, q = float64(0.7, 0.2, 0.1), float64(0.3, 0.3, 0.4)
    exact = (p * (p / q).log()).sum()
    k1, k3 = f.kl_k1(p.log(), q.log()), f.kl_k3(p.log(), q.log())
    assert (p * k1).sum() == pytest.approx(exact.item(), abs=1e-12)
    assert (p * k3).sum() == pytest.approx(exact.item(), abs=1e-12)
    assert (k3 >= 0).all()
    assert (k1 < 0).any()  # of one token; not on average


def test_one_outlier_triples_k3_and_hardly_moves_k1():
    logprobs = torch.full((64, 10), -1.0)
    ref_logprobs = logprobs - 0.3  # 3 nats a response
    ref_logprobs[0, 0] = logprobs[0, 0] + 6.0
    assert f.kl_k3(logprobs, ref_logprobs).sum(1).mean() > 6.0
    assert f.kl_k1(logprobs, ref_logprobs).sum(1).mean() == pytest.approx(3.0, abs=0.2)


def test_token_rewards_put_the_score_on_the_last_token():
    kl = float64([1, 2, 3, 9], [1, 9, 9, 9])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    rewards = f.token_rewards(float64(10, 20).flatten(), kl, mask, 0.5)
    assert torch.equal(rewards, float64([-0.5, -1, 8.5, 0], [19.5, 0, 0, 0]))


def slow_gae(rewards, values, length, gamma, lam):
    """Equation 16 as it is written: a sum over all later temporal differences."""
    values = [*values[:length], 0.0]
    deltas = [rewards[t] + gamma * values[t + 1] - values[t] for t in range(length)]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length)) for t in range(length)]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0)])
def test_gae_is_the_sum_of_equation_16(gamma, lam):
    torch.manual_seed(1)
    rewards, values = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    lengths = [6, 4, 1]
    mask = torch.arange(6) < torch.tensor(lengths).unsqueeze(1)
    advantages, returns = f.gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(lengths):
        expected = slow_gae(rewards[row].tolist(), values[row].tolist(), length, gamma, lam)
        assert advantages[row, :length].tolist() == pytest.approx(expected, abs=1e-12)
        assert (advantages[row, length:] == 0).all()
    assert torch.allclose(returns, (advantages + values) * mask)


def test_gae_does_not_bootstrap_from_padding():
    """The wrong way, a value taken from behind the end, must give another number."""
    rewards, values = float64([0.0, 1.0, 0.0]), float64([0.0, 0.0, 7.0])
    mask = torch.tensor([[True, True, False]])
    right, _ = f.gae(rewards, values, mask, 1.0, 0.95)
    wrong, _ = f.gae(rewards, values, torch.ones_like(mask), 1.0, 0.95)
    assert right[0, 1] == 1.0
    assert wrong[0, 1] != 1.0


def test_policy_loss_clips_only_the_profitable_side():
    old = torch.zeros(1, 4)
    new = torch.log(float64([1.5, 0.5, 1.5, 0.5])).float()
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    loss, watch = f.policy_loss(new, old, advantages, torch.ones(1, 4, dtype=torch.bool), 0.2)
    # worked: max(-1.5, -1.2), max(-.5, -.8), max(1.5, 1.2), max(.5, .8)
    assert loss.item() == pytest.approx((-1.2 - 0.5 + 1.5 + 0.8) / 4, abs=1e-6)
    assert watch["policy/clipfrac"].item() == 0.5
    assert watch["policy/ratio"].item() == pytest.approx(1.0, abs=1e-6)


def test_value_loss_takes_the_worse_of_clipped_and_unclipped():
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss = f.value_loss(float64([1, 0.1]), float64([0, 0]), float64([1, 1]), mask, 0.2)
    # first: unclipped 0, clipped (0.2 - 1)^2 = 0.64; second inside the clip: (0.1 - 1)^2 = 0.81
    assert loss == pytest.approx(0.5 * (0.64 + 0.81) / 2)


def test_imitation_weighs_a_response_by_how_much_it_beats_the_policy():
    logprobs = float64([-1.0, -2.0, -9.0], [-4.0, -1.0, -3.0]).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    values = float64(0.5, 2.0).requires_grad_()
    loss = f.imitation_loss(logprobs, float64(2.0, 1.5), values, mask)
    assert loss.item() == pytest.approx(1.5 * (1 + 2) / 5)  # the second is no better; five tokens count
    loss.backward()
    assert torch.allclose(logprobs.grad, float64([-0.3, -0.3, 0.0], [0.0, 0.0, 0.0]))
    assert values.grad is None


def test_explained_variance():
    returns, mask = float64([1, 2, 3, 4]), torch.ones(1, 4, dtype=torch.bool)
    assert f.explained_variance(returns + 7, returns, mask) == pytest.approx(1)
    assert f.explained_variance(torch.zeros_like(returns), returns, mask) == pytest.approx(0)
    assert f.explained_variance(-returns, returns, mask) < 0


CASES = [  # scores, ranks, whether those ranked last are not compared
    ([0.3, -1.0, 2.0, 0.1], [2, 4, 1, 2], False),
    ([1.0, 0.0], [1, 2], False),
    ([0.5, 0.2, 0.1], [1, 1, 1], False),
    ([0.5, 0.2, 0.1, -0.7], [2, 1, 3, 3], True),
    ([0.5, 0.2, 0.1, -0.7], [2, 1, 3, 3], False),
    ([0.5, 0.2, -0.1], [2, 1, 2], True),  # "this one is best", no more
    ([0.5, 0.2], [1, 1], True),  # nothing was said
    ([0.3, -1.0, 2.0], [3, 2, 1], True),  # but one is last: all was said
]


def padded_cases():
    scores = torch.full((len(CASES), 4), 7.0, dtype=torch.float64)
    ranks, mask = torch.zeros(len(CASES), 4, dtype=torch.long), torch.zeros(len(CASES), 4, dtype=torch.bool)
    for row, (own, ranked, _) in enumerate(CASES):
        scores[row, : len(own)] = torch.tensor(own, dtype=torch.float64)
        ranks[row, : len(own)] = torch.tensor(ranked)
        mask[row, : len(own)] = True
    return scores, ranks, mask, torch.tensor([partial for *_, partial in CASES])


def slow_pairwise(scores, ranks, partial):
    losses = []
    for i, j in itertools.combinations(range(len(scores)), 2):
        p = 1 / (1 + math.exp(scores[j] - scores[i]))
        if ranks[i] != ranks[j]:
            losses.append(-math.log(p if ranks[i] < ranks[j] else 1 - p))
        elif not (partial and ranks[i] == max(ranks)):
            losses.append(-0.5 * math.log(p) - 0.5 * math.log(1 - p))
    return sum(losses) / len(losses) if losses else 0.0


def probability(scores, order):
    """Of choosing in this order."""
    found, left = 1.0, list(range(len(scores)))
    for i in order:
        found *= math.exp(scores[i]) / sum(math.exp(scores[j]) for j in left)
        left.remove(i)
    return found


def slow_plackett_luce(scores, ranks, partial):
    """A tie: the mean over its orders. Not compared: the probability of all their orders together."""
    last = [i for i in range(len(ranks)) if partial and ranks[i] == max(ranks)]
    compared = [i for i in range(len(ranks)) if i not in last]
    orders = [o for o in itertools.permutations(compared) if sorted(o, key=lambda i: ranks[i]) == list(o)]
    together = [
        sum(probability(scores, [*o, *rest]) for rest in itertools.permutations(last)) for o in orders
    ]
    losses = [-math.log(p) for p in together]
    choices = len(compared) if last else len(ranks) - 1
    choices = min(choices, len(ranks) - 1)
    return sum(losses) / len(losses) / max(choices, 1)


@pytest.mark.parametrize(
    ("quick", "slow"), [(f.pairwise_loss, slow_pairwise), (f.plackett_luce_loss, slow_plackett_luce)]
)
def test_the_likelihood_of_rankings_against_the_obvious_version(quick, slow):
    expected = [slow(*case) for case in CASES]
    assert quick(*padded_cases()).tolist() == pytest.approx(expected, abs=1e-12)


def test_of_two_responses_both_likelihoods_say_the_same():
    scores, ranks = float64([0.3, -1.2], [0.3, -1.2], [0.3, -1.2]), torch.tensor([[1, 2], [2, 1], [1, 1]])
    mask = torch.ones(3, 2, dtype=torch.bool)
    assert torch.allclose(f.pairwise_loss(scores, ranks, mask), f.plackett_luce_loss(scores, ranks, mask))


@pytest.mark.parametrize("loss", [f.pairwise_loss, f.plackett_luce_loss])
def test_a_ranking_pulls_the_better_up_and_ties_together(loss):
    scores = torch.tensor([[0.0, 0.0, 1.0, -1.0]], requires_grad=True)
    mask = torch.ones(1, 4, dtype=torch.bool)
    loss(scores, torch.tensor([[1, 2, 3, 3]]), mask).sum().backward()
    gradient = scores.grad[0]
    assert gradient[0] < 0  # ranked first: rising
    assert gradient[2] > gradient[3]  # tied but apart: the higher falls faster
    tied = torch.zeros(1, 4, requires_grad=True)
    loss(tied, torch.ones(1, 4, dtype=torch.long), mask).sum().backward()
    assert tied.grad.abs().max() < 1e-7  # equal and tied: nothing to learn


@pytest.mark.parametrize("loss", [f.pairwise_loss, f.plackett_luce_loss])
def test_gradients_of_rankings_are_the_numerical_ones_and_none_reaches_padding(loss):
    scores, ranks, mask, partial = padded_cases()
    scores.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda s: loss(s, ranks, mask, partial), (scores,))
    loss(scores, ranks, mask, partial).sum().backward()
    assert scores.grad[~mask].eq(0).all()
    assert scores.grad.isfinite().all()


def test_acceptance_is_logistic_about_zero_for_the_first_or_for_all():
    scores, mask = float64([2.0, -1.0, 9.0], [2.0, -1.0, 9.0]), torch.tensor([[True, True, False]] * 2)
    first = torch.tensor([[True, False, False]] * 2)
    found = f.acceptance_loss(scores, first, mask, torch.tensor([True, False])).tolist()
    none = (math.log(1 + math.exp(2)) + math.log(1 + math.exp(-1))) / 2
    assert found == pytest.approx([math.log(1 + math.exp(-2)), none])


def test_borrowed_responses_are_to_lose_against_those_ranked_first():
    scores, first = float64([1.0, 0.5, 3.0], [1.0, 0.5, 3.0]), torch.tensor([[True, False, True]] * 2)
    borrowed, there = float64([2.0, 9.0], [9.0, 9.0]), torch.tensor([[True, False], [False, False]])
    found = f.borrowed_loss(scores, first, borrowed, there).tolist()
    assert found == pytest.approx([(math.log(1 + math.e) + math.log(1 + math.exp(-1))) / 2, 0])
