"""Training by PPO: `PPOTraining` yields updates (`ppo`), judges what comes of them, and can be put aside."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from rlhf import functional as f
from rlhf.batching import Deck
from rlhf.imitation import Pair, scored_chosen
from rlhf.models import Family
from rlhf.ppo import Learner, PPOConfig, Rollout, rollout, update, warm_up_value
from rlhf.reward_model import RewardModel


@dataclass(frozen=True)
class Update:
    """What the world sees of one PPO update."""

    step: int  # 1 for the first; 0 is the value function's warm-up
    metrics: dict[str, float]
    stop: str | None = None  # why training ends here, in one sentence


class PPOTraining:
    """Trains the family's 'policy' from where it stands: iterate over it, it yields after every update.

    prompts, heldout: encoded prompts. chosen: prompts with a response that people ranked first, closed by
    EOS. When the iteration ends (updates used up, KL over its limit even of the average, or a number that is
    not finite), the policy holds the checkpoint that was best on the held-out prompts, by score minus kl_coef
    times KL: a later one has often only found the reward model's blind spot. A checkpoint is the average of
    the policies so far.

    Between any two updates it can be put aside: `state` is all that is to come depends on, beside what the
    constructor is given. Updates in one go are the same as some of them, `state`, a new process with the same
    reward model, `set_state`, and the others: bit for bit on a CPU with as many threads (tested with a killed
    process).
    """

    def __init__(
        self,
        family: Family,
        reward_model: RewardModel,
        prompts: Sequence[list[int]],
        heldout: Sequence[list[int]],
        config: PPOConfig,
        seed: int,
        chosen: Sequence[Pair] = (),
    ):
        self.family, self.reward_model, self.heldout = family, reward_model, heldout
        self.config, self.seed = config, seed
        self.order = random.Random(seed)
        self.generator = torch.Generator(device=family.device).manual_seed(seed)
        self.deck = Deck(prompts, self.order)
        self.learner = Learner.start(family, reward_model, config, seed)
        if chosen and config.chosen_coef:
            steps = config.updates * config.inner_epochs * math.ceil(config.episodes / config.minibatch)
            most = steps * config.chosen_among(config.minibatch)
            temperature = config.sampling.temperature
            self.learner.chosen = scored_chosen(reward_model, chosen, most, temperature, seed)
        self.controller = AdaptiveKL(config.kl_coef, config.kl_target, config.kl_horizon)
        self.best = _Best(family.state("policy"), float("-inf"), 0)
        self.average = Average(self.best.state, config.average)
        self.progress = _Progress(limit=config.kl_limit)

    def __iter__(self) -> Iterator[Update]:
        config = self.config
        if config.warmup_episodes and not self.progress.warm:
            self.progress.warm = True
            yield self._warm_up()
        while self.progress.step < config.updates and not self.progress.ended:
            self.progress.step += 1
            yield self._update()
        self.family.set_state("policy", self.best.state)

    def state(self) -> dict[str, Any]:
        """For `torch.save`; a copy. Ask between two updates."""
        return {
            "learner": self.learner.state(),
            "order": self.order.getstate(),
            "deck": self.deck.left.copy(),
            "generator": self.generator.get_state(),
            "kl_coef": self.controller.coefficient,
            "best": vars(self.best).copy(),
            "average": (self.average.state, self.average.count),
            "progress": vars(self.progress).copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there. The constructor was given the same, and the same reward model."""
        self.learner.set_state(state["learner"])
        self.order.setstate(state["order"])
        self.deck.left = list(state["deck"])
        self.generator.set_state(state["generator"])
        self.controller.coefficient = state["kl_coef"]
        self.best = _Best(**state["best"])
        average, self.average.count = state["average"]  # on the CPU, where files are read to
        self.average.state = {name: t.to(self.family.device) for name, t in average.items()}
        self.progress = _Progress(**state["progress"])

    def _warm_up(self) -> Update:
        try:
            data = self._rollout(self.config.warmup_episodes)
            return Update(0, warm_up_value(self.learner, data, self.config, self.order))
        except FloatingPointError as error:
            self.progress.ended = True
            return Update(0, {}, str(error))

    def _rollout(self, episodes: int) -> Rollout:
        each = self.config.responses_per_prompt
        batch = [prompt for prompt in islice(self.deck, episodes // each) for _ in range(each)]
        return rollout(self.family, self.reward_model, batch, self.config, self.generator)

    def _update(self) -> Update:
        """One update; what stands in its way ends training, with the best checkpoint kept."""
        config, progress = self.config, self.progress
        self.learner.set_rates(1 - (progress.step - 1) / config.updates)
        stop, metrics = None, {}
        try:
            data = self._rollout(config.episodes)
            kl = float(data.kl.mean())
            metrics = _describe(data, kl, self.controller.coefficient)
            if progress.step == 1:  # a round that starts beyond the limit may find its way back
                progress.limit = max(progress.limit, 1.2 * kl)
            over = kl > progress.limit
            if not over:
                metrics |= update(self.learner, data, self.controller.coefficient, config, self.order)
                self.controller.update(kl, config.episodes)
                self.average.add(self.family.weights("policy"))
            elif not progress.just_went_back:
                self.family.set_state("policy", self.average.state)
                self.controller.coefficient *= 2
                progress.went_back += 1
            else:
                limit = f"the limit of {progress.limit:.3g}"
                stop = f"KL against the reference reached {kl:.1f} nats, over {limit}"
            progress.just_went_back = over
        except FloatingPointError as error:
            stop = str(error)
        due = progress.step % config.evaluate_every == 0 or progress.step == config.updates
        unknown = stop and self.average.count > progress.judged  # an average that no held-out prompt has seen
        if unknown or (due and not stop):
            try:
                metrics |= self._judge()
            except FloatingPointError as error:
                stop = stop or str(error)
        progress.ended = stop is not None
        metrics |= {
            "policy/best_update": float(self.best.step),
            "policy/went_back": float(progress.went_back),
        }
        return Update(progress.step, metrics, stop)

    def _judge(self) -> dict[str, float]:
        """Look at the average on held-out prompts, and keep it if it is the best so far."""
        config, self.progress.judged = self.config, self.average.count
        with _standing_in(self.family, self.average.state):
            judged = evaluate_policy(self.family, self.reward_model, self.heldout, config, self.seed)
        objective = judged["heldout/score"] - config.kl_coef * judged["heldout/kl"]
        if objective > self.best.objective and judged["heldout/kl"] <= config.kl_limit:
            self.best = _Best(self.average.state, objective, self.progress.step)
        return judged


@dataclass
class _Best:
    state: dict[str, Tensor]
    objective: float
    step: int


@dataclass
class _Progress:
    limit: float  # of KL; a round that starts beyond it gets another
    step: int = 0  # updates done
    judged: int = 0  # how many of them were in the average that held-out prompts have seen last
    warm: bool = False
    ended: bool = False
    went_back: int = 0
    just_went_back: bool = False


class AdaptiveKL:
    """Steers the KL coefficient so that KL settles at a target (LHP, section 2.2)."""

    def __init__(self, coefficient: float, target: float, horizon: float):
        self.coefficient, self.target, self.horizon = coefficient, target, horizon

    def update(self, kl: float, episodes: int) -> None:
        if self.target > 0:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * episodes / self.horizon


class Average:
    """Exponential moving average of weights.

    The decay is n / (n + 3) in the nth update as long as that is less than asked for, so that what it starts
    from is forgotten within a few updates.
    """

    def __init__(self, state: dict[str, Tensor], decay: float):
        self.state, self.decay, self.count = state, decay, 0

    def add(self, weights: dict[str, Tensor]) -> None:
        """Take up the live weights after one more update. Makes a new `state`: the old one may be kept."""
        self.count += 1
        keep = min(self.decay, self.count / (self.count + 3))
        self.state = {
            name: torch.lerp(new, self.state[name], keep) if new.is_floating_point() else new.clone()
            for name, new in weights.items()
        }


@contextmanager
def _standing_in(family: Family, state: dict[str, Tensor]) -> Iterator[None]:
    """The policy has these weights for a while, then its own again."""
    own = family.state("policy")
    family.set_state("policy", state)
    try:
        yield
    finally:
        family.set_state("policy", own)


def _describe(data: Rollout, kl: float, kl_coef: float) -> dict[str, float]:
    lengths = data.mask.sum(1).float()
    return {
        "objective/score": float(data.scores.mean()),
        "objective/kl": kl,
        "objective/kl_coef": kl_coef,
        "objective/entropy": float(f.masked_mean(data.entropy, data.mask)),
        "response/length": float(lengths.mean()),
        "response/eos_rate": float(data.finished.float().mean()),
        "response/repetition": sum(map(repetition, data.responses)) / len(data.responses),
    }


def repetition(tokens: Sequence[int]) -> float:
    """Share of a response's runs of three tokens that it has said before; 0 for one of fewer than three.

    A policy that has found a hole in the reward model often repeats itself (Zheng 2023, "Secrets of RLHF").
    """
    runs = [tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@torch.no_grad()
def evaluate_policy(
    family: Family,
    reward_model: RewardModel,
    prompts: Sequence[list[int]],
    config: PPOConfig,
    seed: int,
    role: str = "policy",
) -> dict[str, float]:
    """Score, KL (nats per response) and length of a role on held-out prompts, with a fixed seed."""
    return judge_policy(family, reward_model, prompts, config, seed, role)[0]


@torch.no_grad()
def judge_policy(
    family: Family,
    reward_model: RewardModel,
    prompts: Sequence[list[int]],
    config: PPOConfig,
    seed: int,
    role: str = "policy",
) -> tuple[dict[str, float], list[float]]:
    """The same, and the score of each response."""
    generator = torch.Generator(device=family.device).manual_seed(seed)
    data = rollout(family, reward_model, prompts, config, generator, role=role, with_states=False)
    figures = {
        "heldout/score": float(data.scores.mean()),
        "heldout/kl": float(data.kl.mean()),
        "heldout/length": float(data.mask.sum(1).float().mean()),
    }
    return figures, data.scores.tolist()
