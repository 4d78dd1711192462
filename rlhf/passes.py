"""One pass of a model over prompts and responses, and what is heard of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from rlhf import functional as f
from rlhf.batching import Padded, pad, plant
from rlhf.config import ModelError

LOGITS = 128  # in even batches, how many are computed is a multiple of this
AT_ONCE = 2**25  # logits made float32 at once: of a vocabulary of 150,000 a batch has ten times as many


@dataclass(frozen=True)
class Pass:
    """From one pass over N responses, R tokens in the longest, M in all of them."""

    middle: Tensor  # (B, T, hidden) float32, the states at three quarters of the depth; why there: `pooled`
    last: Tensor  # (B, T, output) float32, the states that the LM head reads
    logits: Tensor  # (M, V) that predict the response tokens, in the order of `batch.mask` or `batch.flat`
    batch: Padded

    def logprobs(self, temperature: float) -> Tensor:
        """Log-probabilities of the response tokens (N, R); 0 behind the end."""
        mask, tokens = self.batch.mask, _picked(self.batch.tokens, self.batch)
        rows = len(tokens) or 1
        if not torch.is_grad_enabled():  # else all are kept for the way back in any case
            rows = min(rows, AT_ONCE // self.logits.shape[1] + 1)
        parts = zip(self.logits.split(rows), tokens.split(rows), strict=True)
        found = torch.cat([f.logprobs_of(*part, temperature) for part in parts])
        if self.batch.flat is None:
            return torch.zeros_like(mask, dtype=found.dtype).masked_scatter(mask, found)
        place = (mask.flatten().cumsum(0) - 1).clamp(min=0)  # in a graph no shape may depend on the mask
        return found.index_select(0, place).view_as(mask) * mask

    def tokens_of(self, heeded: Tensor) -> Tensor:
        """Which of the logits belong to those of the N responses that are heeded (N,) -> (M,)."""
        return _picked(heeded.unsqueeze(1).expand_as(self.batch.mask), self.batch)

    def written(self) -> Tensor:
        """Middle states of the response tokens themselves (N, R, hidden)."""
        return _at(self.middle, self.batch.own)

    def before(self) -> Tensor:
        """Middle and last states before each response token (N, R, hidden + output)."""
        return torch.cat([_at(self.middle, self.batch.before), _at(self.last, self.batch.before)], dim=-1)


def _picked(values: Tensor, batch: Padded) -> Tensor:
    """Of values (N, R) those of the response tokens (M,)."""
    return values[batch.mask] if batch.flat is None else values.flatten().index_select(0, batch.flat)


def _at(states: Tensor, places: Tensor) -> Tensor:
    return states.flatten(0, 1).index_select(0, places.flatten()).unflatten(0, places.shape)


def look(model: PreTrainedModel, batch: Padded) -> Pass:
    """One pass. Logits are computed for the response tokens alone: not for prompts, not for padding.

    Raises ModelError for a model whose layers or LM head take no part in its pass.
    """
    heard: dict[str, Tensor] = {}
    only = _picked(batch.before, batch)
    count = len(only)
    if batch.even:
        only = F.pad(only, (0, -count % LOGITS))
    with _listen(model, heard, only):
        logits = model(**batch.inputs, use_cache=False).logits.squeeze(0)[:count]
    if len(heard) < 2:
        raise ModelError(f"{type(model).__name__} does not show its hidden states; use another model.")
    return Pass(heard["middle"].float(), heard["last"].float(), logits, batch)


@contextmanager
def _listen(model: PreTrainedModel, heard: dict[str, Tensor], only: Tensor) -> Iterator[None]:
    """Hears what goes through a layer and into the LM head, which then reads `only` these states."""
    trunk = model.get_decoder()  # what the LM head calls; OPT's passes `base_model` by
    depth = model.config.get_text_config().num_hidden_layers
    layers = next(m for m in trunk.modules() if isinstance(m, nn.ModuleList) and len(m) == depth)

    def hear(_module, _inputs, output):
        heard["middle"] = output if isinstance(output, Tensor) else output[0]

    def hear_last(_module, inputs):
        heard["last"] = inputs[0]
        return (inputs[0].flatten(0, 1).index_select(0, only).unsqueeze(0),)

    hooks = [
        layers[max(1, round(0.75 * depth)) - 1].register_forward_hook(hear),
        model.get_output_embeddings().register_forward_pre_hook(hear_last),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def reads_trees(model: PreTrainedModel) -> bool:
    """Whether the model says the same of responses, and of prompts, that share a row, found by trying.

    Some count positions by themselves, or carry a state from token to token. Try it in float32, where it can
    be: of models that cannot, the logits were at least 1.2e-5 standard deviations off (300 tiny LFM2 with
    random weights; one of MPT and of Jamba each were further off), of models that can, 7e-7 at most.
    """
    prompts, responses = [[1, 2, 3], [1, 2, 3], [4]], [[5, 6], [7, 8, 9], [1]]
    device = model.get_input_embeddings().weight.device
    try:
        alone = look(model, pad(prompts, responses, 0, device)).logits
        one, other = ([1, 2, 3], responses[:2]), ([4], responses[2:])
        shared = look(model, plant([[one, other]], 0, device)).logits
    except ModelError:
        raise
    except Exception:  # a model may refuse such a mask in any way
        return False
    return alike(alone, shared, within=3e-6)


def alike(one: Tensor, other: Tensor, within: float) -> bool:
    """Whether two ways to the same logits (M, V) differ by rounding only.

    within: how far apart float32 may be, in standard deviations of the logits; in bf16 it is always .05.
    """
    differ = (one.float() - other.float()).pow(2).mean().sqrt()
    rounded = one.dtype.itemsize < 4 or other.dtype.itemsize < 4
    return bool(differ < (0.05 if rounded else within) * one.float().std(-1).mean() + 1e-6)


def window_of(model: PreTrainedModel) -> int | None:
    """How far back a token sees, where that is less than the whole text; a tree's own mask knows of none."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or getattr(config, "window_size", None)  # GPT-Neo
    return window if window and getattr(config, "use_sliding_window", True) else None
