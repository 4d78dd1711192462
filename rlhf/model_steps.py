"""Decode steps by the model's own forward pass, whatever its build."""

import inspect
from contextlib import nullcontext

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rlhf.voices import Voices


class ModelSteps:
    """Left-padded prompts ids, mask (B, T), then one token a row in each `step`.

    room: how many tokens may come behind the prompts; here it does not matter. voices: see there.
    """

    def __init__(
        self, model: PreTrainedModel, ids: Tensor, mask: Tensor, room: int, voices: Voices | None = None
    ):
        self.model, self.mask, self.voices = model, mask, voices
        self.positions = (mask.cumsum(1) - 1).clamp(min=0)
        self.cache = DynamicCache(config=model.config)
        taken = inspect.signature(type(model).forward).parameters
        self.name = (
            "cache" if "cache" in taken else "past_key_values"
        )  # as it was before transformers 5.20 or so
        self.logits = self._forward(ids)

    @torch.no_grad()
    def _forward(self, ids: Tensor) -> Tensor:
        with self.voices.speaking() if self.voices else nullcontext():
            output = self.model(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=self.positions,
                use_cache=True,
                logits_to_keep=1,
                **{self.name: self.cache},
            )
        return output.logits[:, -1]

    def step(self, tokens: Tensor) -> Tensor:
        """Take up one token a row (B,); what may come next (B, V)."""
        ids = tokens.unsqueeze(1)
        self.mask = torch.cat([self.mask, torch.ones_like(ids)], 1)
        self.positions = self.positions[:, -1:] + 1
        return self._forward(ids)

    def pays(self, left: int, rows: int) -> bool:
        """Whether going on with the rows that are left is worth a copy of the cache."""
        return left <= 0.75 * rows

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.cache.reorder_cache(rows)  # a selection too, and states that are no keys and values know it
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        if self.voices:
            self.voices = self.voices.only(rows.tolist())
