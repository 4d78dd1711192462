"""Clock and memory of a device. CUDA works behind Python's back: the clock waits until it has done so."""

import time
from pathlib import Path

import torch


def now(device: str) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(device: str) -> dict[str, int]:
    """The most that the process has held, in MB; on CUDA what tensors took, and what was reserved."""
    if device == "cuda":
        most = {
            "peak_mb": torch.cuda.max_memory_allocated(),
            "reserved_mb": torch.cuda.max_memory_reserved(),
        }
        return {name: round(number / 2**20) for name, number in most.items()}
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return {"peak_mb": round(int(peak) / 1024)}
