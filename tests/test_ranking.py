"""What an order is, and what is refused."""

import itertools

import pytest

from labeling.ranking import LONGEST_COMMENT, InvalidRanking, Order, Remarks, check_order, check_skip


@pytest.mark.parametrize(
    ("ranks", "dense"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([4, 3, 2, 1], [4, 3, 2, 1]),
        ([1, 3, 3], [1, 2, 2]),
        ([2, 4, 4, 2], [1, 2, 2, 1]),
        ([3, 3, 3], [1, 1, 1]),
        ([2, 1], [2, 1]),
        ((1, 2, 2, 3), [1, 2, 2, 3]),
    ],
)
def test_ranks_are_made_dense(ranks, dense):
    assert check_order(ranks, len(ranks)) == Order(dense)


def test_every_order_of_four_keeps_its_meaning():
    for ranks in itertools.product(range(1, 5), repeat=4):
        dense = check_order(list(ranks), 4).ranks
        assert sorted(set(dense)) == list(range(1, max(dense) + 1))
        assert check_order(dense, 4) == Order(dense)
        for i, j in itertools.combinations(range(4), 2):
            assert (ranks[i] < ranks[j]) == (dense[i] < dense[j])
            assert (ranks[i] == ranks[j]) == (dense[i] == dense[j])


@pytest.mark.parametrize(
    "ranks",
    [
        [],
        [1, 2],
        [1, 2, 3, 4],
        [0, 1, 2],
        [1, 2, 4],
        [1, 2, -1],
        [1, 2, True],
        [1.0, 2, 3],
        ["1", 2, 3],
        [None, None, None],
        [1, 2, [3]],
        [1, 2, 10**30],
        "123",
        {"a": 1},
        None,
        3,
    ],
)
def test_what_is_not_an_order_of_three_is_refused_in_one_sentence(ranks):
    with pytest.raises(InvalidRanking) as caught:
        check_order(ranks, 3)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("ranks", "dense"),
    [
        ([None, 1, None, None], [2, 1, 2, 2]),
        ([3, None, 4, 3], [1, 3, 2, 1]),
        ([1, 2, 3, None], [1, 2, 3, 4]),
        ([2, None], [1, 2]),
    ],
)
def test_what_has_no_rank_is_worse_than_what_has_one_and_not_compared(ranks, dense):
    order = check_order(ranks, len(ranks))
    assert order == Order(dense, partial=True)
    given = order.as_given()
    assert [rank is None for rank in given] == [rank is None for rank in ranks]
    assert check_order(given, len(given)) == order  # brought back by undo, it says the same


def test_none_acceptable_needs_no_order_and_may_have_one():
    none = Remarks(acceptable=False)
    order = check_order([None, None, None], 3, none)
    assert order == Order([1, 1, 1], partial=True)
    assert order.as_given() == [None, None, None]
    assert check_order([2, 1, 3], 3, none) == Order([2, 1, 3])
    with pytest.raises(InvalidRanking, match="say that none is acceptable"):
        check_order([None, None, None], 3, Remarks(acceptable=True))


@pytest.mark.parametrize("ranks", [[1, 1], [1, 2, 3], [1, None, None]])
def test_a_strength_is_of_two_that_differ(ranks):
    assert check_order([2, 1], 2, Remarks(strength=3)) == Order([2, 1])
    with pytest.raises(InvalidRanking, match="one of two is better"):
        check_order(ranks, len(ranks), Remarks(strength=1))
    for strength in (-1, 4):
        with pytest.raises(InvalidRanking, match="wanted: 1"):
            check_order([1, 2], 2, Remarks(strength=strength))


def test_a_comment_has_a_limit_and_a_skip_may_have_one_only():
    for check in (check_skip, lambda remarks: check_order([1, 2], 2, remarks)):
        check(Remarks(comment="x" * LONGEST_COMMENT))
        with pytest.raises(InvalidRanking, match="half a character"):
            check(Remarks(comment="\ud800"))
        with pytest.raises(InvalidRanking, match=f"has {LONGEST_COMMENT + 1} characters"):
            check(Remarks(comment="x" * (LONGEST_COMMENT + 1)))
    for remarks in (Remarks(acceptable=False), Remarks(acceptable=True), Remarks(strength=1)):
        with pytest.raises(InvalidRanking, match="A skip says nothing"):
            check_skip(remarks)
