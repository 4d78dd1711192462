"""Win rates against numbers worked out by hand, and length control against planted effects."""

import json
import math

import numpy as np
import pytest

from rlhf import evaluate


def test_ties_count_half():
    rate = evaluate.win_rate([0, 0, 0, 5], [1, 1, 0, 1])
    assert rate.win_rate == (1 + 1 + 0.5 + 0) / 4
    assert rate.n == 4


def test_wilson_against_published_numbers():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        got = evaluate.accuracy_interval(successes, n)
        assert got == pytest.approx((low, high), abs=5e-5)
    assert evaluate.accuracy_interval(20, 20)[1] == 1.0
    assert evaluate.accuracy_interval(20, 20)[0] == pytest.approx(1 - 0.1611, abs=5e-5)


def test_interval_covers_the_truth_about_95_times_in_100_with_and_without_ties():
    rng = np.random.default_rng(0)
    for tie_share, least in [(0.0, 0.93), (0.4, 0.97)]:
        win_share = 0.7 - tie_share / 2
        draws = rng.choice(
            [1.0, 0.5, 0.0], size=(3000, 150), p=[win_share, tie_share, 1 - win_share - tie_share]
        )
        covered = 0
        for row in draws:
            rate = evaluate.win_rate(np.full(150, 0.5), row)
            covered += rate.low <= 0.7 <= rate.high
        assert covered / len(draws) >= least
    # Without ties the interval is not simply huge either.
    rate = evaluate.win_rate([0] * 200, [1] * 150 + [-1] * 50)
    assert rate.high - rate.low < 0.125


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ([], [], "at least one prompt"),
        ([1, 2], [1], "one score per prompt"),
        ([1, math.nan], [1, 2], "not a number"),
    ],
)
def test_bad_scores_are_one_sentence(before, after, says):
    with pytest.raises(ValueError, match=says):
        evaluate.win_rate(before, after)


def planted(n, theta, phi, shift, seed):
    """Scores and lengths where a win depends on theta and on length by phi, `after` longer by `shift`."""
    rng = np.random.default_rng(seed)
    before = rng.integers(10, 60, n).astype(float)
    after = before + rng.normal(shift, 10, n).round()
    spread = (after - before).std()
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh((after - before) / spread))))
    won = rng.random(n) < chance
    return np.zeros(n), np.where(won, 1.0, -1.0), before, after


def test_length_control_takes_away_what_only_length_won():
    scores = planted(4000, theta=0.0, phi=3.0, shift=12, seed=1)
    assert evaluate.win_rate(*scores[:2]).win_rate > 0.75
    controlled = evaluate.length_controlled_win_rate(*scores)
    assert controlled.win_rate == pytest.approx(0.5, abs=0.05)
    assert controlled.low < 0.5 < controlled.high
    assert not controlled.extrapolated


def test_length_control_keeps_what_was_won_otherwise():
    scores = planted(4000, theta=1.0, phi=0.0, shift=12, seed=2)
    controlled = evaluate.length_controlled_win_rate(*scores)
    assert controlled.win_rate == pytest.approx(1 / (1 + math.exp(-1)), abs=0.04)
    # Shorter and better: control must give back what the shortness cost.
    cost = planted(4000, theta=1.0, phi=2.0, shift=-12, seed=3)
    plain, fair = evaluate.win_rate(*cost[:2]), evaluate.length_controlled_win_rate(*cost)
    assert plain.win_rate < 0.5 < 0.69 < fair.win_rate < 0.78


def test_length_control_interval_covers():
    covered = 0
    for seed in range(200):
        controlled = evaluate.length_controlled_win_rate(*planted(200, 0.8, 1.5, 5, seed))
        covered += controlled.low <= 1 / (1 + math.exp(-0.8)) <= controlled.high
    assert covered / 200 >= 0.9


