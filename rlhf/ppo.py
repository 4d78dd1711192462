"""PPO from human rankings: rollout and update; `ppo_training` makes a training of many updates from them.

One update is: sample a batch of responses from the policy; score them with the reward model; charge the KL
against the reference per token; estimate advantages (GAE); a few clipped steps on policy and value; adapt
the KL coefficient. It follows LHP (Ziegler 2019) and N+ (Huang 2024, "The N+ Implementation Details of RLHF
with PPO"), with these choices:

1. The value function is a small network on the states of the reward model's trunk, taken from the pass that
   scores a response, and starts from the reward model's head (N+ copies the whole model); then it
   is warmed up on one large rollout. No second trunk is trained: `value_function` has the figures.
2. Old log-probabilities are those that the response was drawn with (`generate.Step`): no pass is spent on
   them, and they are the truth. The update's pass gives the same, at the same temperature, but for rounding;
   that the first ratio is 1 is asserted.
3. A response that did not end with EOS gets a fixed low score (N+ detail 23), so endless responses never pay;
   so does an empty one.
4. Advantages are whitened, rewards are not (N+ detail 24): whitened rewards would lose the score's
   scale, which the reward model's normalisation has just fixed.
5. The KL coefficient is 0.1 and rounds are short. On the starter, 0.2, 0.1 and 0.05 gave win rates of .709,
   .747 and .736 (seed 0), 0.2 and 0.1 .777 and .826 (seed 2), after three rounds of 200 `helpful` rankings
   in all, on 640 held-out prompts, with a reward model close to today's: chosen on one or two runs each,
   whose intervals (+-.03) overlap between neighbours. 0.1 and 0.05 again with `pooled` heads, seeds 20, 21,
   22: .804, .852, .834 and .777, .869, .859. Rounds of 16 updates won .865, .885, .818 (200 prompts, seeds 3,
   4, 5), rounds of 12 .855, .840, .838 in less time.
6. What is judged and kept is a moving average of the policy's weights, not the policy of the moment
   (Polyak 1992; Ramé 2024, "WARP", holds the policy close to such an average): updates of 64 responses
   wander, and the average keeps what they have in common. Win rate after three rounds of 200 `helpful`
   rankings in all, 300 held-out prompts, seeds 0 and 1 (intervals +-.05): .63 and .71 without it, .74 and .76
   with it.
7. The part of a score that is due to single tokens (`reward_model.Assessment.early`) is paid where it arises,
   the rest at the last token. The sum is the same; measured as in 6, .80 and .78 instead of .73 and .77.
8. Beside the weights a factor on the logits is learned, with a rate of its own, see `logit_scale`. Win rate
   after three rounds of 200 `helpful` rankings in all, 640 held-out prompts, seeds 10, 11, 12: .750, .774 and
   .661 without it; .870, .862 and .696 with it and with responses of the reference in the tasks (`drafts`).
   It has a limit because entropy fell to .01 nats per token in three rounds without one, and PPO learns from
   what differs; limits of 1.5, 2 and none won .840, .852 and .862 (seed 11).
9. When KL goes over its limit, the policy goes back to the moving average of 6, the KL coefficient doubles,
   and the round goes on. Ending the round there threw whole rounds away: who prefers long responses pays
   for length until a few of 64 never end, and these few make the mean KL. Win rate by `verbose` after 200
   rankings, seed 3: .745 where rounds ended (two of three with nothing to publish), .963 so.
10. What people ranked first is learned from directly too, as far as it earns more than the value function
   expects of the policy, see `imitation`. What is left: the reward model has learned from these very
   responses and is too kind to them, by .6 to .9 of a standard deviation in six reward models (chosen less
   all ranked, on training less on held-out prompts).
11. One response to each prompt of an update. Two would share its tokens (`responses_per_prompt`), but the
   policy sees half as many prompts: win rate as in 8, seeds 20 to 23, .859, .848, .768, .789 instead of .857,
   .845, .831, .840.
12. Left out: entropy bonus, reward clipping, pre-training loss.

Nothing here knows of SQLite or of a web page: text in, tensors, updates out.
"""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from rlhf import functional as f
from rlhf.batching import Deck
from rlhf.config import setting
from rlhf.generate import Sample, SamplingConfig, decode_text, sample_from
from rlhf.imitation import Chosen, Imitation
from rlhf.likelihood import token_logprobs_at
from rlhf.logit_scale import LogitScale, logit_gains
from rlhf.models import Family
from rlhf.passes import Pass
from rlhf.recorded import Passes, recording
from rlhf.reward_model import RewardModel
from rlhf.value_function import ValueFunction


