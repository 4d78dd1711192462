"""Learning from what people ranked first, beside what the policy samples itself (self-imitation, Oh 2018).

PPO learns from what it samples: a policy that never refuses any more earns nothing for refusing. A run of
seed 0 had come to that in round 2, and after round 3 went along with harm in .97 of harmful prompts (held
out, 240 samples) and won .723 over the reference (640 prompts). Round 3 done again with this and with
`borrowed` responses: .12 and .817, with another seed .05 and .806.

Each response teaches as far as it earns more than the value function expects of the policy, and it earns what
the policy would earn with it: its score less its KL.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.batching import Deck
from rlhf.functional import imitation_loss
from rlhf.likelihood import token_logprobs_at
from rlhf.reward_model import RewardModel
from rlhf.value_function import ValueFunction

AT_ONCE = 64  # responses whose states are in memory together
Pair = tuple[list[int], list[int]]  # an encoded prompt, and a response closed by EOS


@dataclass(frozen=True)
class Chosen:
    """A response that people ranked first, and what the reward model and the reference make of it."""

    prompt: list[int]
    response: list[int]
    score: float
    ref_logprob: float  # of the whole response, at the sampling temperature
    state: Tensor  # (1, hidden + output) what the value function reads before the first token


def scored_chosen(
    reward_model: RewardModel, pairs: Sequence[Pair], most: int, temperature: float, seed: int
) -> Deck[Chosen]:
    """The pairs, `most` of them at most, scored, in a new order again and again."""
    order = random.Random(seed)  # an order of its own: PPO's stays what it was
    prompts, responses = zip(*order.sample(list(pairs), min(len(pairs), most)), strict=True)
    family = reward_model.family
    cards: list[Chosen] = []
    for start in range(0, len(prompts), AT_ONCE):
        part = prompts[start : start + AT_ONCE], responses[start : start + AT_ONCE]
        plain, tempered = token_logprobs_at((1.0, temperature), family, "reference", *part)
        assessment = reward_model.assess(*part, plain, with_states=True)
        scores, states = assessment.scores.tolist(), assessment.states[:, :1].clone()
        cards += map(Chosen, *part, scores, tempered.sum(1).tolist(), states)
    return Deck(cards, order)


@dataclass(frozen=True)
class Imitation:
    """Chosen responses that may earn more than is expected of the policy: the others teach nothing."""

    chosen: list[Chosen]
    expected: Tensor  # (N,)
    tokens: int  # of all that were asked for, over which the loss is a mean

    @classmethod
    @torch.no_grad()
    def of(cls, chosen: Sequence[Chosen], value_function: ValueFunction) -> "Imitation":
        values = value_function(value_function.read(torch.stack([c.state for c in chosen])))[:, 0]
        worth = [i for i, c in enumerate(chosen) if c.score > values[i]]
        return cls([chosen[i] for i in worth], values[worth], sum(len(c.response) for c in chosen))

    def loss(self, picked: Sequence[int], logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
        """The picked responses' share of `functional.imitation_loss` -> scalar.

        logprobs, mask: (len(picked), R), of the policy at the sampling temperature. There is no bonus for
        negative KL: it would grow without limit as the policy gives a response up.
        """
        part = [self.chosen[i] for i in picked]
        scores, ref_logprobs = torch.tensor(
            [(c.score, c.ref_logprob) for c in part], device=logprobs.device
        ).T
        kl = logprobs.detach().sum(1) - ref_logprobs
        returns = scores - kl_coef * kl.clamp(min=0)
        loss = imitation_loss(logprobs, returns, self.expected[list(picked)], mask)
        return loss * mask.sum() / self.tokens
