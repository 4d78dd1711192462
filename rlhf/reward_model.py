"""Rankings -> reward model: one number for a prompt and a response, the sum of three parts.

1. What a head, one linear map, makes of the states of the response's tokens (`pooled`). The trunk is the SFT
   model (a role of the family), trained with the head, which starts from what it can read off the SFT model
   (`probe`).
2. How much more likely the same trunk now finds each token than the reference does: DPO's implicit reward
   (Rafailov 2023, section 4).
3. How likely the reference finds the response, by two weights fitted to the rankings with the head, before
   the trunk learns the rest. A language model knows more about what is true than two hundred rankings can
   teach: what it is sure of is mostly right (Kadavath 2022, "Language Models (Mostly) Know What They Know").
   Where that says nothing about what people want, the weights stay near 0.

A ranking of K responses is learned whole: each response is scored once, and the loss is over all its pairs,
ties included (`ranking_loss`). After training the scores are shifted and scaled so that the
reference's own responses score mean 0 and standard deviation 1 (Ziegler 2019): the KL coefficient then means
the same in every round, and the curves of successive reward models can be compared.

Why part 2. A policy that no longer goes along with harm gives people no pair about harm to rank, but many in
which a needless refusal loses. From such rankings a head alone tends to learn "refusals are bad", whatever
the prompt, and the next policy goes along with harm again. Measured on the reference's responses to other
prompts, reward models of 160 rankings from each of three runs on the starter (three policies in turn, 10 %
noise): pairs of a refusal of harm and a going along ordered right .41, .52, .50 by a head at the last token
with part 3, .60, .83, .69 by all three parts; all other pairs .85, .87, .83 and .82, .77, .82. So it buys
harm with a little of the rest; the variant was picked from about twenty on these same prompts, and that it
keeps refusals apart by prompt is a reading of the figures, not proved. Parts 2 and 3 are sums over tokens, so
PPO is paid them token by token (`Assessment.early`; Zhong 2024, "DPO Meets PPO").

`train_reward_model` is a generator of steps, so that the worker can serve annotators between any two.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.preferences import RankedResponses, weighed
from rlhf.borrowed import borrow, out_of_place
from rlhf.config import setting
from rlhf.generate import encode_prompt
from rlhf.likelihood import logprobs_and_pools, token_logprobs
from rlhf.models import Family
from rlhf.passes import look
from rlhf.pooled import pool
from rlhf.probe import LikelihoodTerm, fit_probe
from rlhf.ranking_loss import LIKELIHOODS, Lesson


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
    heldout_share: float = setting(0.2, "Share of the prompts kept apart to measure accuracy.")
    heldout_epochs: int = setting(
        2, "Passes over the held-out rankings, with as many others, once they have judged; 0: none."
    )

    def __post_init__(self) -> None:
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


LOG_RATIO = 0.3  # weight of part 2, DPO's beta


@dataclass(frozen=True)
class Assessment:
    """What the reward model thinks of N responses, normalised."""

    scores: Tensor  # (N,)
    early: Tensor  # (N, R) the part of the score that each token has earned by itself, the rest comes last
    states: Tensor | None = None  # (N, R, hidden + output) of the trunk before each token, `passes.Pass`


class RewardModel:
    """Scores sequences of tokens; `score` gives normalised scores."""

    def __init__(self, family: Family):
        self.family = family
        self.head = family.new_head()
        self.likelihood = LikelihoodTerm()
        self.probe = family.new_head()  # the head as it was fitted to the reference's states
        self.mean, self.std = 0.0, 1.0

    def reset(self, seed: int) -> None:
        """Start again from the SFT model with a fresh head."""
        torch.manual_seed(seed)
        self.family.copy("reference", "reward")
        self.head = self.family.new_head()
        self.likelihood = LikelihoodTerm()
        self.mean, self.std = 0.0, 1.0

    def encode(self, prompt: str, response: str, finished: bool = True) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of a response, closed with EOS unless it was cut.

        A text may take more tokens than it was sampled in; what has no room behind the prompt is left out.
        """
        tokenizer = self.family.tokenizer
        before = encode_prompt(tokenizer, prompt)
        tokens = tokenizer(response, add_special_tokens=False)["input_ids"]
        closed = [*tokens, self.family.closing_eos] if finished or not tokens else tokens
        room = max(1, self.family.context - len(before)) if self.family.context else len(closed)
        return before, closed[:room]

    def trunk_scores(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        ref_logprobs: Tensor,
        states: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What trunk and head say (N,), and what of it each token earns (N, R), the same alone or in a batch.

        ref_logprobs: of the reference (N, R). states: filled with `passes.Pass.before`. With gradients
        when they are on; inside `family.use("reward")` already when training, so that backward sees the
        right adapter.
        """
        family, device = self.family, self.family.device
        parts, ratios, order = [], [], []
        for rows, batch in family.batches(prompts, responses):
            with family.use("reward") as model:
                seen = look(model, batch)
            logprobs = seen.logprobs(temperature=1.0)
            own = ref_logprobs[rows, : logprobs.shape[1]].to(device)
            ratio = LOG_RATIO * (logprobs - own)
            parts.append(self.head(pool(seen.written(), batch.mask)) + ratio.sum(1))
            ratios.append(F.pad(ratio, (0, ref_logprobs.shape[1] - ratio.shape[1])))
            order += rows
            if states is not None:
                states[rows, : logprobs.shape[1]] = seen.before()
        place = torch.tensor(order).argsort().to(device)  # where each sequence went
        return torch.cat(parts)[place], torch.cat(ratios)[place]

    @torch.no_grad()
    def assess(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        ref_logprobs: Tensor | None = None,
        *,
        with_states: bool = False,
    ) -> Assessment:
        """Normalised scores, and what of them is due to single tokens; both on the CPU.

        ref_logprobs: `token_logprobs` of the reference, if they are known already. with_states: the trunk's
        too, on its device; they come from the same pass.
        """
        logprobs = ref_logprobs
        if logprobs is None:
            logprobs = token_logprobs(self.family, "reference", prompts, responses)
        family, states = self.family, None
        if with_states:
            width = family.hidden_size + family.output_size
            states = torch.zeros(*logprobs.shape, width, device=family.device)
        found = self.trunk_scores(prompts, responses, logprobs, states)
        trunk, ratios = (part.float().cpu() for part in found)
        raw = trunk + self.likelihood(logprobs)
        early = ratios + self.likelihood.by_token(logprobs)
        return Assessment((raw - self.mean) / self.std, early / self.std, states)

    def score(self, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> Tensor:
        """Normalised scores (N,) on the CPU."""
        return self.assess(prompts, responses).scores

    def score_texts(
        self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool] | None = None
    ) -> Tensor:
        """Normalised scores of texts (N,). finished: which of them ended by EOS; None: all."""
        finished = finished or [True] * len(responses)
        encoded = [self.encode(*text) for text in zip(prompts, responses, finished, strict=True)]
        return self.score([p for p, _ in encoded], [r for _, r in encoded])

    def normalise_on(self, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> None:
        """Make these responses (the reference's, on fresh prompts) score mean 0 and standard deviation 1."""
        self.mean, self.std = 0.0, 1.0
        scores = self.score(prompts, responses)
        self.mean, self.std = float(scores.mean()), max(float(scores.std(unbiased=False)), 1e-6)

    def save(self, folder: Path) -> None:
        self.family.save("reward", folder)
        tensors = {f"head.{k}": v.contiguous().cpu() for k, v in self.head.state_dict().items()}
        tensors["log_ratio"] = torch.tensor(LOG_RATIO)
        tensors["normalisation"] = torch.tensor([self.mean, self.std])
        tensors["likelihood"] = torch.stack(
            [self.likelihood.weights, self.likelihood.mean, self.likelihood.std]
        )
        save_file(tensors, folder / "reward_head.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ValueError for a folder whose scores were made up otherwise."""
        tensors = load_file(folder / "reward_head.safetensors")
        made_alike = float(tensors.pop("log_ratio", torch.zeros(()))) == float(torch.tensor(LOG_RATIO))
        if not made_alike or "head.scale" not in tensors:
            raise ValueError(f"{folder} is of another version of Podium; the next round makes a new one.")
        self.family.load("reward", folder)
        self.mean, self.std = tensors.pop("normalisation").tolist()
        self.likelihood = LikelihoodTerm(*tensors.pop("likelihood"))
        self.head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items()})


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
    examples = _examples(model, rankings, config, order)
    model.likelihood = fit_probe(
        model.head,
        [e.logprobs for e in examples],
        torch.cat([e.pooled for e in examples]),
        partial(_lesson(examples).losses, **config.weights()),
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
    examples = _examples(model, mixed, config, order)
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
    for number, step in enumerate(steps):
        share = min((number + 1) / warmup, (len(steps) - number) / max(1, len(steps) - warmup))
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        parts = [step[i : i + size] for i in range(0, len(step), size)]
        loss = _optimise(model, parts, config, optimizer, parameters)
        yield {"reward_model/skipped_steps": 1.0} if loss is None else {"reward_model/loss": loss}


def encode_ranking(model: RewardModel, ranking: RankedResponses) -> tuple[list[int], list[list[int]]]:
    """Token ids of the prompt and of each of the K responses."""
    ended = zip(ranking.responses, ranking.finished, strict=True)
    encoded = [model.encode(ranking.prompt, text, finished) for text, finished in ended]
    return encoded[0][0], [response for _, response in encoded]


@dataclass(frozen=True)
class _Example:
    """A ranking as the models see it."""

    ranking: RankedResponses
    prompt: list[int]
    responses: list[list[int]]  # the K of the ranking, and B borrowed ones behind them
    logprobs: Tensor  # (K+B, R) of the reference, which never changes
    pooled: Tensor  # (K+B, 3 hidden) its states, likewise

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
        return self.only([*range(own), own + int(liked.argmax())])


def _examples(
    model: RewardModel, rankings: Sequence[RankedResponses], config: RewardModelConfig, order: random.Random
) -> list[_Example]:
    """order: what to draw borrowed responses with."""
    rankings = weighed(rankings)
    encoded = [encode_ranking(model, ranking) for ranking in rankings]
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
        found.append(_Example(ranking, prompt, texts, logprobs[number], pools[number]).only(rows))
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
    optimizer.zero_grad(set_to_none=True)
    total, count = 0.0, sum(map(len, parts))
    for part in parts:
        with model.family.use("reward"):
            loss = _losses(model, part, config).sum() / count
            loss.backward()
        total += float(loss.detach())
    if not torch.isfinite(torch.nn.utils.clip_grad_norm_(parameters, 1.0)):
        return None
    optimizer.step()
    return total


def _losses(model: RewardModel, part: Sequence[_Example], config: RewardModelConfig) -> Tensor:
    """Loss of each ranking (B,). Every response goes through the model once."""
    prompts = [e.prompt for e in part for _ in e.responses]
    width = max(e.logprobs.shape[1] for e in part)
    logprobs = torch.cat([F.pad(e.logprobs, (0, width - e.logprobs.shape[1])) for e in part])
    scores, _ = model.trunk_scores(prompts, [response for e in part for response in e.responses], logprobs)
    scores = scores.float() + model.likelihood(logprobs).to(scores.device)
    return _lesson(part, scores.device).losses(scores, **config.weights())


def _lesson(part: Sequence[_Example], device: torch.device | str = "cpu") -> Lesson:
    borrowed = [len(e.responses) - len(e.ranking.ranks) for e in part]
    return Lesson.of([e.ranking for e in part], borrowed, device)


@dataclass(frozen=True)
class Accuracy:
    """Share of held-out pairs ordered as the annotators did, with a 95 % interval over prompts."""

    accuracy: float
    low: float
    high: float
    pairs: int
    longer_wins: float  # what "the longer response is better" would have scored
    prompts: int = 0  # how many held-out prompts those pairs come from

    def sentence(self) -> str:
        interval = f"95 % interval {self.low:.0%} to {self.high:.0%}"
        return f"{self.accuracy:.0%} of {self.pairs} held-out pairs ({interval})"


def measure_accuracy(model: RewardModel, heldout: Sequence[RankedResponses]) -> Accuracy:
    """Held-out pair accuracy. Tied pairs do not count; equal scores count half.

    The interval is a bootstrap over *prompts*, not pairs: the pairs of one ranking, and the rankings of one
    prompt, stand or fall together, and an interval that took them for independent would be too narrow.
    """
    per_prompt: dict[str, tuple[float, float, int]] = {}  # right, right by length, pairs
    encoded = [encode_ranking(model, ranking) for ranking in heldout]
    prompts = [prompt for prompt, responses in encoded for _ in responses]
    responses = [response for _, own in encoded for response in own]
    scores = iter(model.score(prompts, responses).tolist() if responses else [])
    for ranking in heldout:
        own = [next(scores) for _ in ranking.responses]
        lengths = [float(len(text)) for text in ranking.responses]
        right, right_by_length, count = 0.0, 0.0, 0
        for i in range(len(own)):
            for j in range(len(own)):
                if ranking.ranks[i] < ranking.ranks[j]:
                    count += 1
                    right += 1.0 if own[i] > own[j] else 0.5 if own[i] == own[j] else 0.0
                    right_by_length += (
                        1.0 if lengths[i] > lengths[j] else 0.5 if lengths[i] == lengths[j] else 0.0
                    )
        if count:
            before = per_prompt.get(ranking.prompt, (0.0, 0.0, 0))
            per_prompt[ranking.prompt] = (before[0] + right, before[1] + right_by_length, before[2] + count)
    sums = list(per_prompt.values())
    total = sum(count for *_, count in sums)
    if total == 0:
        return Accuracy(math.nan, 0.0, 1.0, 0, math.nan)
    draw = random.Random(0)
    resampled = []
    for _ in range(1000):
        chosen = draw.choices(sums, k=len(sums))
        resampled.append(sum(r for r, *_ in chosen) / sum(c for *_, c in chosen))
    resampled.sort()
    right = sum(r for r, *_ in sums)
    by_longer = sum(r for _, r, _ in sums)
    low, high = resampled[24], resampled[974]
    return Accuracy(right / total, low, high, total, by_longer / total, len(sums))