@dataclass(frozen=True)
class PPOConfig:
    updates: int = setting(12, "Updates at most.")
    episodes: int = setting(64, "Responses sampled per update.")
    responses_per_prompt: int = setting(1, "Responses to each prompt of an update; they share its tokens.")
    minibatch: int = setting(32, "Responses per optimiser step.")
    inner_epochs: int = setting(2, "Passes over the responses of one update.")
    learning_rate: float = setting(4e-4, "Policy's rate for a model 256 wide; see Family.learning_rate.")
    value_learning_rate: float = setting(6e-4, "The value function's, likewise for a model 256 wide.")
    logit_scale_learning_rate: float = setting(
        0.02, "Rate of the logarithm of the factor on the policy's logits; 0: no factor."
    )
    logit_scale_limit: float = setting(2.0, "Largest factor on the policy's logits, against the reference's.")
    warmup_episodes: int = setting(128, "Responses that teach the value function before the first update.")
    warmup_epochs: int = setting(12, "Passes over them.")
    kl_coef: float = setting(0.1, "KL coefficient, at the start of a round when it adapts.")
    kl_target: float = setting(0.0, "KL in nats per response that the coefficient is steered to; 0: fixed.")
    kl_horizon: float = setting(10_000, "Episodes over which the coefficient adapts (LHP).")
    kl_limit: float = setting(
        10.0, "KL in nats per response beyond which the policy goes back to its average."
    )
    chosen_coef: float = setting(
        0.1, "Weight of learning from responses ranked first, beside PPO's own loss; 0: none."
    )
    chosen_share: float = setting(0.25, "Of those, how many to each sampled response of an optimiser step.")
    approx_kl_stop: float = setting(0.1, "approx_kl at which the inner epochs of an update stop.")
    gamma: float = setting(1.0, "Discount.")
    lam: float = setting(0.95, "GAE's lambda.")
    clip: float = setting(0.2, "Clip of the policy ratio.")
    value_clip: float = setting(0.2, "Clip of the value change.")
    missing_eos_score: float = setting(
        -2.0, "Score of a response without EOS, or without a word; the reference has mean 0, std 1."
    )
    max_grad_norm: float = setting(1.0, "Gradient norm clip.")
    average: float = setting(
        0.85, "Decay, per update, of the average of weights that is kept, lower in the first 16; 0: none."
    )
    evaluate_every: int = setting(6, "Updates between held-out evaluations.")
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        each = self.responses_per_prompt
        for name in ("episodes", "minibatch", "warmup_episodes"):
            count = getattr(self, name)
            if each < 1 or count % each:
                raise ValueError(f"{name} is {count}; wanted: a multiple of responses_per_prompt, {each}.")

    def chosen_among(self, responses: int) -> int:
        """How many chosen responses go with so many sampled ones: at least one."""
        return max(1, round(self.chosen_share * responses))

    def shuffled(self, episodes: int, order: random.Random) -> list[int]:
        """So many episodes in a new order; those of one prompt stay together."""
        size = self.responses_per_prompt
        groups = [range(first, first + size) for first in range(0, episodes, size)]
        order.shuffle(groups)
        return [episode for group in groups for episode in group]


@dataclass
class Rollout:
    """B sampled responses and all that the update needs of them. R is the longest response."""

    prompts: list[list[int]]
    responses: list[list[int]]
    finished: Tensor  # (B,) ended by EOS
    mask: Tensor  # (B, R) True where there is a response token
    logprobs: Tensor  # (B, R) of the policy that sampled them
    ref_logprobs: Tensor  # (B, R)
    scores: Tensor  # (B,) normalised, or missing_eos_score
    early: Tensor  # (B, R) the part of the score that is a token's own, see `reward_model.Assessment`
    entropy: Tensor  # (B, R)
    states: Tensor | None  # (B, R, hidden + output) what the value function reads before each token

    @property
    def kl(self) -> Tensor:
        """KL against the reference per response, in nats (B,): k1, see `functional.kl_k1`."""
        return (f.kl_k1(self.logprobs, self.ref_logprobs) * self.mask).sum(1)

    def rewards(self, kl_coef: float) -> Tensor:
        """Reward of each token (B, R): KL is charged and early score paid where it arises, the rest last."""
        kl = f.kl_k1(self.logprobs, self.ref_logprobs)
        last = self.scores - self.early.sum(1)
        return f.token_rewards(last, kl, self.mask, kl_coef) + self.early


