"""The part of a round that trains the policy, by PPO or by DPO: each a generator of `Progress`.

Both begin with the published policy drawn half of the way back to the reference (Ramé 2024, "WARP": their
interpolation towards the initialisation): a policy of many rounds is sure of itself and tries nothing else.
Win rate by PPO on the starter after three rounds of 200 `helpful` rankings in all, 640 held-out prompts,
seeds 20 to 23: .860, .836, .820, .845 from the published policy itself, .866, .859, .823, .858 from half way
back. With an earlier value function, one more round on all rankings of two runs that stood still at 600 with
.848 and .829 was rejected once and won .845 from the policy itself, won .843 and .873 from half way.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from data.preferences import RankedResponses
from rlhf.config import setting
from rlhf.dpo import DPOConfig, preferences_of
from rlhf.kept_round import KeptRound, Stage
from rlhf.models import Family
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import PPOTraining, Update
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig
from rlhf.told import Progress

METHODS = ("ppo", "dpo", "both")


@dataclass(frozen=True)
class RoundConfig:
    method: str = setting("ppo", "What trains the policy: ppo, dpo, or both, of which the better counts.")
    reward_model: RewardModelConfig = field(default_factory=RewardModelConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    dpo: DPOConfig = field(default_factory=DPOConfig)
    gate: float = setting(
        0.5, "The policy is trained only when the accuracy's 95 % interval lies above this."
    )
    draw_back: float = setting(0.5, "Share of the way back to the reference from which training starts.")
    normalise_on: int = setting(192, "Reference responses that set the scores' mean and std.")
    heldout_prompts: int = setting(
        96,
        "Prompts that judge checkpoints, a quarter of all at most; this round's training does not see them.",
    )

    @property
    def methods(self) -> tuple[str, ...]:
        return ("ppo", "dpo") if self.method == "both" else (self.method,)


@dataclass(frozen=True)
class Trained:
    """What a method came to: the family's 'policy' role holds its best checkpoint."""

    told: list[Progress]
    stop: str | None = None  # why it ended early
    went_back: int = 0
    resumed: bool = False  # a part of it was done by a worker that was killed

    @property
    def steps(self) -> int:
        return self.told[-1].step if self.told else 0

    @property
    def best(self) -> int:
        """The step after which the policy was best; 0: nothing fit to be kept was found."""
        return int(self.told[-1].metrics.get("policy/best_update", 0)) if self.told else 0


def by_ppo(
    family: Family,
    reward_model: RewardModel,
    prompts: Sequence[list[int]],
    judges: Sequence[list[int]],
    rankings: Sequence[RankedResponses],
    config: RoundConfig,
    seed: int,
    stage: Stage,
    kept: KeptRound | None,
) -> Generator[Progress, None, Trained]:
    """Train by PPO on the prompts; what was ranked first is imitated. Kept between updates."""
    own = [r for r in rankings if not r.imported]  # others were not written by a policy of this run
    pairs = [reward_model.encode(r.prompt, text) for r in own for text in r.chosen()]
    chosen = [pair for pair in pairs if reward_model.is_closed(pair[1])]  # others have no end to learn

    def begin() -> PPOTraining:
        start(family, config)
        return PPOTraining(family, reward_model, prompts, judges, config.ppo, seed, chosen)

    training = begin()
    told = [event for event in stage.told if event.state == "ppo"]
    resumed = stage.training is not None
    if stage.training:
        try:
            training.set_state(stage.training)
        except Exception as error:  # of another device, say
            print(f"PPO begins again, as its state cannot be taken up here: {error}", flush=True)
            del training  # its optimisers may be in memory already
            training, told, resumed = begin(), [], False
    yield from told
    stop = None
    for done in training:
        stop = done.stop
        told.append(_ppo_progress(done, config.ppo))
        if kept and not stop:
            kept.keep_training(training, told)
        yield told[-1]
    return Trained(told, stop, int(told[-1].metrics.get("policy/went_back", 0)), resumed)


def by_dpo(
    family: Family,
    reward_model: RewardModel,
    judges: Sequence[list[int]],
    rankings: Sequence[RankedResponses],
    config: RoundConfig,
    seed: int,
) -> Generator[Progress, None, Trained]:
    """Train by DPO on the rankings; `judges` choose the checkpoint. A killed one begins again."""
    own = [r for r in rankings if not r.imported]  # no policy imitates what others chose elsewhere
    preferences = preferences_of(reward_model, own, config.dpo.offset)
    if not preferences:
        return Trained([], "there are no two responses with different ranks to learn from by DPO")
    from rlhf.dpo_training import (
        read_reference,
        train_dpo,
    )  # TRL takes seconds to import, which others need not wait for

    known, told, stop = {}, [], None
    for count in read_reference(family, preferences, known):
        detail = f"DPO on {len(preferences)} preferences: the reference has read {count} responses"
        yield Progress("dpo", detail, 0, {})
    start(family, config)
    for done in train_dpo(family, reward_model, preferences, known, judges, config.dpo, config.ppo, seed):
        stop = done.stop
        accuracy = f"{done.metrics.get('dpo/accuracy', math.nan):.0%} of them as ranked"
        detail = f"DPO step {done.step} on {len(preferences)} preferences: {stop or accuracy}"
        told.append(Progress("dpo", detail, done.step, done.metrics))
        yield told[-1]
    return Trained(told, stop)


def start(family: Family, config: RoundConfig) -> None:
    """Where training starts from."""
    family.copy("published", "policy")
    family.draw_back("policy", config.draw_back)


def _ppo_progress(done: Update, config: PPOConfig) -> Progress:
    if done.step == 0:
        detail = "warming up the value function" + (f": {done.stop}" if done.stop else "")
        return Progress("ppo", detail, 0, done.metrics)
    score = f"score {done.metrics.get('objective/score', math.nan):+.2f}"
    detail = f"PPO update {done.step} of {config.updates}: {done.stop or score}"
    return Progress("ppo", detail, done.step, done.metrics)
