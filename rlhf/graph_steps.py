"""Decode steps on a CUDA GPU: the quick ones, recorded once as a graph and replayed.

A step of a model with 28 layers is about a thousand small operations, each called from Python: the GPU waits
for them for most of the time. Replayed from a graph they are one call. For that all shapes are fixed: each
step looks at the whole cache, whose empty places are masked, and where a token goes is a number on the GPU.
"""

from functools import cache

import torch
from torch import Tensor

from rlhf.quick_steps import QuickSteps

FEW = 64  # rows; fewer take a step hardly less time, as it goes through all weights all the same


class GraphSteps(QuickSteps):
    """The first step is taken as it comes, which warms up all that is used; the second is recorded."""

    graph: torch.cuda.CUDAGraph | None = None
    warm = False

    def _longest(self, length: int) -> int:
        return -(-length // 16) * 16  # fused attention wants its mask so

    def _seen(self, mask: Tensor, longest: int) -> Tensor:
        """(B, longest) added to the scores: nothing has been seen of what is not yet written."""
        self.at = torch.tensor([mask.shape[1]], device=mask.device)
        self.positions = self.positions.clone()
        seen = torch.full((len(mask), longest), -torch.inf, dtype=self.dtype, device=mask.device)
        seen[:, : mask.shape[1]].masked_fill_(mask, 0.0)
        return seen

    def _put(self, number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        for whole, own in ((self.keys, keys), (self.values, values)):
            whole[number].index_copy_(2, self.at, own.unsqueeze(2))
        return self.keys[number], self.values[number]

    def _mask(self) -> Tensor:
        self.seen.index_fill_(1, self.at, 0.0)
        return self.seen[:, None, None]

    def _fixed_step(self, tokens: Tensor) -> Tensor:
        """A step that leaves what it changes where it was."""
        positions = self.positions
        logits = super()._step(tokens)
        self.positions = positions.add_(1)
        self.at.add_(1)
        return logits

    def _step(self, tokens: Tensor) -> Tensor:
        if not self.warm:
            self.warm = True
            return self._fixed_step(tokens)
        if self.graph is None:
            self._record(tokens)
        self.tokens.copy_(tokens)
        self.graph.replay()
        return self.given

    def _record(self, tokens: Tensor) -> None:
        self.tokens, self.graph = tokens.clone(), torch.cuda.CUDAGraph()
        stream, outside = _stream(tokens.device), torch.cuda.current_stream()
        stream.wait_stream(outside)
        with torch.cuda.stream(stream):  # not `torch.cuda.graph`, which empties caches each time
            self.graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.given = self._fixed_step(self.tokens)
            finally:
                self.graph.capture_end()
        outside.wait_stream(stream)

    def pays(self, left: int, rows: int) -> bool:
        return rows > FEW and left <= rows / 2

    def keep(self, rows: Tensor) -> None:
        self.graph, self.warm = None, False
        super().keep(rows)
        self.keys, self.values = self.keys.contiguous(), self.values.contiguous()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One to record on: each stream keeps some memory for its products."""
    return torch.cuda.Stream(device)