def test_length_control_at_the_edges():
    # Everything won, lengths on both sides: finite, near one.
    every = evaluate.length_controlled_win_rate([0] * 50, [1] * 50, [10] * 50, [5, 15] * 25)
    assert 0.97 < every.win_rate <= 1
    assert every.low < every.win_rate
    # Longer always wins, without exception: separated, still finite and still one half.
    lengths = np.array([5.0, 15.0] * 25)
    split = evaluate.length_controlled_win_rate([0] * 50, lengths - 10, [10] * 50, lengths)
    assert split.win_rate == pytest.approx(0.5, abs=0.01)
    # Always equally long: the plain win rate. Always longer by the same: nothing can be said.
    assert evaluate.length_controlled_win_rate([0, 0], [1, 0], [3, 3], [3, 3]).win_rate == 0.75
    assert evaluate.length_controlled_win_rate([0, 0], [1, 0], [3, 3], [5, 5]) is None
    # Always longer, by various amounts: an answer, marked as reaching beyond what was seen.
    assert evaluate.length_controlled_win_rate([0, 0, 0], [1, 0, 1], [3, 3, 3], [5, 6, 9]).extrapolated
    assert evaluate.length_controlled_win_rate([0], [1], [3], [9]) is None


def test_compare_gives_every_number():
    prompts = [f"prompt {i}" for i in range(40)]
    again = iter(range(40))
    comparison = evaluate.compare(
        sample_before=lambda ps: ["one two" for _ in ps],
        sample_after=lambda ps: ["one two three please" if i % 4 else "one" for i, _ in enumerate(ps)],
        sample_before_again=lambda ps: ["one two" if next(again) % 2 else "one two three" for _ in ps],
        scorer=lambda prompt, response: len(response.split()),
        prompts=prompts,
        kl=1.25,
        labels=lambda prompt, response: {
            "polite": "please" in response,
            **({"first": True} if prompt == "prompt 0" else {}),
        },
    )
    assert comparison.win_rate == 0.75
    assert comparison.self_win_rate == 0.75  # half ties, half wins
    assert (comparison.length_before, comparison.length_after) == (2, 0.75 * 4 + 0.25)
    assert comparison.behaviour_before == {"first": 1.0, "polite": 0.0}
    assert comparison.behaviour_after == {"first": 1.0, "polite": 0.75}
    assert comparison.win_rate_low < 0.75 < comparison.win_rate_high
    assert (comparison.kl, comparison.n, comparison.ties, comparison.length_unit) == (1.25, 40, 0, "words")
    assert comparison.length_controlled_win_rate == pytest.approx(0.5, abs=0.2)
    as_json = json.loads(json.dumps(comparison.to_dict()))
    assert as_json["win_rate"] == 0.75
    assert as_json["self_win_rate_low"] < 0.75


def test_an_infinite_score_counts_as_a_loss_and_is_no_number_in_json():
    def score(prompt, response):
        return -math.inf if response == "broken" else 1.0

    comparison = evaluate.compare(
        lambda ps: ["broken" for _ in ps], lambda ps: ["fine" for _ in ps], lambda ps: ["broken" for _ in ps],
        score, ["a", "b"],
    )  # fmt: skip
    assert (comparison.win_rate, comparison.self_win_rate) == (1.0, 0.5)
    assert (comparison.score_before, comparison.score_after) == (None, 1.0)
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_compare_refuses_what_it_cannot_judge():
    def echo(prompts):
        return list(prompts)

    def run(prompts, sampler=echo):
        return evaluate.compare(echo, sampler, echo, lambda p, r: 0.0, prompts)

    with pytest.raises(ValueError, match="no prompt"):
        run([])
    with pytest.raises(ValueError, match="twice"):
        run(["a", "a"])
    with pytest.raises(ValueError, match="2 prompts went in and 1 responses came out"):
        run(["a", "b"], sampler=lambda prompts: ["only one"])


def test_length_can_be_counted_in_tokens():
    comparison = evaluate.compare(
        lambda ps: ["ab"],
        lambda ps: ["abcd"],
        lambda ps: ["ab"],
        lambda p, r: 0.0,
        ["p"],
        length=len,
        length_unit="characters",
    )
    assert (comparison.length_before, comparison.length_after, comparison.length_unit) == (2, 4, "characters")
    assert comparison.win_rate == comparison.self_win_rate == 0.5
    assert comparison.length_controlled_win_rate is None
