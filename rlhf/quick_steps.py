"""Decode steps of a model of Llama's build, with a third of the operations that its own pass takes.

A small model spends its steps on calling hundreds of small operations, and a large one on a GPU waits for
them to be called. Here query, key and value are one product, so are gate and up, and the cache is made once,
at its full length. Nothing is assumed to be right: `decoding.steps` tries it beside the model itself.

With one adapter on a CPU, its weights are added to the base's, a copy for each batch of prompts. Else (rows
with adapters of their own; a GPU, where the base is bf16 and a small adapter would be rounded away in the
sum) what adapters add is a product of its own: all their A stand below each other in one matrix, each row
keeps what its own adapter reads, and all their B stand side by side in another. So it is too where the base
lies in memory in 4 bits, whose products cannot be joined.
"""

from collections.abc import Sequence

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from rlhf.four_bit import in_four_bits, is_quantised, product
from rlhf.lora_product import is_plain, merged
from rlhf.model_steps import ModelSteps
from rlhf.voices import BASE, Voices

QUICK_BELOW = 50_000_000  # parameters, where weights are copied on a CPU
BUILD = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
STEADY = ("default", "linear", "llama3")  # kinds of rotary embedding that do not depend on the length


def of_known_build(model: PreTrainedModel) -> bool:
    """Whether it is Llama's, and what it does depends on nothing but its input's shape."""
    return (
        type(model).__name__ in BUILD
        and not getattr(model.config, "sliding_window", None)
        and model.model.rotary_emb.rope_type in STEADY
    )


def may_be_quick(model: PreTrainedModel) -> bool:
    """Whether these steps are for such a model, here."""
    cuda = model.device.type == "cuda"
    return (
        of_known_build(model)
        and (cuda or (model.num_parameters() < QUICK_BELOW and model.dtype == torch.float32))
        and model.config.hidden_act == "silu"
        and type(model.lm_head) is nn.Linear
        and all(
            type(part) is nn.Linear or is_quantised(part) or is_plain(part)
            for layer in model.model.layers
            for block in (layer.self_attn, layer.mlp)
            for name, part in block.named_children()
            if name.endswith("_proj")
        )
    )


