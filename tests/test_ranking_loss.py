"""A lesson of many rankings says of each what it says of it alone, and uses all that was said."""

import math
from dataclasses import replace

import pytest
import torch

from data.preferences import RankedResponses, weighed
from rlhf import functional as f
from rlhf.ranking_loss import Lesson

TWO = RankedResponses("p", ("a", "b"), (2, 1))
FOUR = RankedResponses("q", ("a", "b", "c", "d"), (1, 3, 1, 4))
# of TWO and one that it borrows, of FOUR and two
SCORES = torch.tensor([0.3, -0.4, 1.0, 0.2, 0.9, -2.0, 0.1, 0.7, 0.5])


def alone(ranking, scores, **settings):
    borrowed = len(scores) - len(ranking.ranks)
    return Lesson.of([ranking], [borrowed]).losses(scores, **settings).item()


@pytest.mark.parametrize("likelihood", ["pairwise", "plackett-luce"])
def test_rankings_of_different_sizes_are_learned_together_as_alone(likelihood):
    said = [replace(TWO, strength=2, weight=0.5), replace(FOUR, acceptable=False, partial=True)]
    settings = {"likelihood": likelihood, "margin": 1.0, "acceptance": 0.3, "borrowed": 0.5}
    together = Lesson.of(said, [1, 2]).losses(SCORES, **settings)
    each = [alone(said[0], SCORES[:3], **settings), alone(said[1], SCORES[3:], **settings)]
    assert together.tolist() == pytest.approx(each)


def test_the_likelihood_is_the_one_asked_for_and_knows_what_was_not_compared():
    mask = torch.ones(1, 4, dtype=torch.bool)
    for likelihood, loss in (("pairwise", f.pairwise_loss), ("plackett-luce", f.plackett_luce_loss)):
        for partial in (False, True):
            best = replace(FOUR, ranks=(2, 2, 1, 2), partial=partial)
            expected = loss(SCORES[None, :4], torch.tensor([best.ranks]), mask, torch.tensor([partial]))
            assert alone(best, SCORES[:4], likelihood=likelihood) == pytest.approx(expected.item())


@pytest.mark.parametrize(("strength", "by"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)])
def test_who_is_said_to_be_much_better_must_win_by_more(strength, by):
    lead = float(SCORES[1] - SCORES[0])
    found = alone(replace(TWO, strength=strength), SCORES[:2], margin=1.5)
    assert found == pytest.approx(math.log(1 + math.exp(-(lead - by))))
    tied = replace(TWO, ranks=(1, 1), strength=strength)  # nobody wins
    assert alone(tied, SCORES[:2], margin=1.5) == pytest.approx(alone(tied, SCORES[:2]))


def test_borrowed_responses_rival_those_ranked_first():
    extra = alone(TWO, SCORES[:3], borrowed=0.5) - alone(TWO, SCORES[:2])
    assert extra == pytest.approx(0.5 * math.log(1 + math.exp(1.0 + 0.4)), abs=1e-6)


def test_where_nobody_was_asked_acceptance_says_nothing():
    said = [TWO, replace(TWO, acceptable=True), replace(TWO, acceptable=False)]
    lesson = Lesson.of(said, [0, 0, 0])
    scores = SCORES[:2].repeat(3)
    extra = lesson.losses(scores, acceptance=1.0) - lesson.losses(scores)
    none = (math.log(1 + math.exp(0.3)) + math.log(1 + math.exp(-0.4))) / 2
    assert extra.tolist() == pytest.approx([0, math.log(1 + math.exp(0.4)), none], abs=1e-6)


def test_an_annotators_word_counts_as_much_as_it_weighs_against_others():
    said = weighed([replace(TWO, weight=3.0), replace(TWO, weight=1.0)])
    assert [r.weight for r in said] == [1.5, 0.5]
    losses = Lesson.of(said, [0, 0]).losses(SCORES[:2].repeat(2)).tolist()
    assert losses[0] == pytest.approx(3 * losses[1])
    assert weighed([]) == []


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_cannot_be_said_is_refused(wrong):
    with pytest.raises(ValueError, match=r"weight is .* wanted: a number above 0"):
        replace(TWO, weight=wrong)
    with pytest.raises(ValueError, match="strength is 4; wanted"):
        replace(TWO, strength=4)


def test_what_nobody_finds_acceptable_is_not_learned_from():
    assert FOUR.chosen() == ["a", "c"]
    assert replace(FOUR, acceptable=True).chosen() == ["a", "c"]
    assert replace(FOUR, acceptable=False).chosen() == []
