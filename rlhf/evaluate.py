"""Did the policy become what was preferred? Win rates with intervals, length, and what moved.

Everything here is arithmetic on scores and texts: numpy and the standard library, no model, no database.
`compare` takes samplers (prompts -> responses), so a notebook can use it with any model at all.

A win rate alone is easy to fool, so three more numbers always stand beside it:

- an interval, because 200 prompts are few;
- the reference against itself, sampled again: this should be one half, and shows what luck looks like;
- the length-controlled win rate: what would be left if both responses were equally long.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % of a normal distribution

Sampler = Callable[[Sequence[str]], Sequence[str]]
Scorer = Callable[[str, str], float]
Labels = Callable[[str, str], dict[str, bool]]


@dataclass(frozen=True)
class WinRate:
    """How often the later response was better, a tie counting half, with a 95 % interval."""

    win_rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class LengthControlled(WinRate):
    """A win rate at equal length. `extrapolated`: one side was longer in every single pair."""

    extrapolated: bool = False


@dataclass(frozen=True)
class Comparison:
    """One policy against another on the same prompts. The word `before` is the one it is compared with."""

    win_rate: float
    win_rate_low: float
    win_rate_high: float
    n: int
    kl: float | None
    length_before: float
    length_after: float
    length_unit: str
    length_controlled_win_rate: float | None
    length_controlled_win_rate_low: float | None
    length_controlled_win_rate_high: float | None
    length_controlled_extrapolated: bool | None
    self_win_rate: float
    self_win_rate_low: float
    self_win_rate_high: float
    score_before: float | None  # None when a scorer's number is infinite
    score_after: float | None
    ties: int
    behaviour_before: dict[str, float]
    behaviour_after: dict[str, float]

    def to_dict(self) -> dict:
        """Plain JSON types, every field by its own name."""
        return asdict(self)


def accuracy_interval(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share of `n` (Wilson 1927, JASA 22:209-212).

    Preferred to mean +- 2 standard errors because it stays inside 0..1 and keeps a width when all
    (or none) of a small sample succeeded. `successes` may be fractional: see `win_rate`.
    """
    if n < 1:
        raise ValueError("An interval needs at least one observation.")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n} is not possible.")
    share = successes / n
    shrink = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    # At 0 and 1 the exact bound is the share itself; rounding must not put it on the wrong side.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def win_rate(before_scores: Sequence[float], after_scores: Sequence[float]) -> WinRate:
    """Share of prompts on which `after` scored higher; ties count half; Wilson's interval.

    With a share t of ties, the true variance of one comparison is p(1 - p) - t/4, so Wilson's p(1 - p) is
    never too small: the interval is exact without ties and on the wide, honest side with them.
    One pair per prompt is assumed: several per prompt are not independent and would look too sure.
    """
    outcomes = _outcomes(before_scores, after_scores)
    n = len(outcomes)
    low, high = accuracy_interval(float(outcomes.sum()), n)
    return WinRate(float(outcomes.mean()), low, high, n)


def length_controlled_win_rate(
    before_scores: Sequence[float],
    after_scores: Sequence[float],
    before_lengths: Sequence[float],
    after_lengths: Sequence[float],
) -> LengthControlled | None:
    """The win rate two equally long responses would have had; None when lengths cannot tell.

    The regression of AlpacaEval 2 (Dubois, Galambosi, Liang, Hashimoto 2024, "Length-Controlled AlpacaEval",
    arXiv:2404.04475): logit P(win) = theta + phi * tanh(difference / sd of the differences), read off at
    difference 0. A tie is half a win. Their third term, how hard each prompt is, is left out: it is
    estimated from many other models, and here there are two.

    If length explains the wins perfectly, or everything is a win, the likelihood has no maximum. Wide normal
    priors (sd 10 on theta, 2.5 on phi, the scales of Gelman et al. 2008, arXiv:0901.4011, with a normal in
    place of their Cauchy) keep the fit finite and hardly move it otherwise.
    """
    wins = _outcomes(before_scores, after_scores)
    before, after = np.asarray(before_lengths, float), np.asarray(after_lengths, float)
    if before.shape != wins.shape or after.shape != wins.shape:
        raise ValueError("Lengths and scores must be as many.")
    difference = after - before
    spread = float(difference.std())
    if not difference.any():  # always equally long: nothing to control for
        plain = win_rate(before_scores, after_scores)
        return LengthControlled(plain.win_rate, plain.low, plain.high, plain.n)
    if spread < 1e-9:  # one constant difference: length and policy are the same thing
        return None
    design = np.column_stack([np.ones_like(difference), np.tanh(difference / spread)])
    coefficients, covariance = _logistic(design, wins, prior_sd=np.array([10.0, 2.5]))
    theta, error = float(coefficients[0]), float(np.sqrt(covariance[0, 0]))
    extrapolated = bool(difference.min() > 0 or difference.max() < 0)
    low, high = _sigmoid(theta - Z95 * error), _sigmoid(theta + Z95 * error)
    return LengthControlled(_sigmoid(theta), low, high, len(wins), extrapolated)


