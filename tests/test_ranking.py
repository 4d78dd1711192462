"""What an order is, and what is refused."""

import itertools

import pytest

from labeling.ranking import InvalidRanking, check_ranks


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
    assert check_ranks(ranks, len(ranks)) == dense


def test_every_order_of_four_keeps_its_meaning():
    for ranks in itertools.product(range(1, 5), repeat=4):
        dense = check_ranks(list(ranks), 4)
        assert sorted(set(dense)) == list(range(1, max(dense) + 1))
        assert check_ranks(dense, 4) == dense
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
        [1, 2, None],
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
        check_ranks(ranks, 3)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
