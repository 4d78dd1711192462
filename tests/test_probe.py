"""The linear probe: finds what is there, keeps out of what is not, means the same for any width."""

import pytest
import torch

from rlhf.functional import ranking_losses
from rlhf.probe import RIDGE, LikelihoodTerm, fit_probe


def test_the_likelihood_is_the_sum_and_the_least_and_each_token_gets_its_part():
    term = LikelihoodTerm(torch.tensor([2.0, 3.0]), torch.tensor([-4.0, -1.0]), torch.tensor([4.0, 1.0]))
    logprobs = torch.tensor([[-1.0, -2.0, -1.0], [-4.0, 0.0, 0.0]])
    assert term(logprobs).tolist() == [2 * 0 + 3 * -1, 2 * 0 + 3 * -3]
    parts = term.by_token(logprobs)
    assert parts.tolist() == [[-0.5, -2 * 0.5 - 2 * 3, -0.5], [-4 * 0.5 - 4 * 3, 0, 0]]
    constant = (parts.sum(1) - term(logprobs)).tolist()
    assert constant[0] == pytest.approx(constant[1])


def made_rankings(count, hidden, *, liked, seed=0):
    """Random responses, ranked by `liked(states, logprobs)`: -> log-probabilities, states, ranks."""
    draw = torch.Generator().manual_seed(seed)
    logprobs = [-3 * torch.rand(4, 6, generator=draw) for _ in range(count)]
    states = [torch.randn(4, hidden, generator=draw) + 5 for _ in range(count)]
    scores = [liked(own, seen) for own, seen in zip(states, logprobs, strict=True)]
    ranks = [(1 + (own.unsqueeze(0) > own.unsqueeze(1)).sum(1)).tolist() for own in scores]
    return logprobs, states, ranks


def probe(logprobs, states, ranks):
    return fit_probe(logprobs, torch.cat(states), lambda scores: ranking_losses(scores, ranks))


def pairs_right(scores, ranks):
    pairs = [(i, j) for i in range(4) for j in range(4)]
    right = [s[i] > s[j] for s, r in zip(scores, ranks, strict=True) for i, j in pairs if r[i] < r[j]]
    return sum(map(float, right)) / len(right)


def test_a_direction_that_the_states_hold_becomes_the_head():
    def liked(states, _):
        return states[:, 3] - 2 * states[:, 1]

    term, weights = probe(*made_rankings(60, 16, liked=liked))
    logprobs, states, ranks = made_rankings(60, 16, liked=liked, seed=1)
    assert (
        pairs_right([own @ weights + term(seen) for own, seen in zip(states, logprobs, strict=True)], ranks)
        > 0.9
    )
    assert weights.abs().argsort(descending=True)[:2].tolist() == [1, 3]


def test_the_same_taste_found_in_wider_or_larger_states_scores_the_same():
    logprobs, states, ranks = made_rankings(40, 16, liked=lambda states, _: states[:, 3])
    term, weights = probe(logprobs, states, ranks)
    expected = states[0] @ weights + term(logprobs[0])
    for other in ([10 * s for s in states], [torch.cat([s, s, s], dim=1) for s in states]):
        again, found = probe(logprobs, other, ranks)
        scores = other[0] @ found + again(logprobs[0])
        assert torch.allclose(scores - scores.mean(), expected - expected.mean(), atol=0.02)


def test_where_there_is_nothing_to_find_nothing_is_learned():
    logprobs, states, _ = made_rankings(40, 16, liked=lambda states, _: states[:, 3])
    term, weights = probe(logprobs, states, [(1, 1, 1, 1)] * 40)
    assert max(float(weights.abs().max()), float(term.weights.abs().max())) < 1e-3
    logprobs, states = [torch.full((4, 6), -1.0)] * 40, [torch.ones(4, 16)] * 40  # all the same
    term, weights = probe(logprobs, states, [(1, 2, 3, 4)] * 40)
    assert torch.cat([weights, term.weights]).isfinite().all()


def test_the_probe_is_the_minimum_of_its_loss():
    logprobs, states, ranks = made_rankings(30, 8, liked=lambda s, seen: s[:, 0] + seen.sum(1))
    term, weights = probe(logprobs, states, ranks)
    hidden = torch.cat(states)
    spread = (hidden - hidden.mean(0)).pow(2).sum(1).mean().sqrt()

    def loss(term_weights, head):
        moved = LikelihoodTerm(term_weights, term.mean, term.std)
        scores = torch.cat([s @ head + moved(own) for s, own in zip(states, logprobs, strict=True)])
        ridge = (term_weights**2).sum() + ((head * spread) ** 2).sum()
        return float(ranking_losses(scores, ranks).mean() + RIDGE * ridge)

    least = loss(term.weights, weights)
    draw = torch.Generator().manual_seed(2)
    for _ in range(20):
        near = term.weights + 0.1 * torch.randn(2, generator=draw)
        assert least < loss(near, weights + 0.1 / spread * torch.randn(8, generator=draw))
