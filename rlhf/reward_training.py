"""How the reward model learns from rankings. Every round it starts again, from the SFT model.

Why not from the last round's reward model. One pass over the new rankings and as many of the old takes a
fifth of the time at 200, and orders pairs of the reference's responses nearly as well (`helpful`, two sets:
.865 and .881; all anew .876 and .886). But the policies win less: after three rounds of 200 `helpful`
rankings in all, 640 held-out prompts, seeds 20 to 23, .826, .816, .804 and .740; with a new one each round,
of two passes and one, .857, .845, .831 and .840. It seems that a policy has found what the last reward model
was wrong about: the next should be wrong about something else.

Passes: three, and two over what was held out, order .866 of `helpful` pairs right and .860 of `concise` ones
(nine and six sets of 64, 128 and 200 rankings); two and one, in two thirds of the time, .859 and .862. The
win rates above were .866, .859, .823 and .858 with the former.

Heads: several, each of which weighs the rankings otherwise, cost nothing and found nothing here. With 64
rankings (two sets each) one, four and eight order .853 to .869, .855 to .870, .848 to .868 of `helpful` pairs
right, and .848 to .853, .849 to .860, .850 to .860 of `concise`; how far they differ says little about how
wrong they are (rank correlation with the error -.16 to .33).

Generators of optimiser steps, so that the worker can serve annotators between any two.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.preferences import RankedResponses, weighed
from rlhf.borrowed import borrow, out_of_place
from rlhf.config import setting
from rlhf.likelihood import logprobs_and_pools
from rlhf.probe import fit_probe
from rlhf.ranking_loss import LIKELIHOODS, Lesson
from rlhf.recorded import Passes, recording
from rlhf.reward_model import RewardModel


@dataclass(frozen=True)
class RewardModelConfig:
    epochs: int = setting(3, "Passes over the rankings.")
    rankings_per_step: int = setting(8, "Rankings per optimiser step; all responses of one stay together.")
    learning_rate: float = setting(3e-4, "Peak learning rate of a model 256 wide; see Family.learning_rate.")
    weight_decay: float = setting(0.01, "AdamW weight decay.")
    warmup: float = setting(0.1, "Share of the steps that warm up; linear decay to 0 after them.")
    borrowed_weight: float = setting(
        0.5, "Weight of 'what was chosen here beats what was chosen for another prompt'; 0: none."
    )
    borrow_from: int = setting(
        4, "Of so many, drawn from other rankings, the one is borrowed that the probe likes best."
    )
    likelihood: str = setting("pairwise", "Of an order: pairwise or plackett-luce.")
    margin: float = setting(
        1.0, "Logits by which what is said to be much better must win; by less if clearly or slightly."
    )
    acceptance_weight: float = setting(0.3, "Weight of 'acceptable' and 'none is', where people said so.")
    heads: int = setting(1, "Heads on the one trunk, each of which weighs the rankings otherwise.")
    heldout_share: float = setting(0.2, "Share of the prompts kept apart to measure accuracy.")
    heldout_epochs: int = setting(
        2, "Passes over the held-out rankings, with as many others, once they have judged; 0: none."
    )

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"heads is {self.heads}; wanted: 1 or more.")
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood is '{self.likelihood}'; wanted: {' or '.join(LIKELIHOODS)}.")

    def weights(self) -> dict[str, Any]:
        """For `Lesson.losses`."""
        return {
            "likelihood": self.likelihood,
            "margin": self.margin,
            "acceptance": self.acceptance_weight,
            "borrowed": self.borrowed_weight,
        }


def train_reward_model(
    model: RewardModel, rankings: Sequence[RankedResponses], config: RewardModelConfig, seed: int
) -> Iterator[dict[str, float]]:
    """Train on rankings; yields `{"reward_model/loss": ...}`, `borrowed` included, after each optimiser step,
    or `{"reward_model/skipped_steps": 1.0}` where a gradient was not a finite number.

    All responses of a ranking, and all rankings of a prompt, stay in one step: shuffled pairs of one prompt
    overfit within an epoch (InstructGPT, section 3.5).
    """
    if not rankings:
        return
    order = random.Random(seed)
    examples = _examples(model, rankings, config, order, seed)
    model.likelihood = fit_probe(
        model.head,
        [e.logprobs for e in examples],
        torch.cat([e.pooled for e in examples]),
        _criterion(examples, config),
    )
    model.probe.load_state_dict(model.head.state_dict())
    examples = [e.with_the_hardest(model) for e in examples]
    yield from _train(model, examples, config, config.epochs, config.learning_rate, order)


def learn_heldout(
    model: RewardModel,
    heldout: Sequence[RankedResponses],
    train: Sequence[RankedResponses],
    config: RewardModelConfig,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Once the held-out rankings have judged the model, let it learn from them too; yields as above.

    A fifth of few rankings is much. As many of the others are mixed in, so that those are not forgotten; the
    rate is half the peak. Measured on the starter when the head saw the mean state of the last layer: 64
    rankings (4 runs, noise 10 %), 150 other prompts with 8 responses of the reference each, pairs ordered
    right .759 without this and without `probe`, .780 with this (.785 when all rankings are learned anew, in
    three times the time), .798 with both. Weights averaged over steps or over two or three trainings, and two
    or three models together, gave .003 at most.
    """
    order = random.Random(seed)
    mixed = [*heldout, *order.sample(list(train), min(len(train), len(heldout)))]
    if not mixed or not config.heldout_epochs:
        return
    examples = _examples(model, mixed, config, order, seed)
    examples = [e.with_the_hardest(model) for e in examples]
    yield from _train(model, examples, config, config.heldout_epochs, config.learning_rate / 2, order)


