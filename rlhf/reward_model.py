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

How it learns: `reward_training`; how it is judged: `reward_accuracy`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.preferences import RankedResponses
from rlhf.generate import encode_prompt
from rlhf.likelihood import token_logprobs
from rlhf.models import Family
from rlhf.passes import Pass, look
from rlhf.pooled import pool
from rlhf.probe import LikelihoodTerm
from rlhf.recorded import Passes

LOG_RATIO = 0.3  # weight of part 2, DPO's beta


@dataclass(frozen=True)
class Assessment:
    """What the reward model thinks of N responses, normalised."""

    scores: Tensor  # (N,) the mean of the heads'
    spread: Tensor  # (N,) their standard deviation, for who asks; 0 with one head
    early: Tensor  # (N, R) the part of the score that each token has earned by itself, the rest comes last
    states: Tensor | None = None  # (N, R, hidden + output) of the trunk before each token, `passes.Pass`


class RewardModel:
    """Scores sequences of tokens; `score` gives normalised scores."""

    def __init__(self, family: Family):
        self.family = family
        self.head = family.new_head()
        self.likelihood = LikelihoodTerm()
        self.probe = family.new_head()  # the head as it was fitted to the reference's states
        self.passes: Passes | None = None  # of the trunk, while it is trained
        self.mean, self.std = 0.0, 1.0

    def reset(self, seed: int, heads: int = 1) -> None:
        """Start again from the SFT model with fresh heads."""
        torch.manual_seed(seed)
        self.family.copy("reference", "reward")
        self.head, self.probe = (self.family.new_head(heads) for _ in range(2))
        self.likelihood = LikelihoodTerm(torch.zeros(2, heads))
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

    def is_closed(self, response: list[int]) -> bool:
        """Whether an encoded response ends with EOS: it was not cut, and there was room for all of it."""
        return response[-1] == self.family.closing_eos

    def encode_ranking(self, ranking: RankedResponses) -> tuple[list[int], list[list[int]]]:
        """Token ids of the prompt and of each of the K responses."""
        ended = zip(ranking.responses, ranking.finished, strict=True)
        encoded = [self.encode(ranking.prompt, text, finished) for text, finished in ended]
        return encoded[0][0], [response for _, response in encoded]

    def read(self, seen: Pass, _heeded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of a pass what the heads say (N, heads), and the log-probabilities (N, R)."""
        mask = seen.batch.mask.clone()
        mask[:, 0] = True  # as in every response; so in what only fills a batch up, which else were no number
        return self.head(pool(seen.written(), mask)), seen.logprobs(temperature=1.0)

    def trunk_scores(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        ref_logprobs: Tensor,
        states: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What trunk and heads say (N, heads), and what of it each token earns (N, R).

        The same alone or in a batch.

        ref_logprobs: of the reference (N, R). states: filled with `passes.Pass.before`. With gradients
        when they are on.
        """
        family, device = self.family, self.family.device
        parts, ratios, order = [], [], []
        for rows, batch in family.batches(prompts, responses):
            longest = batch.mask.shape[1]
            if self.passes and torch.is_grad_enabled():
                heard, logprobs = self.passes(batch)
            else:
                with family.use("reward") as model:
                    seen = look(model, batch)
                heard, logprobs = self.read(seen)
                if states is not None:
                    states[rows, :longest] = seen.before()
            ratio = LOG_RATIO * (logprobs[:, :longest] - ref_logprobs[rows, :longest].to(device))
            parts.append(heard + ratio.sum(1, keepdim=True))
            ratios.append(F.pad(ratio, (0, ref_logprobs.shape[1] - longest)))
            order += rows
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
        scores = (raw.mean(1) - self.mean) / self.std
        return Assessment(scores, raw.std(1, correction=0) / self.std, early / self.std, states)

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
        """Make these responses (the reference's, freshly drawn) score mean 0 and standard deviation 1."""
        self.mean, self.std = 0.0, 1.0
        scores = self.score(prompts, responses)
        self.mean, self.std = float(scores.mean()), max(float(scores.std(unbiased=False)), 1e-6)

    def save(self, folder: Path) -> None:
        self.family.save("reward", folder)
        tensors = {f"head.{k}": v.contiguous().cpu() for k, v in self.head.state_dict().items()}
        tensors["log_ratio"] = torch.tensor(LOG_RATIO)
        tensors["normalisation"] = torch.tensor([self.mean, self.std])
        term = self.likelihood
        tensors["likelihood"] = torch.stack([*term.weights.T, term.mean, term.std])
        save_file(tensors, folder / "reward_head.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ValueError for a folder whose scores were made up otherwise."""
        tensors = load_file(folder / "reward_head.safetensors")
        names = {"log_ratio", "normalisation", "likelihood", *(f"head.{k}" for k in self.head.state_dict())}
        if names != tensors.keys() or tensors["log_ratio"] != torch.tensor(LOG_RATIO):
            raise ValueError(f"{folder} is of another version of Podium; the next round makes a new one.")
        self.family.load("reward", folder)
        self.mean, self.std = tensors["normalisation"].tolist()
        *weights, mean, std = tensors["likelihood"]
        self.likelihood = LikelihoodTerm(torch.stack(weights, 1), mean, std)
        self.head = self.family.new_head(len(weights))
        own = {name: t for name, t in tensors.items() if name.startswith("head.")}
        self.head.load_state_dict({name.removeprefix("head."): t for name, t in own.items()})
        self.probe = copy.deepcopy(self.head)  # the probe itself is not kept: only training asks for it
