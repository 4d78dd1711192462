"""The linear probe: finds what is there, keeps out of what is not, means the same for any width."""

import pytest
import torch

from rlhf.functional import pairwise_loss
from rlhf.pooled import PooledHead
from rlhf.probe import RIDGE, LikelihoodTerm, fit_probe


def test_the_likelihood_is_the_sum_and_the_least_and_each_token_gets_its_part():
    weights = torch.tensor([[2.0, 0.0], [3.0, 0.0]])  # of two heads, one of which does not heed it
    term = LikelihoodTerm(2 * weights, torch.tensor([-4.0, -1.0]), torch.tensor([4.0, 1.0]))
    logprobs = torch.tensor([[-1.0, -2.0, -1.0], [-4.0, 0.0, 0.0]])
    assert term(logprobs).tolist() == [[4 * 0 + 6 * -1, 0], [4 * 0 + 6 * -3, 0]]
    parts = term.by_token(logprobs)
    assert parts.tolist() == [[-0.5, -2 * 0.5 - 2 * 3, -0.5], [-4 * 0.5 - 4 * 3, 0, 0]]
    constant = (parts.sum(1) - term(logprobs).mean(1)).tolist()
    assert constant[0] == pytest.approx(constant[1])


def made_rankings(count, hidden, *, liked, seed=0):
    """Random responses, ranked by `liked(pooled, logprobs)`: -> log-probabilities, pooled states, ranks."""
    draw = torch.Generator().manual_seed(seed)
    logprobs = [-3 * torch.rand(4, 6, generator=draw) for _ in range(count)]
    pooled = [torch.randn(4, 3 * hidden, generator=draw) + 5 for _ in range(count)]
    scores = [liked(own, seen) for own, seen in zip(pooled, logprobs, strict=True)]
    ranks = [(1 + (own.unsqueeze(0) > own.unsqueeze(1)).sum(1)).tolist() for own in scores]
    return logprobs, pooled, ranks


def losses_of(ranks):
    def losses(scores):
        own = torch.as_tensor(ranks)
        return pairwise_loss(scores.view(own.shape), own, torch.ones_like(own, dtype=torch.bool))

    return losses


def probe(logprobs, pooled, ranks):
    """-> the likelihood's part, and the head's."""
    head = PooledHead(pooled[0].shape[1] // 3)
    term = fit_probe(head, logprobs, torch.cat(pooled), losses_of(ranks))
    return term, head.requires_grad_(False)


def pairs_right(scores, ranks):
    pairs = [(i, j) for i in range(4) for j in range(4)]
    right = [s[i] > s[j] for s, r in zip(scores, ranks, strict=True) for i, j in pairs if r[i] < r[j]]
    return sum(map(float, right)) / len(right)


def test_a_direction_that_the_states_hold_becomes_the_head():
    def liked(states, _):
        return states[:, 3] - 2 * states[:, 1]

    term, head = probe(*made_rankings(60, 6, liked=liked))
    logprobs, pooled, ranks = made_rankings(60, 6, liked=liked, seed=1)
    scores = [head(own) + term(seen) for own, seen in zip(pooled, logprobs, strict=True)]
    assert pairs_right(scores, ranks) > 0.9
    assert head.linear.weight[0].abs().argsort(descending=True)[:2].tolist() == [1, 3]


def test_the_same_taste_found_in_wider_or_larger_states_scores_the_same():
    logprobs, pooled, ranks = made_rankings(40, 16, liked=lambda pooled, _: pooled[:, 3])
    term, head = probe(logprobs, pooled, ranks)
    expected = head(pooled[0]) + term(logprobs[0])
    few_are_huge = torch.ones(48).index_fill(0, torch.tensor([7, 30]), 1000.0)
    for change in (
        lambda own: 10 * own,
        lambda own: torch.cat([own, own, own], dim=1),
        lambda own: few_are_huge * own,
    ):
        again, found = probe(logprobs, [change(own) for own in pooled], ranks)
        scores = found(change(pooled[0])) + again(logprobs[0])
        assert torch.allclose(scores - scores.mean(), expected - expected.mean(), atol=0.05)


def test_where_there_is_nothing_to_find_nothing_is_learned():
    logprobs, pooled, _ = made_rankings(40, 16, liked=lambda pooled, _: pooled[:, 3])
    term, head = probe(logprobs, pooled, [(1, 1, 1, 1)] * 40)
    assert max(float(head.linear.weight.abs().max()), float(term.weights.abs().max())) < 1e-3
    logprobs, pooled = [torch.full((4, 6), -1.0)] * 40, [torch.ones(4, 48)] * 40  # all the same
    term, head = probe(logprobs, pooled, [(1, 2, 3, 4)] * 40)
    assert torch.cat([head.linear.weight[0], term.weights[:, 0]]).isfinite().all()


def test_the_probe_is_the_minimum_of_its_loss():
    logprobs, pooled, ranks = made_rankings(30, 8, liked=lambda own, seen: own[:, 0] + seen.sum(1))
    term, head = probe(logprobs, pooled, ranks)

    def loss(term_weights, weights):
        moved = LikelihoodTerm(term_weights, term.mean, term.std)
        head.linear.weight.copy_(weights)
        scores = torch.cat([head(own) + moved(seen) for own, seen in zip(pooled, logprobs, strict=True)])
        ridge = (term_weights**2).sum() + (weights**2).sum()
        return float(losses_of(ranks)(scores).mean() + RIDGE * ridge)

    found = head.linear.weight.clone()
    least = loss(term.weights, found)
    draw = torch.Generator().manual_seed(2)
    for _ in range(20):
        near = term.weights + 0.1 * torch.randn(2, 1, generator=draw)
        assert least < loss(near, found + 0.1 * torch.randn(1, 24, generator=draw))


def test_several_heads_are_fitted_as_each_alone():
    """Each with rankings that it heeds more or less than others do."""
    logprobs, pooled, ranks = made_rankings(30, 8, liked=lambda own, seen: own[:, 0] + seen.sum(1))
    shares = torch.rand(30, 2, generator=torch.Generator().manual_seed(3)) * 2

    def fitted(columns):
        def losses(scores):
            each = [losses_of(ranks)(own) for own in scores.unbind(1)]
            return (torch.stack(each, 1) * shares[:, columns]).mean(1)

        head = PooledHead(8, len(columns))
        return fit_probe(head, logprobs, torch.cat(pooled), losses).weights, head.linear.weight.detach()

    both, first, second = fitted([0, 1]), fitted([0]), fitted([1])
    assert torch.allclose(both[0], torch.cat([first[0], second[0]], 1), atol=2e-3)
    assert torch.allclose(both[1], torch.cat([first[1], second[1]]), atol=2e-3)
    assert (both[1][0] - both[1][1]).abs().max() > 0.02
