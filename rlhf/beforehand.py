"""What can be known of a worker's settings without torch, so that `app.py` refuses it before it starts one.

The worker asks the same functions: what it would refuse half a minute later has the same sentence here.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.prompts import read_prompts
from rlhf.config import WorkerConfig


def check_settings(values: dict[str, Any]) -> None:
    """Raises ValueError with one sentence. values: those of a `WorkerConfig`, by name."""
    config = WorkerConfig.from_dict(values)
    check_installed(tracker_names(config.log_to))
    device = config.device.split(":")[0]
    if config.tuning == "qlora" and (refused := qlora_refusal("cuda" if device == "auto" else device)):
        raise ValueError(refused)
    if config.prompts:
        read_prompts(Path(config.prompts))


def tracker_names(log_to: str) -> list[str]:
    """What `--log-to` names, each once."""
    return list(dict.fromkeys(name.strip() for name in log_to.split(",") if name.strip()))


def check_installed(names: Sequence[str]) -> None:
    """Raises ValueError with the command that installs what is missing: packages are called as trackers."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--log-to {','.join(names)} needs what is not installed here: pip install {' '.join(missing)}"
        )


def qlora_refusal(device_type: str) -> str | None:
    """Why QLoRA cannot be had on such a device, in one sentence; None: it can."""
    if device_type != "cuda":
        return f"--tuning qlora needs a CUDA GPU, and this run is on {device_type}; use --tuning lora."
    if importlib.util.find_spec("bitsandbytes") is None:
        return (
            "--tuning qlora needs the package bitsandbytes: pip install 'podium[qlora]'; else --tuning lora."
        )
    return None