@torch.no_grad()
def rollout(
    family: Family,
    reward_model: RewardModel,
    prompts: Sequence[list[int]],
    config: PPOConfig,
    generator: torch.Generator,
    *,
    role: str = "policy",
    with_states: bool = True,
) -> Rollout:
    """One response to each prompt, and what reference and reward model make of it: one pass of each."""
    prompts = list(prompts)
    samples = sample_from(family, role, prompts, config.sampling, generator)
    responses = [s.tokens for s in samples]
    # Two passes, over the reference and over the reward model's trunk. Both in one, of twice the rows, would
    # take 226 ms, not 243 (64 responses, LoRA, 5.9M parameters, two cores): too little for what it asks.
    plain, ref_logprobs = token_logprobs_at(
        (1.0, config.sampling.temperature), family, "reference", prompts, responses
    )
    assessment = reward_model.assess(prompts, responses, plain, with_states=with_states)
    lengths = torch.tensor([len(r) for r in responses])
    mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    logprobs, entropy = (torch.zeros(mask.shape) for _ in range(2))
    logprobs[mask] = torch.tensor([p for s in samples for p in s.logprobs])
    entropy[mask] = torch.tensor([e for s in samples for e in s.entropy])
    return Rollout(
        prompts,
        responses,
        torch.tensor([s.finished for s in samples]),
        mask,
        logprobs,
        ref_logprobs,
        paid_scores(assessment.scores, samples, family.tokenizer, config),
        assessment.early,
        entropy,
        assessment.states,
    )


def paid_scores(scores: Tensor, samples: Sequence[Sample], tokenizer, config: PPOConfig) -> Tensor:
    """Scores (B,) as PPO pays them: fixed and low for a response that did not end or that says nothing.

    Nobody ranks an empty response, so what the reward model makes of one is a guess.
    """
    whole = torch.tensor([s.finished and bool(decode_text(tokenizer, s.tokens).strip()) for s in samples])
    return torch.where(whole, scores, config.missing_eos_score)


