"""How a model takes one more token for many rows: by its own pass, or by a quicker way where there is one.

Whether either may be trusted is found by trying: `continues` when a model is loaded, `steps` when it is first
asked.
"""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.config import ModelError
from rlhf.graph_steps import GraphSteps
from rlhf.model_steps import ModelSteps
from rlhf.passes import alike
from rlhf.quick_steps import QuickSteps, may_be_quick
from rlhf.voices import Voices

_quick: WeakKeyDictionary[PreTrainedModel, dict[bool, bool]] = WeakKeyDictionary()


@torch.no_grad()
def steps(
    model: PreTrainedModel, ids: Tensor, mask: Tensor, room: int, voices: Voices | None = None
) -> ModelSteps | QuickSteps:
    """Read left-padded prompts (B, T), with room for so many tokens behind them."""
    tried = _quick.setdefault(model, {})
    if (mixed := voices is not None) not in tried:
        tried[mixed] = may_be_quick(model) and _says_the_same(model, voices)
    kind = _quick_kind(ids.device) if tried[mixed] else ModelSteps
    return kind(model, ids, mask, room, voices)


def _quick_kind(device: torch.device) -> type[QuickSteps]:
    return GraphSteps if device.type == "cuda" else QuickSteps


def _says_the_same(model: PreTrainedModel, voices: Voices | None) -> bool:
    device = model.get_input_embeddings().weight.device
    ids, mask = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device), torch.tensor([[0, 1, 1], [1, 1, 1]])
    token = torch.tensor([6, 7], device=device)
    if voices:  # two rows that differ
        other = next((row for row, name in enumerate(voices.names) if name != voices.names[0]), 0)
        voices = voices.only([0, other])
    try:
        kinds = ModelSteps, _quick_kind(device)
        slow, quick = (kind(model, ids, mask.to(device), 4, voices) for kind in kinds)
        for _ in range(3):  # the third is the first that is a graph replayed after another
            one, other = slow.step(token), quick.step(token)
    except Exception:  # some device or version has no such operation: the model's own steps will do
        return False
    return alike(one, other, within=1e-3)


@torch.no_grad()
def continues(model: PreTrainedModel) -> None:
    """Try that a text goes on, token by token and behind padding, as a pass over the whole would have it.

    Raises ModelError. Some keep a state beside the cache (Mamba, RWKV): what they sampled would be noise.
    """
    device = model.get_input_embeddings().weight.device
    wholes = torch.tensor([[1, 2, 6, 8]], device=device), torch.tensor([[3, 4, 5, 7, 9]], device=device)
    ids, mask = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device), torch.tensor([[0, 1, 1], [1, 1, 1]])
    try:
        running = ModelSteps(model, ids, mask.to(device), 2)
        running.step(torch.tensor([6, 7], device=device))
        running.keep(torch.tensor([1, 0], device=device))
        found = running.step(torch.tensor([9, 8], device=device))
        wanted = torch.cat([model(input_ids=w, use_cache=False).logits[:, -1] for w in reversed(wholes)])
    except Exception as error:  # a model may refuse such a cache in any way
        raise ModelError(_cannot(model, str(error) or type(error).__name__)) from error
    if not alike(wanted, found, within=1e-3):
        raise ModelError(_cannot(model, "it keeps a state beside the cache"))


def _cannot(model: PreTrainedModel, reason: str) -> str:
    first = reason.strip().splitlines()[0][:200]
    return f"{type(model).__name__} cannot be sampled from token by token ({first}); use another model."
