"""What a round says while it runs, and how it ended: the words between rounds and whoever runs them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Something happened; the worker may do other things before it asks for the next."""

    state: str  # 'reward_model', 'ppo', 'dpo' or 'sft'
    detail: str  # one sentence
    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How the round ended. When published, the family's 'policy' role holds the new policy."""

    published: bool
    reason: str
    summary: dict[str, float]