class QuickSteps:
    """What `ModelSteps` does: the first pass is the model's, each step is `step`."""

    def __init__(self, model: PreTrainedModel, ids: Tensor, mask: Tensor, room: int, voices: Voices | None):
        first = ModelSteps(model, ids, mask, room, voices)
        self.logits, self.positions = first.logits, first.positions[:, -1]
        config, trunk, device = model.config, model.model, ids.device
        self.dtype = model.dtype  # of products, and of the cache
        if torch.is_autocast_enabled(device.type):
            self.dtype = torch.get_autocast_dtype(device.type)
        rows, self.length = ids.shape
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.size = trunk.layers[0].self_attn.head_dim
        longest = self._longest(self.length + room)
        shape = len(trunk.layers), rows, self.groups, longest, self.size
        self.keys, self.values = (torch.zeros(shape, dtype=self.dtype, device=device) for _ in range(2))
        for number, layer in enumerate(first.cache.layers):
            self.keys[number, :, :, : self.length] = layer.keys
            self.values[number, :, :, : self.length] = layer.values
            layer.keys = layer.values = None  # both at once would be the most memory of all
        self.seen = self._seen(mask.bool(), longest)
        places = torch.arange(longest, device=device)[None]
        tables = trunk.rotary_emb(torch.empty(0, dtype=model.dtype, device=device), places)
        self.cos, self.sin = (table[0] for table in tables)
        self.embed, self.norm = trunk.embed_tokens, trunk.norm
        self.voices = _Rows(voices, device) if voices else None
        apart = device.type == "cuda" or voices is not None or in_four_bits(model)
        self.layers = [_Layer(layer, self.dtype, apart, self.voices) for layer in trunk.layers]
        self.head = Joined([model.lm_head], self.dtype, apart, self.voices)

    def _longest(self, length: int) -> int:
        return length

    def _seen(self, mask: Tensor, longest: int) -> Tensor:
        """(B, longest) of what lies in the cache, or may once lie there."""
        return F.pad(mask, (0, longest - mask.shape[1]), value=True)

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Take up one token a row (B,); what may come next (B, V)."""
        with torch.autocast(tokens.device.type, enabled=False):
            logits = self._step(tokens)
        self.length += 1
        return logits

    def _put(self, number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a step's (B, groups, size); all that is kept of the layer so far."""
        end = self.length + 1
        self.keys[number, :, :, self.length] = keys
        self.values[number, :, :, self.length] = values
        return self.keys[number, :, :, :end], self.values[number, :, :, :end]

    def _mask(self) -> Tensor:
        """For all heads and for what `_put` gives (B, 1, 1, length)."""
        return self.seen[:, None, None, : self.length + 1]

    def _step(self, tokens: Tensor) -> Tensor:
        self.positions = self.positions + 1
        cos, sin = (table[self.positions].unsqueeze(1) for table in (self.cos, self.sin))  # (B, 1, size)
        split = [self.heads, self.groups, self.groups]
        hidden, mask = self.embed(tokens), self._mask()  # (B, hidden)
        for number, layer in enumerate(self.layers):
            found = layer.attend(_normed(hidden, layer.norm)).unflatten(1, (-1, self.size))
            query, key, value = found.split(split, dim=1)  # (B, heads, size)
            if layer.norms:
                query, key = (_normed(x, norm) for x, norm in zip((query, key), layer.norms, strict=True))
            both = _turned(torch.cat([query, key], 1), cos, sin).to(self.dtype)
            keys, values = self._put(number, both[:, self.heads :], value)
            # Heads that read the same keys are queries of one head to it: nothing has to be repeated.
            asked = both[:, : self.heads].unflatten(1, (self.groups, -1))
            heard = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
            hidden = hidden + layer.out(heard.flatten(1))
            gate, up = layer.widen(_normed(hidden, layer.norm_after)).chunk(2, dim=1)
            hidden = hidden + layer.narrow(F.silu(gate) * up)
        return self.head(_normed(hidden, self.norm))

    def pays(self, left: int, rows: int) -> bool:
        """Whether going on with the rows that are left is worth a copy of the cache."""
        return left <= 0.75 * rows

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        count, end = len(rows), self.length
        for whole in (self.keys, self.values):
            for own in whole:  # where they are, layer by layer: a second cache would not fit beside the first
                own[:count, :, :end] = own[rows, :, :end]
        self.keys, self.values = self.keys[:, :count], self.values[:, :count]
        self.seen, self.positions = self.seen[rows], self.positions[rows]
        if self.voices:
            self.voices.keep(rows)


class _Rows:
    """Which adapters there are, and which of them is each row's own."""

    def __init__(self, voices: Voices, device: torch.device):
        self.names = sorted(set(voices.names) - {BASE})
        own = [[name == spoken for name in self.names] for spoken in voices.names]
        self.own = torch.tensor(own, device=device)  # (B, adapters)
        self._masks: dict[int, Tensor] = {}

    def mask(self, width: int) -> Tensor:
        """(B, adapters * width) True where a row keeps what its own adapter reads."""
        if width not in self._masks:
            self._masks[width] = self.own.repeat_interleave(width, 1)
        return self._masks[width]

    def keep(self, rows: Tensor) -> None:
        self.own = self.own[rows]
        self._masks.clear()