@dataclass
class Learner:
    """Policy and value under training, with their optimisers."""

    family: Family
    value_function: ValueFunction
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer
    logit_scale: LogitScale | None
    passes: Passes  # of the policy: log-probabilities (N, R) at the sampling temperature
    chosen: Deck[Chosen] | None = None

    @classmethod
    def start(cls, family: Family, reward_model: RewardModel, config: PPOConfig, seed: int = 0) -> "Learner":
        value_function = ValueFunction(reward_model, seed)
        # eps 1e-5 as in N+: with torch's 1e-8 early steps are too large. LHP's 1e-5 is TensorFlow's, which is
        # not divided by the bias correction and damps early steps more.
        policy = torch.optim.AdamW(
            family.parameters("policy"),
            lr=family.learning_rate(config.learning_rate),
            eps=1e-5,
            weight_decay=0.0,
            fused=True,
        )
        value = torch.optim.AdamW(
            value_function.parameters(),
            lr=config.value_learning_rate * 256 / family.hidden_size,
            eps=1e-5,
            weight_decay=0.0,
            fused=True,
        )
        factor = _logit_scale(family, config)

        def read(seen: Pass, sampled: Tensor) -> tuple[Tensor]:
            if factor:  # which chosen responses leave alone
                factor.hear(seen.logits, seen.tokens_of(sampled))
            return (seen.logprobs(config.sampling.temperature),)

        passes = Passes(family, "policy", read, family.parameters("policy"))
        return cls(family, value_function, policy, value, factor, passes)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        scale = [self.logit_scale.optimizer] if self.logit_scale else []
        return [self.policy_optimizer, self.value_optimizer, *scale]

    def state(self) -> dict[str, Any]:
        """A copy of all that training changes."""
        return {
            "policy": self.family.state("policy"),
            "value": copy.deepcopy(self.value_function.state_dict()),
            "optimizers": [copy.deepcopy(o.state_dict()) for o in self.optimizers],
            "logit_scale": self.logit_scale.log.detach().clone() if self.logit_scale else None,
            "chosen": (self.chosen.left.copy(), self.chosen.order.getstate()) if self.chosen else None,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.family.set_state("policy", state["policy"])
        self.value_function.load_state_dict(state["value"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        if self.logit_scale:
            with torch.no_grad():
                self.logit_scale.log.copy_(state["logit_scale"])
        if self.chosen:
            self.chosen.left, order = state["chosen"][0].copy(), state["chosen"][1]
            self.chosen.order.setstate(order)

    def set_rates(self, share: float) -> None:
        """Scale all learning rates for this update."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * share


def _logit_scale(family: Family, config: PPOConfig) -> LogitScale | None:
    if config.logit_scale_learning_rate == 0 or family.kind != "full":  # whose last norm is frozen
        return None
    with family.use("reference") as model:
        reference = logit_gains(model)
    with family.use("policy") as model:
        gains = logit_gains(model)
    if not gains:
        return None
    return LogitScale(gains, reference, config.logit_scale_learning_rate, config.logit_scale_limit)


def warm_up_value(
    learner: Learner, data: Rollout, config: PPOConfig, order: random.Random
) -> dict[str, float]:
    """Teach the value function what becomes of half-written responses, before the policy trusts it.

    It starts from the reward model, which has only ever seen whole responses: its word on a prefix is noise
    (explained variance -6 was measured on the starter), and the first advantages would be noise too.

    Raises FloatingPointError when not one step could be taken.
    """
    rewards = data.rewards(config.kl_coef)
    _, returns = f.gae(rewards, torch.zeros_like(rewards), data.mask, config.gamma, lam=1.0)
    seen = learner.value_function.read(data.states)
    rows, losses = list(range(len(data.responses))), []
    for _ in range(config.warmup_epochs):
        order.shuffle(rows)
        for start in range(0, len(rows), config.minibatch):
            part = rows[start : start + config.minibatch]
            losses.append(_value_step(learner, seen[part], data.mask[part], None, returns[part], config))
    taken = _taken(losses)
    explained = f.explained_variance(_values(learner, seen, data), returns, data.mask)
    return {
        "value/loss": taken[-1] if taken else 0.0,
        "value/explained_variance": float(explained),
        "value/skipped_steps": float(len(losses) - len(taken)),
    }


def update(
    learner: Learner, data: Rollout, kl_coef: float, config: PPOConfig, order: random.Random
) -> dict[str, float]:
    """The inner epochs over one rollout; returns what happened, averaged over its optimiser steps.

    Raises FloatingPointError when not one of the policy's steps could be taken, or of the value function's.
    """
    seen = learner.value_function.read(data.states)
    rewards, old_values = data.rewards(kl_coef), _values(learner, seen, data)
    advantages, returns = f.gae(rewards, old_values, data.mask, config.gamma, config.lam)
    explained = float(f.explained_variance(old_values, returns, data.mask))
    advantages = f.masked_whiten(advantages, data.mask)

    steps: list[dict[str, float]] = []
    losses: list[float | None] = []  # the value function's
    tried, stopped = 0, False
    for _ in range(config.inner_epochs):
        rows = config.shuffled(len(data.responses), order)
        for start in range(0, len(rows), config.minibatch):
            part = rows[start : start + config.minibatch]
            tried += 1
            with recording(learner.family):
                watch = _policy_step(learner, data, advantages, part, kl_coef, config)
            if watch is None:
                continue
            if not steps:  # nothing has been learned yet: the same policy must give the same numbers
                _assert_same_policy(watch, learner.family.bf16)
            own = seen[part], data.mask[part], old_values[part], returns[part]
            losses.append(_value_step(learner, *own, config))
            steps.append(watch)
            if watch["policy/approx_kl"] > config.approx_kl_stop:
                stopped = True
                break
        if stopped:
            break
    if not steps:
        raise FloatingPointError("PPO met only gradients that are not finite numbers")
    metrics, taken = {name: sum(s[name] for s in steps) / len(steps) for name in steps[0]}, _taken(losses)
    if learner.logit_scale:
        metrics["policy/logit_scale"] = learner.logit_scale.value
    return metrics | {
        "value/loss": sum(taken) / len(taken),
        "value/explained_variance": explained,
        "value/skipped_steps": float(len(losses) - len(taken)),
        "policy/inner_steps": float(len(steps)),
        "policy/skipped_steps": float(tried - len(steps)),
        "objective/reward": float((rewards * data.mask).sum(1).mean()),
    }


def _taken(losses: Sequence[float | None]) -> list[float]:
    """Of the steps that were taken. Raises FloatingPointError if there was none of them."""
    taken = [loss for loss in losses if loss is not None]
    if losses and not taken:
        raise FloatingPointError("the value function met only gradients that are not finite numbers")
    return taken


def _assert_same_policy(watch: dict[str, float], bf16: bool) -> None:
    """In bf16 a logit of 100 is known to .25, and sampling rounds otherwise than a pass over the whole."""
    ratio, kl = (0.1, 0.1) if bf16 else (0.02, 0.01)
    if abs(watch["policy/ratio"] - 1) > ratio or watch["policy/approx_kl"] > kl:
        raise RuntimeError(
            f"PPO's first ratio is {watch['policy/ratio']:.4f} and approx_kl is "
            f"{watch['policy/approx_kl']:.4f}, wanted 1 and 0: "
            "the update does not see the policy that sampled."
        )


def _policy_step(
    learner: Learner, data: Rollout, advantages: Tensor, rows: list[int], kl_coef: float, config: PPOConfig
) -> dict[str, float] | None:
    """One optimiser step on the policy; gradients add up over micro-batches of the token budget.

    In these are the sampled responses of `rows` and some that people ranked first. None: a gradient was not
    finite, and nothing was changed.
    """
    family, optimizer, factor = learner.family, learner.policy_optimizer, learner.logit_scale
    prompts, responses = [data.prompts[i] for i in rows], [data.responses[i] for i in rows]
    tokens = sum(map(len, responses))
    if learner.chosen:
        drawn = list(islice(learner.chosen, config.chosen_among(len(rows))))
        imitation = Imitation.of(drawn, learner.value_function)
        prompts += [c.prompt for c in imitation.chosen]
        responses += [c.response for c in imitation.chosen]
    watched: list[tuple[float, dict[str, Tensor]]] = []  # read in the end: to read is to wait for a GPU
    learner.passes.forget_gradients()
    if factor:
        factor.forget()
    for picked, batch in family.batches(prompts, responses):
        sampled = [place for place, i in enumerate(picked) if i < len(rows)]
        chosen = [place for place, i in enumerate(picked) if i >= len(rows)]
        of_policy = torch.tensor([i < len(rows) for i in picked], device=family.device)
        loss = torch.zeros((), device=family.device)
        with family.use("policy"):
            (logprobs,), mask = learner.passes(batch, of_policy), batch.mask
            logprobs = logprobs[:, : mask.shape[1]]
            if sampled:
                part = [rows[picked[place]] for place in sampled]
                columns = min(mask.shape[1], data.mask.shape[1])  # a chosen response may be longer than any
                counts, now = (t[sampled, :columns] for t in (mask, logprobs))
                old, advantage = (t[part, :columns].to(family.device) for t in (data.logprobs, advantages))
                own, watch = f.policy_loss(now, old, advantage, counts, config.clip)
                share = sum(len(responses[picked[place]]) for place in sampled) / tokens
                loss = loss + share * own
                watched.append((share, watch | {"policy/loss": own.detach()}))
            if chosen:
                which = [picked[place] - len(rows) for place in chosen]
                own = imitation.loss(which, logprobs[chosen], mask[chosen], kl_coef)
                loss = loss + config.chosen_coef * own
                watched.append((1.0, {"policy/chosen_loss": own.detach()}))
            loss.backward()
    norm = nn.utils.clip_grad_norm_(_parameters(optimizer), config.max_grad_norm)
    if not torch.isfinite(norm):
        return None
    if factor:
        factor.step()
    optimizer.step()
    total = {"policy/chosen_loss": 0.0} if learner.chosen else {}
    for share, watch in watched:
        for name, number in zip(watch, torch.stack([*watch.values()]).tolist(), strict=True):
            total[name] = total.get(name, 0.0) + number * share
    return total


@torch.no_grad()
def _values(learner: Learner, seen: Tensor, data: Rollout) -> Tensor:
    """What the value function expects before each token (B, R); 0 behind the end."""
    return learner.value_function(seen).cpu() * data.mask


def _value_step(
    learner: Learner,
    seen: Tensor,
    mask: Tensor,
    old_values: Tensor | None,
    returns: Tensor,
    config: PPOConfig,
) -> float | None:
    """One optimiser step on the value function, clipped about old_values if they are given; its loss.

    None: a gradient was not finite, and nothing was changed.
    seen: (B, R, read), what `ValueFunction.read` gave. All others: (B, R).
    """
    optimizer, device = learner.value_optimizer, learner.family.device
    values, mask, returns = learner.value_function(seen), mask.to(device), returns.to(device)
    if old_values is None:
        loss = 0.5 * f.masked_mean((values - returns) ** 2, mask)
    else:
        loss = f.value_loss(values, old_values.to(device), returns, mask, config.value_clip)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(_parameters(optimizer), config.max_grad_norm)
    if not torch.isfinite(norm):
        return None
    optimizer.step()
    return float(loss.detach())


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]
