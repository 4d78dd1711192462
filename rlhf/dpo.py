"""What DPO learns from: the preferences that rankings hold.

Every pair of a ranking with different ranks is a preference (`preferences_of`):

- Ties are left out: TRL's losses have no place for them. So are, of a partial ranking, the responses that
  were not compared with each other, which share a rank.
- What the annotator wrote themselves is the first of its ranking (`worker_rounds.as_learned`), so it beats
  all others.
- A response that was cut, is empty or is longer than the model reads is never the chosen one, and as the
  rejected one it is not closed by EOS: else the policy would learn that stopping there was wrong.
- How much better one of two is (strength) is an offset in the loss, -log sigmoid(beta x difference - offset)
  (Amini 2024, "DPO with an offset"). TRL has no such loss, but takes the reference's log-probabilities from
  the data, and a chosen one that the reference finds likelier by offset / beta is the same.
- An annotator's weight is how often a preference is there, whole times, and by chance for what is left. TRL
  has no weights of preferences.
- Whether the best is acceptable is not used: a preference says nothing of it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from data.preferences import RankedResponses, weighed
from rlhf.config import setting
from rlhf.reward_model import RewardModel


@dataclass(frozen=True)
class DPOConfig:
    beta: float = setting(0.1, "How dear it is to leave the reference, in DPO's loss.")
    learning_rate: float = setting(1e-3, "Rate for a model 256 wide; see Family.learning_rate.")
    epochs: int = setting(1, "Passes over the preferences.")
    batch: int = setting(32, "Preferences per optimiser step.")
    offset: float = setting(0.5, "Offset, in logits, of a response that is much better; a third if slightly.")
    evaluations: int = setting(4, "Looks at held-out prompts, the last at the end.")


@dataclass(frozen=True)
class Preference:
    """Encoded: prompt, chosen and rejected response."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    offset: float = 0.0  # in logits
    weight: float = 1.0


def preferences_of(
    reward_model: RewardModel, rankings: Sequence[RankedResponses], offset: float
) -> list[Preference]:
    """All preferences that the rankings hold."""
    found = []
    for ranking in weighed(rankings):
        prompt, responses = reward_model.encode_ranking(ranking)
        clear = offset * ranking.strength / 3
        best = min(ranking.ranks)
        for i, chosen in enumerate(responses):
            if not ranking.responses[i].strip() or not reward_model.is_closed(chosen):
                continue
            for j, rejected in enumerate(responses):
                if ranking.ranks[i] < ranking.ranks[j]:
                    needed = clear if ranking.ranks[i] == best else 0.0
                    found.append(Preference(prompt, chosen, rejected, needed, ranking.weight))
    return found


def as_often_as_weighed(preferences: Sequence[Preference], seed: int) -> list[Preference]:
    """Each as often as its weight says: 2.3 is twice, and once more in three of ten. Once where that leaves
    none at all."""
    chance = random.Random(seed)
    drawn = [
        p for p in preferences for _ in range(int(p.weight) + (chance.random() < p.weight - int(p.weight)))
    ]
    return drawn or list(preferences)
