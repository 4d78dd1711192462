"""Token lists to padded tensors, and which of them go through a model together.

Rows are padded on the right: under causal attention the padding is behind every token that counts. Only
sampling pads left. Responses to one prompt can share a row, a **tree**: the prompt once, then the responses,
each of which sees the prompt and itself, at the positions it would have behind the prompt alone. A ranking
of four is then one row and not four, and the prompt is read once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

EVEN = 16

Sequences = Sequence[Sequence[int]]
Card = TypeVar("Card")


@dataclass(frozen=True)
class Padded:
    """N responses and their prompts in B rows of T tokens; R is the longest response."""

    ids: Tensor  # (B, T)
    tokens: Tensor  # (N, R) the response tokens
    mask: Tensor  # (N, R) True where `tokens` counts
    before: Tensor  # (N, R) where in B x T the state lies that predicts each response token
    own: Tensor  # (N, R) where in B x T each response token lies itself
    position_ids: Tensor | None = None  # (B, T), 0 in padding; None where they are the natural ones
    attention: Tensor | None = None  # (B, 1, T, T) True where a token sees another, for trees
    even: bool = False  # of a shape that others have too, see `plant`

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with."""
        if self.position_ids is None:
            return {"input_ids": self.ids}
        if self.attention is None:
            return {"input_ids": self.ids, "position_ids": self.position_ids}
        dtype = torch.get_autocast_dtype(self.ids.device.type) if _autocast(self.ids) else torch.float32
        hidden = torch.zeros(self.attention.shape, dtype=dtype, device=self.ids.device)
        hidden.masked_fill_(~self.attention, torch.finfo(dtype).min)
        return {"input_ids": self.ids, "position_ids": self.position_ids, "attention_mask": hidden}


def _autocast(ids: Tensor) -> bool:
    return torch.is_autocast_enabled(ids.device.type)


def pad(prompts: Sequences, responses: Sequences, pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Prompts and responses (equally many, each response not empty), a row for each."""
    return plant([(p, [r]) for p, r in zip(prompts, responses, strict=True)], pad_id, device)


def plant(
    trees: Sequence[tuple[Sequence[int], Sequences]],
    pad_id: int,
    device: torch.device | str = "cpu",
    *,
    even: bool = False,
) -> Padded:
    """A row for each prompt with its responses, which are numbered through in this order.

    even: rows are as many as a power of two, and as long as a multiple of `EVEN`, so that few shapes occur.
    """
    rows = [[*prompt, *(token for r in responses for token in r)] for prompt, responses in trees]
    width, longest = max(map(len, rows)), max(len(r) for _, responses in trees for r in responses)
    if even:
        rows += [[]] * ((1 << (len(rows) - 1).bit_length()) - len(rows))
        width = -(-width // EVEN) * EVEN
    ids = torch.full((len(rows), width), pad_id)
    position_ids = torch.zeros(len(rows), width, dtype=torch.long)
    part = torch.zeros(len(rows), width, dtype=torch.long)  # 0: the prompt's, k: the kth response's
    tokens, before, own, lengths = [], [], [], []
    for row, (prompt, responses) in enumerate(trees):
        ids[row, : len(rows[row])] = torch.tensor(rows[row])
        position_ids[row, : len(prompt)] = torch.arange(len(prompt))
        start = len(prompt)
        for number, response in enumerate(responses, start=1):
            end = start + len(response)
            places = torch.arange(start, end) + row * width
            own.append(places)
            before.append(torch.cat([torch.tensor([row * width + len(prompt) - 1]), places[:-1]]))
            tokens.append(ids[row, start:end])
            lengths.append(len(response))
            part[row, start:end] = number
            position_ids[row, start:end] = torch.arange(len(prompt), len(prompt) + len(response))
            start = end
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    fill = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    found = [ids, fill(tokens, padding_value=pad_id), mask, fill(before), fill(own)]
    shared = any(len(responses) > 1 for _, responses in trees)
    if shared or even:  # rounded up, a row may be longer than there are positions
        found.append(position_ids)
    if shared:
        earlier = torch.ones(width, width, dtype=torch.bool).tril()
        related = (part.unsqueeze(1) == 0) | (part.unsqueeze(1) == part.unsqueeze(2))
        found.append((earlier & related).unsqueeze(1))
    return Padded(*(t.to(device) for t in found), even=even)


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


def in_powers_of_two(batch: Sequence[int]) -> Iterator[Sequence[int]]:
    """A batch in parts that even shapes, rounded up to a power of two, make no more than a quarter larger."""
    while batch:
        size = 1 << (len(batch) - 1).bit_length()
        if size > 1.25 * len(batch):
            size //= 2
        yield batch[:size]
        batch = batch[size:]


def trees_of(prompts: Sequences, responses: Sequences, longest: int) -> list[list[int]]:
    """Which responses share a row: those to one prompt, as long as a row has at most `longest` tokens."""
    open_trees: dict[tuple[int, ...], tuple[list[int], int]] = {}
    trees: list[list[int]] = []
    for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        tree, length = open_trees.get(tuple(prompt), ([], len(prompt)))
        if not tree or length + len(response) > longest:
            tree, length = [], len(prompt)
            trees.append(tree)
        tree.append(index)
        open_trees[tuple(prompt)] = tree, length + len(response)
    return trees


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
