"""One round: rankings -> reward model -> gate -> PPO, DPO or both -> published or rejected.

A generator of `Progress`, ended by one `Outcome`. It knows a model family, rankings and prompts, and nothing
of SQLite: the worker writes down what comes out, and a notebook or a benchmark can run it as it is.

Whatever trains the policy (`policy_round`), the gate before it, the judging after it and the rule of
publication are the same, so that methods can be compared: with `both`, PPO and DPO begin from one state, each
is judged, and the better one is what the round made.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from data.preferences import RankedResponses, split_by_prompt
from rlhf.evaluate import win_rate
from rlhf.generate import encode_prompt, sample_from
from rlhf.kept_round import KeptRound, Stage
from rlhf.memory import Spent
from rlhf.models import Family
from rlhf.policy_round import RoundConfig, Trained, by_dpo, by_ppo
from rlhf.ppo_training import judge_policy
from rlhf.reward_accuracy import Accuracy, measure_accuracy
from rlhf.reward_model import RewardModel
from rlhf.reward_training import learn_heldout, train_reward_model
from rlhf.told import Outcome, Progress

LEAST_PROMPTS = 8  # of which two judge
LEAST_HELDOUT = 5  # prompts, held out, that can vouch for a reward model
LEAST_RANKINGS = 3 * LEAST_HELDOUT  # fewer cannot hold out so many
LEAST_ENDED = 16  # responses that ended by themselves, to take a mean and a std of


@dataclass(frozen=True)
class Candidate:
    """What one method made, and the figures of it."""

    method: str
    trained: Trained
    figures: dict[str, float]  # none where it made nothing
    state: dict[str, Tensor] | None  # the policy's weights, where another one may be better

    def objective(self, kl_coef: float) -> float:
        """What PPO maximises, on held-out prompts; -inf where it made nothing or no number."""
        if not self.figures:
            return -math.inf
        value = self.figures["score_after"] - kl_coef * self.figures["kl"]
        return value if math.isfinite(value) else -math.inf


def run_round(
    family: Family,
    reward_model: RewardModel,
    rankings: Sequence[RankedResponses],
    prompts: Sequence[str],
    config: RoundConfig,
    seed: int,
    kept: KeptRound | None = None,
) -> Iterator[Progress | Outcome]:
    """Run one round from the family's 'published' policy; the last thing yielded is the Outcome.

    rankings: all that stand, of this round and those before. prompts: what PPO may sample on. kept: where the
    round is kept while it runs; if it was there before, it is taken up, and first told again.
    """
    if len(prompts) < LEAST_PROMPTS:
        yield Outcome(False, f"there are {len(prompts)} prompts to train on; wanted: {LEAST_PROMPTS}", {})
        return
    ids = [encode_prompt(family.tokenizer, p) for p in prompts]
    judging = min(config.heldout_prompts, len(ids) // 4)
    judges, ids = ids[:judging], ids[judging:]

    stage = kept.take_up(reward_model) if kept else None
    if stage:
        yield from (event for event in stage.told if event.state != "ppo")
    else:
        stage = Stage([], {})
        refusal = yield from _teach(family, reward_model, rankings, ids, config, seed, stage)
        if refusal:
            yield Outcome(False, refusal, stage.summary)
            return
        if kept:
            kept.keep_reward_model(reward_model, stage.told, stage.summary)
    summary = stage.summary

    # Another seed than the one that chooses the best checkpoint: its luck must not count as progress.
    before = judge_policy(family, reward_model, judges, config.ppo, seed + 1, role="published")
    seen = set(prompts[:judging])
    unseen = [r for r in rankings if r.prompt not in seen]
    candidates = []
    for method in config.methods:
        spent = Spent(family.device)
        try:
            if method == "ppo":
                training = by_ppo(family, reward_model, ids, judges, unseen, config, seed, stage, kept)
            else:
                training = by_dpo(family, reward_model, judges, unseen, config, seed)
            trained = yield from training
            took = spent.figures("")
            if trained.resumed:
                del took["seconds"], took["cpu_seconds"]
            figures = _judged(family, reward_model, judges, config, seed, trained, before)
            figures = figures and figures | took
        finally:
            spent.close()
        state = family.state("policy") if len(config.methods) > 1 else None
        candidates.append(Candidate(method, trained, figures, state))
    yield _chosen(family, candidates, summary, config, stage)


def _judged(
    family: Family,
    reward_model: RewardModel,
    judges: Sequence[list[int]],
    config: RoundConfig,
    seed: int,
    trained: Trained,
    before: tuple[dict[str, float], list[float]],
) -> dict[str, float]:
    """The policy beside the one before it, by the reward model on held-out prompts; {} where there is
    none."""
    if trained.best == 0:
        return {}
    was, scores_before = before
    now, scores_after = judge_policy(family, reward_model, judges, config.ppo, seed + 1)
    found = {"updates": float(trained.steps), "best_update": float(trained.best)}
    for name in ("score", "kl", "length"):
        found[f"{name}_before"] = was[f"heldout/{name}"]
        found[f"{name}_after"] = now[f"heldout/{name}"]
    found["kl"] = found.pop("kl_after")
    if all(map(math.isfinite, scores_before + scores_after)):
        wins = win_rate(scores_before, scores_after)  # over the policy before
        found |= {"win_rate": wins.win_rate, "win_rate_low": wins.low, "win_rate_high": wins.high}
    return found


def _chosen(
    family: Family, candidates: list[Candidate], summary: dict[str, float], config: RoundConfig, stage: Stage
) -> Outcome:
    """The outcome of the best candidate; the figures of all stand in the summary under their method's
    name."""
    for one in candidates if len(candidates) > 1 else []:
        summary |= {f"{one.method}/{name}": value for name, value in one.figures.items()}
    best = max(candidates, key=lambda one: one.objective(config.ppo.kl_coef))
    if not best.figures:
        summary |= {"updates": float(best.trained.steps), "best_update": 0.0}
        limit = f"{config.ppo.kl_limit:g} nats"
        whys = [
            one.trained.stop
            or f"{one.method.upper()} found no policy with a score that is finite and KL within {limit}"
            for one in candidates
        ]
        return Outcome(False, "; ".join(dict.fromkeys(whys)), summary)
    if best.state is not None:
        family.set_state("policy", best.state)
    summary |= best.figures
    taught = [event for event in stage.told if event.state == "reward_model"]
    numbers = [n for event in [*taught, *best.trained.told] for n in event.metrics.items()]
    skipped = sum(int(value) for name, value in numbers if name.endswith("/skipped_steps"))
    remark = _remark(best.trained.stop, best.trained.went_back, skipped, config.ppo.kl_limit)
    if len(candidates) > 1:
        remark = "; ".join(filter(None, [f"by {best.method.upper()}", remark]))
    return judge(summary, config.ppo.kl_coef, remark)


def _remark(stop: str | None, went_back: int, skipped: int, kl_limit: float) -> str | None:
    """What people should know of a round beside its figures."""
    remarks = [stop] if stop else []
    if went_back and not stop:
        times = "once" if went_back == 1 else f"{went_back} times"
        remarks.append(f"went back {times} from a KL over {kl_limit:g}")
    if skipped:
        steps = "a step" if skipped == 1 else f"{skipped} steps"
        remarks.append(f"left out {steps} whose gradient was not a finite number")
    return "; ".join(remarks) or None


def _teach(
    family: Family,
    reward_model: RewardModel,
    rankings: Sequence[RankedResponses],
    prompts: list[list[int]],
    config: RoundConfig,
    seed: int,
    stage: Stage,
) -> Generator[Progress, None, str | None]:
    """Train the reward model, judge it, let it learn from its judges; returns why the policy may not be
    trained, or None.

    prompts: encoded, the reference's responses to them set the scores' scale. stage: filled on the way.
    """

    def tell(detail: str, step: int, metrics: dict[str, float]) -> Progress:
        stage.told.append(Progress("reward_model", detail, step, metrics))
        return stage.told[-1]

    train, heldout = split_by_prompt(rankings, config.reward_model.heldout_share, LEAST_HELDOUT)
    steps = 0
    reward_model.reset(seed, config.reward_model.heads)
    taught = train_reward_model(reward_model, train, config.reward_model, seed)
    for steps, metrics in enumerate(taught, start=1):
        yield tell(f"training the reward model on {len(train)} rankings", steps, metrics)

    accuracy = measure_accuracy(reward_model, heldout)
    figures = {
        "accuracy": accuracy.accuracy,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "longer_wins": accuracy.longer_wins,
    }
    detail = f"the reward model orders {accuracy.sentence()} as the annotators did"
    yield tell(detail, steps, {f"reward_model/{name}": value for name, value in figures.items()})
    stage.summary.update(figures, heldout_pairs=float(accuracy.pairs))
    refusal = gate(accuracy, config.gate)
    if refusal:
        return refusal
    taught = learn_heldout(reward_model, heldout, train, config.reward_model, seed)
    for step, metrics in enumerate(taught, start=steps + 1):
        detail = f"training the reward model on the {len(heldout)} rankings that have judged it"
        yield tell(detail, step, metrics)
    return _normalise(family, reward_model, prompts, config, seed)


def gate(accuracy: Accuracy, floor: float) -> str | None:
    """Why the policy may not be trained, or None. A reward model no better than chance teaches noise.

    The rankings of a handful of prompts can all be right by chance, and no resampling of them shows it: then
    the interval is [1, 1]. Five of five happen once in 32.
    """
    if accuracy.pairs == 0:
        return "no held-out pairs with different ranks to judge the reward model by"
    if accuracy.prompts < LEAST_HELDOUT:
        return (
            f"{accuracy.prompts} held-out prompts are too few to judge the reward model by; "
            f"wanted: {LEAST_HELDOUT}, of {LEAST_RANKINGS} different ones ranked"
        )
    if accuracy.low <= floor:
        return f"the reward model is not clearly better than chance yet: {accuracy.sentence()}"
    return None


def judge(summary: dict[str, float], kl_coef: float, remark: str | None) -> Outcome:
    """Publish only what is better on held-out prompts, by PPO's own objective, with every figure finite.

    The KL counts as well as the score: else each round could buy a little score with a lot of it.
    """
    own = {name: value for name, value in summary.items() if "/" not in name}  # not of what was not chosen
    if not all(math.isfinite(v) for k, v in own.items() if k != "longer_wins"):
        return Outcome(False, "a figure of the new policy is not a finite number", summary)
    change = (
        f"score {summary['score_before']:+.2f} to {summary['score_after']:+.2f} at KL {summary['kl']:.1f}"
    )
    before = summary["score_before"] - kl_coef * summary["kl_before"]
    better = summary["score_after"] - kl_coef * summary["kl"] > before
    words = change if better else f"the new policy is not better on held-out prompts ({change})"
    return Outcome(better, f"{words}; {remark}" if remark else words, summary)


def _normalise(
    family: Family, model: RewardModel, prompts: list[list[int]], config: RoundConfig, seed: int
) -> str | None:
    """Score the reference's own responses as mean 0, std 1; or say why that cannot be.

    A few prompts are answered several times. Only responses that ended count: PPO scores no others.
    """
    prompts = list(islice(cycle(prompts), config.normalise_on))
    generator = torch.Generator(device=family.device).manual_seed(seed)
    samples = sample_from(family, "reference", prompts, config.ppo.sampling, generator)
    ended = [i for i, s in enumerate(samples) if s.finished]
    if len(ended) < LEAST_ENDED:
        return (
            f"{len(ended)} of {len(samples)} responses of the reference end within "
            f"{config.ppo.sampling.max_new_tokens} tokens; raise --max-new-tokens"
        )
    model.normalise_on([prompts[i] for i in ended], [samples[i].tokens for i in ended])
    return None
