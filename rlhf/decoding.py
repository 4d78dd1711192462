"""How a model takes one more token for many rows: by its own pass, or by a quick one of Llama's build.

A tiny model spends its decode steps on calling hundreds of small operations. `QuickSteps` does the same
arithmetic with a third of them: query, key and value are one product, so are gate and up, and the cache is
made once, at its full length. It is used where the model is small (the weights are copied for each batch of
prompts, with the adapter that is on), of that build, and, tried when it is first asked, says the same as the
model itself.
"""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from rlhf.config import ModelError
from rlhf.lora_product import is_plain, merged
from rlhf.passes import alike

QUICK_BELOW = 50_000_000  # parameters
BUILD = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
STEADY = ("default", "linear", "llama3")  # kinds of rotary embedding that do not depend on the length


class ModelSteps:
    """By the model's own forward pass, whatever its build."""

    def __init__(self, model: PreTrainedModel, ids: Tensor, mask: Tensor, room: int):
        self.model, self.mask = model, mask
        self.positions = (mask.cumsum(1) - 1).clamp(min=0)
        self.cache = DynamicCache(config=model.config)
        self.logits = self._forward(ids)

    def _forward(self, ids: Tensor) -> Tensor:
        output = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def step(self, tokens: Tensor) -> Tensor:
        """Take up one token a row (B,); what may come next (B, V)."""
        ids = tokens.unsqueeze(1)
        self.mask = torch.cat([self.mask, torch.ones_like(ids)], 1)
        self.positions = self.positions[:, -1:] + 1
        return self._forward(ids)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.cache.reorder_cache(rows)  # a selection too, and states that are no keys and values know it
        self.mask, self.positions = self.mask[rows], self.positions[rows]


class QuickSteps:
    """The same for a model of Llama's build: the first pass is the model's, each step is `step`."""

    def __init__(self, model: PreTrainedModel, ids: Tensor, mask: Tensor, room: int):
        first = ModelSteps(model, ids, mask, room)
        self.logits, self.positions = first.logits, first.positions[:, -1]
        config, trunk = model.config, model.model
        rows, self.length = ids.shape
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.size = trunk.layers[0].self_attn.head_dim
        longest = self.length + room
        shape = len(trunk.layers), rows, self.groups, longest, self.size
        self.keys, self.values = (self.logits.new_empty(shape, dtype=model.dtype) for _ in range(2))
        for number, layer in enumerate(first.cache.layers):
            self.keys[number, :, :, : self.length] = layer.keys
            self.values[number, :, :, : self.length] = layer.values
            layer.keys = layer.values = None  # both at once would be the most memory of all
        self.seen = F.pad(mask.bool(), (0, room), value=True)
        self.cos, self.sin = (
            table[0] for table in trunk.rotary_emb(self.keys, torch.arange(longest, device=ids.device)[None])
        )
        self.embed, self.norm, self.head = trunk.embed_tokens, trunk.norm, model.lm_head
        self.layers = [_Layer(layer) for layer in trunk.layers]

    def step(self, tokens: Tensor) -> Tensor:
        self.positions = self.positions + 1
        cos, sin = (table[self.positions].unsqueeze(1) for table in (self.cos, self.sin))  # (B, 1, size)
        end = self.length + 1
        seen = self.seen[:, None, None, :end]
        split = [self.heads, self.groups, self.groups]
        hidden = self.embed(tokens)  # (B, hidden)
        for number, layer in enumerate(self.layers):
            found = F.linear(_normed(hidden, layer.norm), *layer.attend).unflatten(1, (-1, self.size))
            query, key, value = found.split(split, dim=1)  # (B, heads, size)
            both = _turned(torch.cat([query, key], 1), cos, sin)
            self.keys[number, :, :, self.length] = both[:, self.heads :]
            self.values[number, :, :, self.length] = value
            heard = F.scaled_dot_product_attention(
                both[:, : self.heads].unsqueeze(2),
                self.keys[number, :, :, :end],
                self.values[number, :, :, :end],
                attn_mask=seen,
                enable_gqa=self.heads != self.groups,
            )
            hidden = hidden + F.linear(heard.flatten(1), *layer.out)
            gate, up = F.linear(_normed(hidden, layer.norm_after), *layer.widen).chunk(2, dim=1)
            hidden = hidden + F.linear(F.silu(gate) * up, *layer.narrow)
        self.length = end
        return self.head(_normed(hidden, self.norm))

    def keep(self, rows: Tensor) -> None:
        count, end = len(rows), self.length
        for whole in (self.keys, self.values):
            for own in whole:  # where they are, layer by layer: a second cache would not fit beside the first
                own[:count, :, :end] = own[rows, :, :end]
        self.keys, self.values = self.keys[:, :count], self.values[:, :count]
        self.seen, self.positions = self.seen[rows], self.positions[rows]


class _Layer:
    """A layer's weights, those that read the same joined."""

    def __init__(self, layer: nn.Module):
        attention, wide = layer.self_attn, layer.mlp
        self.norm, self.norm_after = layer.input_layernorm, layer.post_attention_layernorm
        self.attend = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = _joined(attention.o_proj)
        self.widen = _joined(wide.gate_proj, wide.up_proj)
        self.narrow = _joined(wide.down_proj)


def _joined(*layers: nn.Module) -> tuple[Tensor, Tensor | None]:
    weights, biases = zip(*map(merged, layers), strict=True)
    return torch.cat(weights), None if biases[0] is None else torch.cat(biases)


def _normed(hidden: Tensor, norm: nn.Module) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su 2021, section 3.4): (B, heads, size) by (B, 1, size)."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-second, first], dim=-1) * sin


_quick: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@torch.no_grad()
def steps(model: PreTrainedModel, ids: Tensor, mask: Tensor, room: int) -> ModelSteps | QuickSteps:
    """Read left-padded prompts (B, T), with room for so many tokens behind them."""
    if model not in _quick:
        _quick[model] = _may_be_quick(model) and _says_the_same(model)
    return (QuickSteps if _quick[model] else ModelSteps)(model, ids, mask, room)


def _may_be_quick(model: PreTrainedModel) -> bool:
    config = model.config
    return (
        type(model).__name__ in BUILD
        and model.num_parameters() < QUICK_BELOW
        and model.dtype == torch.float32  # a small adapter would be rounded away in a bf16 sum
        and config.hidden_act == "silu"
        and not getattr(config, "sliding_window", None)
        and model.model.rotary_emb.rope_type in STEADY
        and all(
            type(part) is nn.Linear or is_plain(part)
            for layer in model.model.layers
            for block in (layer.self_attn, layer.mlp)
            for name, part in block.named_children()
            if name.endswith("_proj")
        )
    )


def _says_the_same(model: PreTrainedModel) -> bool:
    device = model.get_input_embeddings().weight.device
    ids, mask = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device), torch.tensor([[0, 1, 1], [1, 1, 1]])
    token = torch.tensor([6, 7], device=device)
    try:
        slow, quick = (kind(model, ids, mask.to(device), 3) for kind in (ModelSteps, QuickSteps))
        for _ in range(2):
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
