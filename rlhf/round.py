"""One round: rankings -> reward model -> gate -> PPO -> published or rejected.

PPO starts from the published policy drawn half of the way back to the reference (Ramé 2024, "WARP": their
interpolation towards the initialisation): a policy of many rounds is sure of itself and tries nothing else.
Win rate on the starter after three rounds of 200 `helpful` rankings in all, 640 held-out prompts, seeds 20 to
23: .860, .836, .820, .845 from the published policy itself, .866, .859, .823, .858 from half way back. With
an earlier value function, one more round on all rankings of two runs that stood still at 600 with .848 and
.829 was rejected once and won .845 from the policy itself, won .843 and .873 from half way.

A generator of `Progress`, ended by one `Outcome`. It knows a model family, rankings and prompts, and nothing
of SQLite: the worker writes down what comes out, and a notebook or a benchmark can run it as it is.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import torch

from data.preferences import RankedResponses, split_by_prompt
from rlhf.config import setting
from rlhf.evaluate import win_rate
from rlhf.generate import encode_prompt, sample_from
from rlhf.kept_round import KeptRound, Progress, Stage
from rlhf.models import Family
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import PPOTraining, Update, judge_policy
from rlhf.reward_accuracy import Accuracy, measure_accuracy
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, learn_heldout, train_reward_model

LEAST_PROMPTS = 8  # of which two judge
LEAST_HELDOUT = 5  # prompts, held out, that can vouch for a reward model
LEAST_RANKINGS = 3 * LEAST_HELDOUT  # fewer cannot hold out so many
LEAST_ENDED = 16  # responses that ended by themselves, to take a mean and a std of


@dataclass(frozen=True)
class RoundConfig:
    reward_model: RewardModelConfig = field(default_factory=RewardModelConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    gate: float = setting(0.5, "PPO starts only when the accuracy's 95 % interval lies above this.")
    draw_back: float = setting(0.5, "Share of the way back to the reference from which PPO starts.")
    normalise_on: int = setting(192, "Reference responses that set the scores' mean and std.")
    heldout_prompts: int = setting(
        96, "Prompts that judge checkpoints, a quarter of all at most; this round's PPO does not see them."
    )


@dataclass(frozen=True)
class Outcome:
    """How the round ended. When published, the family's 'policy' role holds the new policy."""

    published: bool
    reason: str
    summary: dict[str, float]


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
    before, scores_before = judge_policy(family, reward_model, judges, config.ppo, seed + 1, role="published")
    judging_texts = set(prompts[:judging])
    chosen = [
        reward_model.encode(ranking.prompt, text)
        for ranking in rankings
        if ranking.prompt not in judging_texts and not ranking.imported
        for text in ranking.chosen()
    ]

    def begin() -> PPOTraining:
        family.copy("published", "policy")
        family.draw_back("policy", config.draw_back)
        return PPOTraining(family, reward_model, ids, judges, config.ppo, seed, chosen)

    training = begin()
    told = [event for event in stage.told if event.state == "ppo"]
    if stage.training:
        try:
            training.set_state(stage.training)
        except Exception as error:  # of another device, say
            print(f"PPO begins again, as its state cannot be taken up here: {error}", flush=True)
            del training  # its optimisers may be in memory already
            training, told = begin(), []
    yield from told
    stop = None
    for done in training:
        stop = done.stop
        told.append(_progress(done, config.ppo))
        if kept and not stop:
            kept.keep_training(training, told)
        yield told[-1]
    last = told[-1]
    best, went_back = (int(last.metrics.get(f"policy/{name}", 0)) for name in ("best_update", "went_back"))
    summary |= {"updates": float(last.step), "best_update": float(best)}
    if best == 0:
        reason = f"PPO found no policy with a score that is finite and KL within {config.ppo.kl_limit:g} nats"
        yield Outcome(False, stop or reason, summary)
        return
    after, scores_after = judge_policy(family, reward_model, judges, config.ppo, seed + 1)
    for name in ("score", "kl", "length"):
        summary[f"{name}_before"] = before[f"heldout/{name}"]
        summary[f"{name}_after"] = after[f"heldout/{name}"]
    summary["kl"] = summary.pop("kl_after")
    if all(map(math.isfinite, scores_before + scores_after)):
        wins = win_rate(scores_before, scores_after)  # by the reward model, over the policy before
        summary |= {"win_rate": wins.win_rate, "win_rate_low": wins.low, "win_rate_high": wins.high}
    events = [event for event in stage.told if event.state != "ppo"] + told
    numbers = [number for event in events for number in event.metrics.items()]
    skipped = sum(int(value) for name, value in numbers if name.endswith("/skipped_steps"))
    yield judge(summary, config.ppo.kl_coef, _remark(stop, went_back, skipped, config.ppo.kl_limit))


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


def _progress(done: Update, config: PPOConfig) -> Progress:
    if done.step == 0:
        detail = "warming up the value function" + (f": {done.stop}" if done.stop else "")
        return Progress("ppo", detail, 0, done.metrics)
    score = f"score {done.metrics.get('objective/score', math.nan):+.2f}"
    detail = f"PPO update {done.step} of {config.updates}: {done.stop or score}"
    return Progress("ppo", detail, done.step, done.metrics)


def _teach(
    family: Family,
    reward_model: RewardModel,
    rankings: Sequence[RankedResponses],
    prompts: list[list[int]],
    config: RoundConfig,
    seed: int,
    stage: Stage,
) -> Generator[Progress, None, str | None]:
    """Train the reward model, judge it, let it learn from its judges; returns why PPO may not start, or None.

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
    """Why PPO may not start, or None. A reward model no better than chance teaches noise.

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
    if not all(math.isfinite(v) for k, v in summary.items() if k != "longer_wins"):
        return Outcome(False, "a figure of the new policy is not a finite number", summary)
    change = (
        f"score {summary['score_before']:+.2f} to {summary['score_after']:+.2f} at KL {summary['kl']:.1f}"
    )
    before = summary["score_before"] - kl_coef * summary["kl_before"]
    if summary["score_after"] - kl_coef * summary["kl"] <= before:
        return Outcome(False, f"the new policy is not better on held-out prompts ({change})", summary)
    return Outcome(True, f"{change}; {remark}" if remark else change, summary)


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
