"""One run of a benchmark in a process of its own, so that no run sees what another has left in memory."""

import json
import os
import subprocess
from pathlib import Path

from labeling.supervisor import for_torch

ROOT = Path(__file__).resolve().parents[2]


def run_apart(python: str, module: str, ask: dict, path: str = "", limit: float | None = None) -> dict:
    """`python -m tests.benchmarks.MODULE --one ASK`, and the JSON in the last line that it prints.

    path: folders that Python looks in for packages before all others, as in PYTHONPATH. Raises SystemExit
    with the end of its stderr, and subprocess.TimeoutExpired after `limit` seconds.
    """
    command = [python, "-m", f"tests.benchmarks.{module}", "--one", json.dumps(ask)]
    environment = for_torch() | {"OMP_NUM_THREADS": str(ask["threads"])}  # the worker's, for both sides
    paths = filter(None, [path, environment.get("PYTHONPATH")])
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=limit
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:] or f"{module} ended with {done.returncode} and said nothing")
    return json.loads(done.stdout.strip().splitlines()[-1])
