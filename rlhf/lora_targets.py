"""Which layers of a model get adapters: all linear ones of its text part, as QLoRA found best (section 4).

Left out are the LM head, which may be the embedding too, and what decides which experts see a token: it is
tiny, and a small change sends texts elsewhere. Experts themselves are no linear layers in transformers, but
stacks of matrices, so their model's adapters are on attention and on what all tokens go through. Towers that
read pictures or sound take no part in text.
"""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rlhf.config import ModelError

ROUTERS = ("gate", "router", "shared_expert_gate", "classifier")
TOWERS = ("vision", "visual", "audio", "image", "multi_modal", "projector")


def linear_layers(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Names and layers that may have adapters; GPT-2's `Conv1D` is a linear layer laid out otherwise."""
    head = model.get_output_embeddings()
    for name, layer in model.named_modules():
        *above, last = name.split(".")
        tower = any(part in step for step in above for part in TOWERS)
        linear = isinstance(layer, nn.Linear | Conv1D) and layer is not head
        if linear and last not in ROUTERS and not tower:
            yield name, layer


def targets_of(model: PreTrainedModel, wanted: str = "") -> list[str]:
    """What PEFT is told: last names where they are enough, else whole ones.

    wanted: last names by commas; '': all. Raises ModelError for a name that no layer has.
    """
    found = dict(linear_layers(model))
    names = {name.rpartition(".")[2] for name in found}
    asked = {name.strip() for name in wanted.split(",") if name.strip()}
    if unknown := asked - names:
        raise ModelError(
            f"--lora-targets names {', '.join(sorted(unknown))}, which this model has not; "
            f"it has {', '.join(sorted(names))}."
        )
    picked = asked or names
    if not picked:
        raise ModelError(f"{type(model).__name__} has no linear layers for adapters; use --tuning full.")
    elsewhere = {
        name.rpartition(".")[2]
        for name, layer in model.named_modules()
        if name not in found and not any(True for _ in layer.children())
    }
    if picked & elsewhere:  # in a tower: then last names would say too much
        return sorted(name for name in found if name.rpartition(".")[2] in picked)
    return sorted(picked)
