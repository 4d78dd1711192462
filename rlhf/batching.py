"""Token lists to padded tensors, and which of them go through a model together.

Rows are padded on the right: under causal attention the padding is behind every token that counts. Only
sampling pads left. Responses to one prompt can share a row, a **tree**: the prompt once, then the responses,
each of which sees the prompt and itself, at the positions it would have behind the prompt alone. A ranking
of four is then one row and not four, and the prompt is read once. Where rows of one length are worth more
than the attention that is masked away, several trees stand in a row, none of which sees another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

EVEN = 16

Sequences = Sequence[Sequence[int]]
Tree = tuple[Sequence[int], Sequences]  # a prompt, and responses to it
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
    attention: Tensor | None = None  # (B, 1, T, T) True where a token sees another, for shared rows
    even: bool = False  # of a shape that others have too, see `plant`
    flat: Tensor | None = None  # (M,) where in N x R the response tokens are, then 0; None: as `mask` has it

    @property
    def tensors(self) -> list[Tensor]:
        """All there are, for `of`."""
        return [t for t in vars(self).values() if isinstance(t, Tensor)]

    def of(self, tensors: Sequence[Tensor]) -> "Padded":
        """The same with these."""
        names = [name for name, t in vars(self).items() if isinstance(t, Tensor)]
        return replace(self, **dict(zip(names, tensors, strict=True)))

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
    return plant([[(p, [r])] for p, r in zip(prompts, responses, strict=True)], pad_id, device)


def plant(
    rows: Sequence[Sequence[Tree]], pad_id: int, device: torch.device | str = "cpu", *, even: bool = False
) -> Padded:
    """Each row with its trees, one behind the other; the responses are numbered through in this order.

    even: rows are as many as a power of two, and as long as a multiple of `EVEN`, so that few shapes occur.
    """
    columns = [_lay_out(row) for row in rows]
    count, width = len(rows), max(len(ids) for ids, *_ in columns)
    if even:
        count, width = 1 << (count - 1).bit_length(), -(-width // EVEN) * EVEN
    ids, position_ids, tree, part = (
        torch.full((count, width), fill) for fill in (pad_id, 0, 0, 0)
    )  # tree 0 is padding; part 0 is the prompt's, k the kth response's
    tokens, before, own = [], [], []
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        length = len(column[0])
        for whole, values in zip((ids, position_ids, tree, part), column, strict=True):
            whole[number, :length] = torch.tensor(values)
        start = number * width
        for prompt, responses in row:
            last, start = start + len(prompt) - 1, start + len(prompt)
            for response in responses:
                places = range(start, start + len(response))
                tokens.append(response)
                before.append([last, *places[:-1]])
                own.append(places)
                start += len(response)
    lengths = torch.tensor([len(t) for t in tokens])
    mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    found = [ids, _filled(tokens, mask, pad_id), mask, _filled(before, mask, 0), _filled(own, mask, 0)]
    shared = any(len(row) > 1 or len(row[0][1]) > 1 for row in rows)
    if shared or even:  # rounded up, a row may be longer than there are positions
        found.append(position_ids)
    if shared:
        earlier = torch.ones(width, width, dtype=torch.bool).tril()
        together = tree.unsqueeze(1) == tree.unsqueeze(2)
        related = (part.unsqueeze(1) == 0) | (part.unsqueeze(1) == part.unsqueeze(2))
        found.append((earlier & together & related).unsqueeze(1))
    return Padded(*(t.to(device) for t in found), even=even)


def _lay_out(row: Sequence[Tree]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Of each token of a row: which it is, its position, its tree and its part of that."""
    ids, positions, tree, part = [], [], [], []
    for number, (prompt, responses) in enumerate(row, start=1):
        first = 0
        for which, tokens in enumerate([prompt, *responses]):
            ids += tokens
            positions += range(first, first + len(tokens))
            part += [which] * len(tokens)
            first = len(prompt)
        tree += [number] * (len(ids) - len(tree))
    return ids, positions, tree, part


def _filled(values: Sequence[Sequence[int]], mask: Tensor, fill: int) -> Tensor:
    """As a tensor of the mask's shape."""
    whole = torch.full(mask.shape, fill)
    whole[mask] = torch.tensor([value for own in values for value in own])
    return whole


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


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Indices in rows of at most `room` tokens (or one that is longer by itself): the longest first, each to
    the first row that has room left (first fit decreasing; Johnson 1973)."""
    rows: list[list[int]] = []
    left: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = (row for row, free in enumerate(left) if lengths[index] <= free)
        row = next(fits, len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(index)
        left[row] -= lengths[index]
    return rows


def pack_evenly(lengths: Sequence[int], width: int, most: int) -> list[list[int]] | None:
    """Indices in rows that even shapes make little larger: as many as a power of two, about `width` long.

    None if they would be more than a quarter larger, or longer than `most`. Rows twice as long take a quarter
    more time for the same tokens, as all of them are seen from each.
    """
    total, found = sum(lengths), []
    least = 1 << max(0, (total // width).bit_length() - 1)
    for count in (least, 2 * least):
        shortest = -(-max(*lengths, -(-total // count)) // EVEN) * EVEN
        for own in range(shortest, most + 1, EVEN):
            rows = pack(lengths, own)
            if len(rows) <= count:
                if count * own <= 1.25 * total + EVEN * count:
                    found.append((count * own * (own + 3 * width), rows))
                break
    return min(found)[1] if found else None


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
