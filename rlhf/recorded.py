"""Forward and backward passes on a CUDA GPU, recorded once for each shape and replayed.

An optimiser step on a small batch is many thousands of small operations, and calling them takes Python
several times as long as the GPU takes to do them. Replayed from a graph they are one call (PyTorch, "CUDA
semantics", on CUDA graphs). A graph has fixed shapes, so batches are rounded up to shapes that come again:
the first batch of a shape goes through the model as ever, the second is recorded.

What is read from a pass is left in place for the loss, which is computed as ever; its gradient goes back
through a second graph, which adds to the gradients of the parameters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlhf.batching import Padded
from rlhf.models import Family
from rlhf.passes import Pass, look

# What shapes are rounded up to: rows, tokens of a row, responses, tokens of a response, all response tokens.
ROWS, WIDTH, RESPONSES, LENGTH, TOKENS = 4, 32, 4, 16, 256
MOST = 32  # graphs
Read = Callable[[Pass, Tensor], tuple[Tensor, ...]]


@contextmanager
def recording(family: Family) -> Iterator[None]:
    """Where passes may be recorded: not on the stream that all else runs on. Backward belongs here too."""
    if not family.records:
        yield
        return
    stream, outside = _stream(family.device), torch.cuda.current_stream(family.device)
    stream.wait_stream(outside)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:  # whatever happened, what comes next waits for what was begun
        outside.wait_stream(stream)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Passes:
    """Trained passes of a role over batches, from graphs where the family can.

    read: from a pass, and which of its responses are heeded (N,), what is wanted of it, each (N, ...) with a
    gradient. parameters: all that the gradient is added to; where graphs are used each has one from now on,
    so that it is to be made 0 with `forget_gradients`, not taken away.
    """

    def __init__(self, family: Family, role: str, read: Read, parameters: Sequence[nn.Parameter]):
        self.family, self.role, self.read, self.parameters = family, role, read, list(parameters)
        self.graphs: dict[tuple, _Graph | None] = {}
        self.busy = False  # a pass waits for its gradient, with what it needs for it
        self.full = False  # there was no memory for another graph, or no way to one
        if family.records:
            self.pool = torch.cuda.graph_pool_handle()
            self.start = torch.zeros((), device=family.device, requires_grad=True)  # what gradients end at

    def forget_gradients(self) -> None:
        self.busy = False
        if not self.family.records:
            for p in self.parameters:
                p.grad = None
            return
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        torch._foreach_zero_([p.grad for p in self.parameters])

    def __call__(self, batch: Padded, heeded: Tensor | None = None) -> tuple[Tensor, ...]:
        """What was read of the batch's N responses; it may go on behind the longest of them.

        heeded: (N,); None: all. To be called, and gone back through, inside `recording`.
        """
        if heeded is None:
            heeded = torch.ones_like(batch.mask[:, 0])
        rows, width = batch.ids.shape
        rounded = (rows + -rows % ROWS) * (width + -width % WIDTH)
        large = rounded > 2 * self.family.token_budget  # few long rows: work enough to hide the calls behind
        if not self.family.records or self.full or large or not torch.is_grad_enabled():
            return self._pass(batch, heeded)
        even, heeded = in_even_shape(batch), F.pad(heeded, (0, -len(heeded) % RESPONSES))
        given = [*even.tensors, heeded]
        shape = tuple(t.shape for t in given)
        graph = None
        if shape in self.graphs and not self.busy:
            graph = self.graphs[shape] or self._record(shape, even, given)
        if graph:
            found = _Replay.apply(self.start, self, graph, *given)
        else:
            if len(self.graphs) < MOST:
                self.graphs.setdefault(shape)  # the next one will be recorded
            found = self._pass(even, heeded)
        return tuple(t[: len(batch.mask)] for t in found)

    def _pass(self, batch: Padded, heeded: Tensor) -> tuple[Tensor, ...]:
        with self.family.use(self.role) as model:
            return self.read(look(model, batch), heeded)

    def _record(self, shape: tuple, even: Padded, given: list[Tensor]) -> "_Graph | None":
        """None when there is no room for it, or it cannot be: then nothing more is recorded."""
        kept = [t.clone() for t in given]
        torch.cuda.empty_cache()  # a graph's memory is its own: what passes before it have left is not used
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        torch.clear_autocast_cache()  # weights cast before would be taken for those of every later step
        try:
            with _captured(forward, self.pool):
                found = self._pass(even.of(kept[:-1]), kept[-1])
            back = [torch.zeros_like(t) for t in found]
            with _captured(backward, self.pool):
                torch.autograd.backward(found, back)
        except RuntimeError as error:
            # Out of memory: graphs keep some of their own, and passes as ever may do with less. Or a layer
            # does what cannot be recorded, such as a look at a number, and will do so the next time too.
            if not isinstance(error, torch.OutOfMemoryError):
                print(f"passes are not recorded: {str(error).splitlines()[0]}", flush=True)
            self.full = True
            return None
        finally:
            torch.clear_autocast_cache()
        self.graphs[shape] = _Graph(forward, backward, kept, [t.detach() for t in found], back)
        return self.graphs[shape]


@dataclass(frozen=True)
class _Graph:
    forward: torch.cuda.CUDAGraph
    backward: torch.cuda.CUDAGraph
    given: list[Tensor]  # what it reads
    found: list[Tensor]  # what it leaves
    back: list[Tensor]  # the gradient that it reads


@contextmanager
def _captured(graph: torch.cuda.CUDAGraph, pool) -> Iterator[None]:
    graph.capture_begin(pool, capture_error_mode="thread_local")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # what it has to say of a broken capture is not why it broke
            graph.capture_end()
        raise
    graph.capture_end()


class _Replay(torch.autograd.Function):
    """What a pass gives; its gradient is added to the parameters' when it comes back."""

    @staticmethod
    def forward(ctx, _start, passes, graph, *given):
        ctx.passes, ctx.graph = passes, graph
        torch._foreach_copy_(graph.given, list(given))
        graph.forward.replay()
        passes.busy = True
        return tuple(t.clone() for t in graph.found)

    @staticmethod
    def backward(ctx, *gradients):
        torch._foreach_copy_(ctx.graph.back, list(gradients))
        ctx.graph.backward.replay()
        ctx.passes.busy = False
        return None, None, None, *(None for _ in ctx.graph.given)