def compare(
    sample_before: Sampler,
    sample_after: Sampler,
    sample_before_again: Sampler,
    scorer: Scorer,
    prompts: Sequence[str],
    kl: float | None = None,
    *,
    length: Callable[[str], float] | None = None,
    length_unit: str = "words",
    labels: Labels | None = None,
) -> Comparison:
    """Sample both policies once per prompt, and the first a second time, and judge them with `scorer`.

    Lengths are means in `length_unit`: words unless a `length` function (tokens, say) is given with its
    unit. `labels(prompt, response)` may name behaviours that are true or false of a response; their shares
    are reported, each among the responses for which it was named at all.
    """
    prompts = list(prompts)
    if not prompts:
        raise ValueError("There is no prompt to compare on.")
    if len(set(prompts)) < len(prompts):
        raise ValueError("The same prompt is there twice: the interval would promise more than was measured.")
    measure = length or count_words
    texts = {
        "before": _sample(sample_before, prompts),
        "after": _sample(sample_after, prompts),
        "again": _sample(sample_before_again, prompts),
    }
    scores = {
        name: [float(scorer(p, r)) for p, r in zip(prompts, rs, strict=True)] for name, rs in texts.items()
    }
    lengths = {name: [measure(text) for text in responses] for name, responses in texts.items()}
    rate = win_rate(scores["before"], scores["after"])
    itself = win_rate(scores["before"], scores["again"])
    controlled = length_controlled_win_rate(
        scores["before"], scores["after"], lengths["before"], lengths["after"]
    )
    return Comparison(
        win_rate=rate.win_rate,
        win_rate_low=rate.low,
        win_rate_high=rate.high,
        n=rate.n,
        kl=kl,
        length_before=float(np.mean(lengths["before"])),
        length_after=float(np.mean(lengths["after"])),
        length_unit=length_unit,
        length_controlled_win_rate=controlled and controlled.win_rate,
        length_controlled_win_rate_low=controlled and controlled.low,
        length_controlled_win_rate_high=controlled and controlled.high,
        length_controlled_extrapolated=controlled and controlled.extrapolated,
        self_win_rate=itself.win_rate,
        self_win_rate_low=itself.low,
        self_win_rate_high=itself.high,
        score_before=_finite_mean(scores["before"]),
        score_after=_finite_mean(scores["after"]),
        ties=sum(b == a for b, a in zip(scores["before"], scores["after"], strict=True)),
        behaviour_before=behaviour_shares(prompts, texts["before"], labels) if labels else {},
        behaviour_after=behaviour_shares(prompts, texts["after"], labels) if labels else {},
    )


def behaviour_shares(prompts: Sequence[str], responses: Sequence[str], labels: Labels) -> dict[str, float]:
    """Share of responses showing each behaviour, among those the behaviour was asked of."""
    seen: dict[str, list[bool]] = {}
    for prompt, response in zip(prompts, responses, strict=True):
        for name, shown in labels(prompt, response).items():
            seen.setdefault(name, []).append(bool(shown))
    return {name: sum(shown) / len(shown) for name, shown in sorted(seen.items())}


def count_words(text: str) -> int:
    """Words as a person counts them: runs of anything that is not white space."""
    return len(text.split())


def _finite_mean(scores: Sequence[float]) -> float | None:
    """None where it is not finite: JSON has no infinity."""
    mean = math.fsum(scores) / len(scores) if all(map(math.isfinite, scores)) else math.inf
    return mean if math.isfinite(mean) else None


def _outcomes(before_scores: Sequence[float], after_scores: Sequence[float]) -> np.ndarray:
    """1 where `after` scored higher, 0 where lower, one half where equal."""
    before, after = np.asarray(before_scores, float), np.asarray(after_scores, float)
    if before.ndim != 1 or before.shape != after.shape:
        raise ValueError("Both sides need one score per prompt.")
    if not before.size:
        raise ValueError("A win rate needs at least one prompt.")
    if np.isnan(before).any() or np.isnan(after).any():
        raise ValueError("A score is not a number (NaN), so nothing can be said about who won.")
    return np.where(after > before, 1.0, np.where(after < before, 0.0, 0.5))


def _sample(sampler: Sampler, prompts: list[str]) -> list[str]:
    responses = list(sampler(prompts))
    if len(responses) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts went in and {len(responses)} responses came out.")
    return responses


def _logistic(x: np.ndarray, y: np.ndarray, prior_sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Most probable logistic coefficients under normal priors, and their covariance, by damped Newton steps.

    `y` may be fractional. The objective is strictly concave, so there is one maximum and steps that are
    halved until they improve always reach it.
    """
    precision = 1 / prior_sd**2

    def objective(b: np.ndarray) -> float:
        z = x @ b
        return float(y @ z - np.logaddexp(0, z).sum() - 0.5 * precision @ b**2)

    b = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-(x @ b)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
        step = np.linalg.solve(hessian, x.T @ (y - p) - precision * b)
        scale, here = 1.0, objective(b)
        while objective(b + scale * step) < here and scale > 1e-6:
            scale /= 2
        b = b + scale * step
        if np.abs(scale * step).max() < 1e-9:
            break
    p = 1 / (1 + np.exp(-(x @ b)))
    return b, np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x + np.diag(precision))


def _sigmoid(value: float) -> float:
    """1 / (1 + e^-value), written by tanh so that no size of value overflows."""
    return 0.5 * (1 + math.tanh(value / 2))