def _train(
    model: RewardModel,
    examples: Sequence["_Example"],
    config: RewardModelConfig,
    epochs: int,
    peak: float,
    order: random.Random,
) -> Iterator[dict[str, float]]:
    """Optimiser steps of `epochs` passes over the examples, the rate rising to `peak`, then falling to 0."""
    by_prompt: dict[str, list[_Example]] = {}
    for example in examples:
        by_prompt.setdefault(example.ranking.prompt, []).append(example)
    rate = model.family.learning_rate(peak)
    parameters = [*model.family.parameters("reward"), *model.head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=config.weight_decay, eps=1e-5, fused=True)
    size = config.rankings_per_step
    steps = [step for _ in range(epochs) for step in _steps(by_prompt, size, order)]
    warmup = max(1, round(config.warmup * len(steps)))
    model.passes = Passes(model.family, "reward", model.read, parameters)
    try:
        for number, step in enumerate(steps):
            share = min((number + 1) / warmup, (len(steps) - number) / max(1, len(steps) - warmup))
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            parts = [step[i : i + size] for i in range(0, len(step), size)]
            with recording(model.family):
                loss = _optimise(model, parts, config, optimizer, parameters)
            yield {"reward_model/skipped_steps": 1.0} if loss is None else {"reward_model/loss": loss}
    finally:
        model.passes = None


@dataclass(frozen=True)
class _Example:
    """A ranking as the models see it."""

    ranking: RankedResponses
    prompt: list[int]
    responses: list[list[int]]  # the K of the ranking, and B borrowed ones behind them
    logprobs: Tensor  # (K+B, R) of the reference, which never changes
    pooled: Tensor  # (K+B, 3 hidden) its states, likewise
    shares: Tensor  # (heads,) how much each head heeds it

    def only(self, rows: list[int]) -> "_Example":
        """The same with some of the responses."""
        responses = [self.responses[row] for row in rows]
        width = max(map(len, responses))
        return replace(
            self, responses=responses, logprobs=self.logprobs[rows, :width], pooled=self.pooled[rows]
        )

    @torch.no_grad()
    def with_the_hardest(self, model: RewardModel) -> "_Example":
        """Of what is borrowed, only the one that the probe likes best."""
        own = len(self.ranking.ranks)
        if len(self.responses) <= own + 1:
            return self
        liked = model.probe(self.pooled[own:].to(model.family.device)).cpu()
        liked += model.likelihood(self.logprobs[own:])
        return self.only([*range(own), own + int(liked.mean(1).argmax())])


