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
from rlhf.likelihood import response_logprobs, token_logprobs_at
from rlhf.models import Family
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


def imitate(
    family: Family,
    value_function: ValueFunction,
    chosen: Sequence[Chosen],
    *,
    kl_coef: float,
    temperature: float,
    weight: float,
) -> float:
    """Add the gradient of `weight` times `functional.imitation_loss` to the policy's; returns that loss.

    There is no bonus for negative KL: it would grow without limit as the policy gives a response up.
    """
    tokens = sum(len(c.response) for c in chosen)
    total = 0.0
    for rows, batch in family.batches([c.prompt for c in chosen], [c.response for c in chosen]):
        part = [chosen[i] for i in rows]
        with torch.no_grad():
            states = torch.stack([c.state for c in part])
            expected = value_function(value_function.read(states))[:, 0]
        scores, ref_logprobs = torch.tensor([(c.score, c.ref_logprob) for c in part], device=family.device).T
        share = float(batch.mask.sum()) / tokens
        with family.use("policy"):
            logprobs = response_logprobs(family, "policy", batch, temperature)
            kl = logprobs.detach().sum(1) - ref_logprobs
            returns = scores - kl_coef * kl.clamp(min=0)
            loss = share * imitation_loss(logprobs, returns, expected, batch.mask)
            (weight * loss).backward()
        total += float(loss.detach())
    return total
