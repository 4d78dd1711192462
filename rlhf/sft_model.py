"""`python app.py sft --out FOLDER`: a base model and demonstrations -> an SFT model, without a run.

It is the classical road's first step: the folder is then `--model` of a run, so that the reference, which KL
is measured against, is the SFT model. (SFT within a run makes one more policy, and the reference stays.) It
is a plain model that anything can load; `podium.json` in it says what it was made from.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from data.demonstrations import Demonstration
from rlhf.checkpoint import write_folder
from rlhf.config import ModelError
from rlhf.loading import load_causal_lm, load_config, resolve
from rlhf.models import Family, load_family
from rlhf.sft_round import SFTRoundConfig, run_sft_round
from rlhf.told import Outcome

LINEAGE = "podium.json"


def make_sft_model(
    model: str,
    demonstrations: Sequence[Demonstration],
    out: Path,
    config: SFTRoundConfig,
    *,
    tuning: str = "auto",
    device: str = "auto",
    lora_rank: int = 16,
    precision: str = "auto",
    seed: int = 0,
    echo: Callable[[str], None] = print,
) -> Outcome:
    """Train, and write the folder if held-out demonstrations became likelier; else it says why not.

    Raises ModelError when the model cannot be loaded or `out` is there already.
    """
    if out.exists():
        raise ModelError(f"{out} is there already; give --out a folder that is not.")
    family = load_family(model, tuning=tuning, device=device, lora_rank=lora_rank, precision=precision)
    family.copy("reference", "published")
    said = 0.0
    for event in run_sft_round(family, demonstrations, "", config, seed):
        if isinstance(event, Outcome):
            break
        if "sft/heldout_loss" in event.metrics or time.monotonic() - said > 2:
            said = time.monotonic()
            echo(_line(event.detail, event.metrics))
    if event.published:
        path = Path(model).expanduser()  # a folder is to be found from wherever the model is used
        base = str(path.resolve()) if path.is_dir() else model
        lineage = {"base_model": base, "method": "sft", "summary": event.summary}
        write_folder(out.absolute(), lambda folder: write_model(family, folder, lineage))
    return event


def write_model(family: Family, folder: Path, lineage: dict[str, Any]) -> None:
    """The policy as a plain model: an adapter is merged into the base."""
    if family.kind == "full":
        family.save("policy", folder)
    else:
        merged(family, "policy", lineage["base_model"]).save_pretrained(folder)
        family.tokenizer.save_pretrained(folder)
    (folder / LINEAGE).write_text(json.dumps(lineage, indent=2), encoding="utf-8")


def merged(family: Family, role: str, model: str) -> PreTrainedModel:
    """The base with the role's adapter in its weights, added in float32, in the type that the base has."""
    path = resolve(model)
    own = load_config(path).dtype or torch.float32
    with tempfile.TemporaryDirectory(prefix="podium-adapter-") as adapter:
        family.save(role, Path(adapter))
        base = load_causal_lm(path, torch.device("cpu"), torch.float32)
        return PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True).to(own)


def base_of(folder: str) -> str:
    """What a model made here was made from, if it says so and it is still to be had; else ''."""
    try:
        base = json.loads((Path(folder) / LINEAGE).read_text(encoding="utf-8"))["base_model"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    try:
        return resolve(base) if isinstance(base, str) else ""
    except ModelError:
        return ""


def _line(detail: str, metrics: dict[str, float]) -> str:
    figures = [f"{name.removeprefix('sft/')} {value:.3f}" for name, value in metrics.items()]
    return ", ".join([detail, *figures])
