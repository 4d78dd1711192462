"""QLoRA's frozen base: linear layers whose weights lie in memory with 4 bits each (Dettmers 2023, "QLoRA").

NF4 with double quantisation takes half a byte a weight and a little for the scales. bitsandbytes does the
arithmetic; embeddings, norms and the LM head stay as they are. Each product makes its weights bf16 (or
float32) again for itself alone, forwards and backwards, so that no whole layer is ever kept in full.

bitsandbytes has such products for CPUs too. They are slow, and memory is seldom what a CPU lacks, so that
`--tuning qlora` is refused there (`refusal`); they let the wiring be tried where there is no GPU.
"""

from functools import partial

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from rlhf.beforehand import qlora_refusal


def refusal(device: torch.device) -> str | None:
    """Why QLoRA cannot be had here, in one sentence; None: it can."""
    return qlora_refusal(device.type)


def settings(products: torch.dtype) -> BitsAndBytesConfig:
    """How weights are quantised (QLoRA, section 3), and what type products have."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=products,
    )


def is_quantised(layer: nn.Module) -> bool:
    """Whether the layer itself, not one that it wraps, is linear and has its weights in 4 bits."""
    return getattr(layer._parameters.get("weight"), "quant_state", None) is not None


def in_four_bits(model: nn.Module) -> bool:
    """Whether any of the model's layers is so."""
    return any(is_quantised(layer) for layer in model.modules())


def product(layer: nn.Module, x: Tensor) -> Tensor:
    """x (..., in) -> (..., out), with the gradient of x where it is wanted; x says the type."""
    from bitsandbytes import matmul_4bit

    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return matmul_4bit(x, layer.weight, bias=bias, quant_state=layer.weight.quant_state)


@torch.no_grad()
def weight_of(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """The weights that the 4 bits stand for (out, in)."""
    from bitsandbytes.functional import dequantize_4bit

    weight = layer.weight
    return dequantize_4bit(weight.data.view(-1, 1), weight.quant_state).to(dtype)


def quicken(model: PreTrainedModel) -> None:
    """Have the layers compute in the type that autocast, or what they are given, says.

    bitsandbytes' own forward takes one type for good, and on some CPUs packs the weights anew for inference,
    so that they can be trained through no longer.
    """
    for layer in model.modules():
        if is_quantised(layer):
            layer.forward = partial(_forward, layer)


def _forward(layer: nn.Module, x: Tensor) -> Tensor:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return product(layer, x.to(dtype))