class _Layer:
    """A layer's weights, those that read the same joined."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype, apart: bool, voices: _Rows | None):
        attention, wide = layer.self_attn, layer.mlp
        own = dtype, apart, voices
        self.norm, self.norm_after = layer.input_layernorm, layer.post_attention_layernorm
        self.norms = (attention.q_norm, attention.k_norm) if hasattr(attention, "q_norm") else None
        self.attend = Joined([attention.q_proj, attention.k_proj, attention.v_proj], *own)
        self.out = Joined([attention.o_proj], *own)
        self.widen = Joined([wide.gate_proj, wide.up_proj], *own)
        self.narrow = Joined([wide.down_proj], *own)


class Joined:
    """Linear layers that read the same, as one, with what adapters add to each of them.

    apart: what they add is a product of its own, else it is added to the weights. rows: whose adapters; None:
    the one that is on.
    """

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype, apart: bool, rows: _Rows | None):
        self.down = self.up = self.rows = None
        self.dtype = dtype
        self.quantised = [base for base in map(_base, layers) if is_quantised(base)]
        if not self.quantised:
            parts = [(_base(layer).weight, _base(layer).bias) if apart else merged(layer) for layer in layers]
            weights, biases = zip(*parts, strict=True)
            self.weight = in_one([w.detach().to(dtype) for w in weights])
            self.bias = None if biases[0] is None else torch.cat([b.detach().to(dtype) for b in biases])
        names = rows.names if rows else [name for layer in layers for name in _on(layer)]
        names = list(dict.fromkeys(names))
        if apart and names and any(isinstance(layer, LoraLayer) for layer in layers):
            self._stack(layers, names, dtype)
            self.rows = rows

    def _stack(self, layers: Sequence[nn.Module], names: Sequence[str], dtype: torch.dtype) -> None:
        downs, ups = [], []
        for name in names:
            adapted = [(layer.lora_A[name], layer.lora_B[name], layer.scaling[name]) for layer in layers]
            downs += [down.weight for down, _, _ in adapted]
            ups.append(torch.block_diag(*(up.weight * scale for _, up, scale in adapted)))
        self.down, self.up = torch.cat(downs).to(dtype), torch.cat(ups, 1).to(dtype).T
        self.width = len(self.down) // len(names)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self.quantised:
            found = torch.cat([product(base, x) for base in self.quantised], -1)
        else:
            found = F.linear(x, self.weight, self.bias)
        if self.down is None:
            return found
        low = F.linear(x, self.down)
        if self.rows:
            low = low * self.rows.mask(self.width)
        return torch.addmm(found, low, self.up)


def _base(layer: nn.Module) -> nn.Module:
    return layer.base_layer if isinstance(layer, LoraLayer) else layer


def _on(layer: nn.Module) -> list[str]:
    """The adapters that are on."""
    if not isinstance(layer, LoraLayer) or layer.disable_adapters:
        return []
    return [name for name in layer.active_adapters if name in layer.lora_A]


def in_one(weights: Sequence[Tensor]) -> Tensor:
    """(m, in), (n, in) ... -> (m + n + ..., in): a view where they lie one behind the other, else a copy."""
    first = weights[0]
    end = first.storage_offset()
    for weight in weights:
        behind = (
            weight.is_contiguous()
            and weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
            and weight.storage_offset() == end
        )
        if not behind:
            return torch.cat(list(weights))
        end += weight.numel()
    rows = sum(len(weight) for weight in weights)
    return first.as_strided((rows, first.shape[1]), first.stride(), first.storage_offset())


@torch.no_grad()
def lay_together(model: nn.Module) -> None:
    """Put the weights that `Joined` joins behind each other, so that joining them copies nothing.

    For a model that is never trained: on a GPU it may fill most of the memory.
    """
    for module in model.modules():
        for names in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
            layers = [getattr(module, name, None) for name in names]
            if all(type(layer) is nn.Linear for layer in layers):
                whole = torch.cat([layer.weight for layer in layers])
                for layer, own in zip(layers, whole.split([len(x.weight) for x in layers]), strict=True):
                    layer.weight.data = own


def _normed(hidden: Tensor, norm: nn.Module) -> Tensor:
    return F.rms_norm(hidden.to(norm.weight.dtype), hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su 2021, section 3.4): (B, heads, size) by (B, 1, size)."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-second, first], dim=-1) * sin
