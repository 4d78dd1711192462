"""Memory that a round has freed, and what a part of a round takes."""

import contextlib
import ctypes
import os
import threading
import time
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
EVERY = 0.02  # seconds between two looks at this process's memory


def give_back() -> None:
    """Hand what is free back to the system: the supervisor has glibc keep it, for speed within a round."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


class Spent:
    """Seconds and peak memory of a part of a round, from here until `figures`.

    Memory is what tensors take on CUDA, else that of the whole process (Linux; elsewhere it is not known),
    looked at 50 times a second: the kernel's own record of the peak is of the process's whole life.
    """

    def __init__(self, device: torch.device):
        self.device, self.peak = device, 0
        give_back()
        self._done = threading.Event()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif STATM.exists():
            threading.Thread(target=self._watch, name="memory", daemon=True).start()
        self.begun, self.worked = time.monotonic(), time.process_time()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            self.peak = max(self.peak, int(STATM.read_text().split()[1]) * page)
            if self._done.wait(EVERY):
                return

    def figures(self, prefix: str) -> dict[str, float]:
        """`seconds`, `cpu_seconds` of all cores, and `memory_mb` (MiB) where it is known."""
        found = {
            f"{prefix}seconds": time.monotonic() - self.begun,
            f"{prefix}cpu_seconds": time.process_time() - self.worked,
        }
        self.close()
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else self.peak
        return found | {f"{prefix}memory_mb": peak / 2**20} if peak else found

    def close(self) -> None:
        """Watch no more."""
        self._done.set()