def in_even_shape(batch: Padded) -> Padded:
    """The same, rounded up to a shape that comes again, with a mask of its own in any case."""
    rows, width = batch.ids.shape
    count, length = batch.mask.shape
    wide, high = -width % WIDTH, -rows % ROWS

    def moved(places: Tensor) -> Tensor:  # in rows that are wider now
        return F.pad(places + wide * (places // width), (0, -length % LENGTH, 0, -count % RESPONSES))

    natural = torch.arange(width, device=batch.ids.device).expand(rows, width)
    positions = natural if batch.position_ids is None else batch.position_ids
    sees = natural[0] <= natural[0].unsqueeze(1) if batch.attention is None else batch.attention
    sees = F.pad(sees.expand(rows, 1, width, width), (0, wide, 0, wide, 0, 0, 0, high))
    whole = torch.arange(width + wide, device=sees.device)
    sees = sees | (whole == whole.unsqueeze(1))  # padding sees itself: a softmax over nothing is no number
    flat = batch.mask.flatten().nonzero().squeeze(1)
    padded_length = length + -length % LENGTH
    flat = flat + (padded_length - length) * (flat // length)
    return Padded(
        ids=F.pad(batch.ids, (0, wide, 0, high)),
        tokens=F.pad(batch.tokens, (0, -length % LENGTH, 0, -count % RESPONSES)),
        mask=F.pad(batch.mask, (0, -length % LENGTH, 0, -count % RESPONSES)),
        before=moved(batch.before),
        own=moved(batch.own),
        position_ids=F.pad(positions, (0, wide, 0, high)),
        attention=sees,
        flat=F.pad(flat, (0, -len(flat) % TOKENS)),
    )
