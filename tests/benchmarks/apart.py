"""One run of a benchmark in a process of its own, so that no run sees what another has left in memory."""

import json
import subprocess
from pathlib import Path

from labeling.supervisor import for_torch

ROOT = Path(__file__).resolve().parents[2]


def run_apart(python: str, module: str, ask: dict) -> dict:
    """`python -m tests.benchmarks.MODULE --one ASK`, and the JSON in the last line that it prints."""
    command = [python, "-m", f"tests.benchmarks.{module}", "--one", json.dumps(ask)]
    environment = for_torch() | {"OMP_NUM_THREADS": str(ask["threads"])}  # the worker's, for both sides
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])