def _examples(
    model: RewardModel,
    rankings: Sequence[RankedResponses],
    config: RewardModelConfig,
    order: random.Random,
    seed: int,
) -> list[_Example]:
    """order: what to draw borrowed responses with. seed: what the heads' shares are drawn with."""
    rankings = weighed(rankings)
    encoded = [model.encode_ranking(ranking) for ranking in rankings]
    context = model.family.context or math.inf
    sources = borrow(rankings, order, config.borrow_from if config.borrowed_weight else 0)
    texts_of = []
    for number, (prompt, responses) in enumerate(encoded):
        # what was written behind a shorter prompt may have no room here
        fits = [(i, j) for i, j in sources[number] if len(prompt) + len(encoded[i][1][j]) <= context]
        sources[number] = fits
        texts = [*responses, *(encoded[i][1][j] for i, j in fits)]
        texts_of.append((prompt, texts))
    prompts = [prompt for prompt, texts in texts_of for _ in texts]
    seen = logprobs_and_pools(model.family, "reference", prompts, [r for _, texts in texts_of for r in texts])
    logprobs, pools = (whole.split([len(texts) for _, texts in texts_of]) for whole in seen)
    found = []
    for number, (ranking, (prompt, texts)) in enumerate(zip(rankings, texts_of, strict=True)):
        own = len(ranking.ranks)
        rows = list(range(own))
        for row, (i, j) in enumerate(sources[number], start=own):
            if out_of_place(there=logprobs[i][j], here=logprobs[number][row]):
                rows.append(row)
        shares = _shares(ranking.prompt, model.head.linear.out_features, seed)
        found.append(_Example(ranking, prompt, texts, logprobs[number], pools[number], shares).only(rows))
    return found


def _steps(by_prompt: dict[str, list[_Example]], size: int, order: random.Random) -> Iterator[list[_Example]]:
    """One epoch: prompts shuffled, cut into steps of about `size` rankings."""
    prompts = list(by_prompt)
    order.shuffle(prompts)
    step: list[_Example] = []
    for prompt in prompts:
        step += by_prompt[prompt]
        if len(step) >= size:
            yield step
            step = []
    if step:
        yield step


def _optimise(
    model: RewardModel,
    parts: Sequence[Sequence[_Example]],
    config: RewardModelConfig,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
) -> float | None:
    """One optimiser step; the mean loss of its rankings before it.

    Gradients add up over the parts, so that a prompt with many rankings needs no more memory than others.
    None: a gradient was not finite, and nothing was changed.
    """
    model.passes.forget_gradients()
    losses, count = [], sum(map(len, parts))
    for part in parts:
        with model.family.use("reward"):
            loss = _losses(model, part, config).sum() / count
            loss.backward()
        losses.append(loss.detach())
    if not torch.isfinite(torch.nn.utils.clip_grad_norm_(parameters, 1.0)):
        return None
    optimizer.step()
    return float(torch.stack(losses).sum())


def _losses(model: RewardModel, part: Sequence[_Example], config: RewardModelConfig) -> Tensor:
    """Loss of each ranking (B,). Every response goes through the model once."""
    prompts = [e.prompt for e in part for _ in e.responses]
    width = max(e.logprobs.shape[1] for e in part)
    logprobs = torch.cat([F.pad(e.logprobs, (0, width - e.logprobs.shape[1])) for e in part])
    scores, _ = model.trunk_scores(prompts, [response for e in part for response in e.responses], logprobs)
    scores = scores.float() + model.likelihood(logprobs).to(scores.device)
    return _criterion(part, config, scores.device)(scores)


def _criterion(
    part: Sequence[_Example], config: RewardModelConfig, device: torch.device | str = "cpu"
) -> Callable[[Tensor], Tensor]:
    """From scores (N, heads) to the loss of each ranking (B,), the mean of the heads'."""
    borrowed = [len(e.responses) - len(e.ranking.ranks) for e in part]
    lesson = Lesson.of([e.ranking for e in part], borrowed, device)
    shares = torch.stack([e.shares for e in part]).to(device)

    def losses(scores: Tensor) -> Tensor:
        each = [lesson.losses(own, **config.weights()) for own in scores.unbind(1)]
        return (torch.stack(each, dim=1) * shares).mean(1)

    return losses


def _shares(prompt: str, heads: int, seed: int) -> Tensor:
    """How much each head heeds the rankings of a prompt (heads,), 1 in the mean; a single head all alike.

    Drawn from an exponential distribution (Rubin 1981, "The Bayesian Bootstrap"): the heads then differ as
    much as heads of other rankings would.
    """
    if heads == 1:
        return torch.ones(1)
    draw = random.Random(f"{seed} {prompt}")
    return torch.tensor([draw.expovariate(1.0) for _ in range(heads)])
