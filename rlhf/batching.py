"""Token lists to padded tensors, and which of them go through the model together.

Training batches are padded on the right: under causal attention the padding is behind every token that
counts, so no attention mask is needed and the positions are the natural ones. Only sampling pads left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

Sequences = Sequence[Sequence[int]]
Card = TypeVar("Card")


@dataclass(frozen=True)
class Padded:
    """B prompts with their responses, as one right-padded batch."""

    ids: Tensor  # (B, T) prompt, response, padding
    tokens: Tensor  # (B, R) the response tokens; padding behind them
    mask: Tensor  # (B, R) True where `tokens` counts
    positions: Tensor  # (B, R) where in T the hidden state lies that predicts each response token


def pad(prompts: Sequences, responses: Sequences, pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Pad prompts and responses (equally many, each response not empty)."""
    prompt_lengths = torch.tensor([len(p) for p in prompts])
    response_lengths = torch.tensor([len(r) for r in responses])
    width = int((prompt_lengths + response_lengths).max())
    steps = torch.arange(int(response_lengths.max()))
    ids = torch.full((len(prompts), width), pad_id)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ids[row, : len(prompt) + len(response)] = torch.tensor([*prompt, *response])
    mask = steps < response_lengths.unsqueeze(1)
    positions = (prompt_lengths.unsqueeze(1) - 1 + steps).clamp(max=width - 1)
    tokens = ids.gather(1, (positions + 1).clamp(max=width - 1))
    return Padded(*(t.to(device) for t in (ids, tokens, mask, positions)))


def by_length(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices in batches of at most `token_budget` padded tokens, long with long and short with short."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class Deck(Iterator[Card]):
    """All cards in a new order, again and again. Raises ValueError without any.

    left: which cards are still to come in this order, the next one last; with the state of `order` it is all
    that must be kept to go on later.
    """

    def __init__(self, cards: Sequence[Card], order: Random):
        if not cards:
            raise ValueError("There is no prompt to train on.")
        self.cards, self.order = list(cards), order
        self.left: list[int] = []

    def __next__(self) -> Card:
        if not self.left:
            self.left = self.order.sample(range(len(self.cards)), len(self.cards))[::-1]
        return self.cards[self.left.pop()]
