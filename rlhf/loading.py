"""Models from a folder or the hub: which one is meant, its tokenizer, its weights, on which device.

A model is named by one text everywhere: 'starter', a folder, a hub id, or a hub id and a revision of it,
`owner/name@revision`. What cannot be loaded raises ModelError with one sentence (`refusals`). Code that comes
with a model is run for nobody who has not asked for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf import four_bit
from rlhf.config import STARTER, ModelError
from rlhf.refusals import ANOTHER_MODEL, missing_file, reason_of

WIDE = 128  # from this width on a CPU's bf16 pays


def resolve(model: str, stage: str = "sft") -> str:
    """'starter' is the embedded model; anything else is a local folder or a hub id. Raises ModelError."""
    if model == "starter":
        return str(STARTER / stage)
    path = Path(model).expanduser()
    if (path.is_absolute() or model.startswith(".")) and not path.is_dir():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ModelError(
            f"Model folder '{model}' does not exist{where}; give --model another one, or a hub id."
        )
    return str(path.resolve()) if path.is_dir() else model  # never to be taken for a hub id


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: a folder has many."""
    try:
        return one == other or resolve(one) == resolve(other)
    except ModelError:  # a folder that is gone
        return False


def name_and_revision(model: str) -> tuple[str, str | None]:
    """'owner/name@revision' in two; a folder, or a hub id without one, has none."""
    if Path(model).is_dir():
        return model, None
    name, _, revision = model.partition("@")
    return name, revision or None


def load_config(model: str, trust_remote_code: bool = False) -> PretrainedConfig:
    """What a folder or hub id says of its build. Raises ModelError."""
    with one_sentence(model):
        return AutoConfig.from_pretrained(**_asked(model, trust_remote_code))


def load_tokenizer(model: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Tokenizer of a folder or hub id. Raises ModelError."""
    with one_sentence(model):
        return AutoTokenizer.from_pretrained(**_asked(model, trust_remote_code))


def load_causal_lm(
    model: str,
    device: torch.device,
    dtype: torch.dtype,
    in_four_bits: bool = False,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Causal LM in eval mode, frozen; its linear layers in 4 bits on demand. Raises ModelError."""
    asked = _asked(model, trust_remote_code) | {"dtype": dtype}
    if in_four_bits:
        place = torch.cuda.current_device() if device.type == "cuda" and device.index is None else device
        asked |= {"quantization_config": four_bit.settings(dtype), "device_map": {"": place}}
    with one_sentence(model):
        loaded = AutoModelForCausalLM.from_pretrained(**asked)
        if in_four_bits:
            four_bit.quicken(loaded)
        else:
            loaded.to(device)
    # else a PAD that is EOS too would keep EOS from learning what it means to have read it
    loaded.get_input_embeddings().padding_idx = None
    return loaded.eval().requires_grad_(False)


def count_parameters(model: str) -> int:
    """Of a folder or hub id, without loading its weights. Raises ModelError."""
    config = load_config(model)
    with one_sentence(model), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()


def _asked(model: str, trust_remote_code: bool) -> dict[str, Any]:
    # Said in any case: where nothing is said, transformers asks whoever sits at the terminal.
    asked: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    asked["pretrained_model_name_or_path"], revision = name_and_revision(model)
    return asked | ({"revision": revision} if revision else {})


@contextmanager
def one_sentence(model: str, way_out: str = "") -> Iterator[None]:
    """Whatever a broken folder, or the hub, makes a loader raise becomes a ModelError of one sentence.

    way_out: how it ends, for what is not given with --model.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        name, revision = name_and_revision(model)
        said = None if way_out else missing_file(Path(name)) or reason_of(name, revision, error)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        plain = f"Model '{model}' could not be loaded ({first[:200]}); {way_out or ANOTHER_MODEL}."
        raise ModelError(said or plain) from error


def pick_device(name: str) -> torch.device:
    """'auto' is CUDA when there, else MPS, else CPU. Raises ModelError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name.split(":")[0], False):
        raise ModelError(f"--device {name} is not there on this machine; use --device auto.")
    return torch.device(name)


def pick_bf16(precision: str, device: torch.device, width: int) -> bool:
    """Whether matrix products are taken in bf16. 'auto': where the hardware has units for it, and it pays.

    On a CPU that is AMX. There each new shape costs milliseconds, and products of a tiny model are not what
    takes its time: three rounds of the starter, 160 wide, took 45.4 s with it and 50.3 without (two cores).
    Win rates after them, seeds 20 to 23: .852, .848, .834, .833 with it, .857, .845, .831, .840 without.
    """
    if precision != "auto":
        return precision == "bf16"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.11 has none
    amx = device.type == "cpu" and capabilities().get("amx_bf16", False)
    return device.type == "cuda" or (amx and width >= WIDE)


def frozen_dtype(device: torch.device, bf16: bool = True) -> torch.dtype:
    """Of weights that are never trained: no float32 copy is needed where all products are in bf16."""
    return torch.bfloat16 if bf16 and device.type == "cuda" else torch.float32
