"""Policies on disk: written aside, synced, renamed; so a folder is there whole or not at all.

`policies/7/policy/` is what `AutoModelForCausalLM` (full tuning) or PEFT (LoRA) loads; `policies/7/reward/`
is the reward model that trained it, for scores on the before/after page. The row in the store is the
publication: a folder without a row is rubbish of a killed round, and `clean` removes it at the next start.
"""

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path


def write_policy(run_dir: Path, version: int, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a folder, sync it, and give it its name: `run_dir/policies/<version>`.

    Raises OSError (disk full, no permission); then no folder of that name exists.
    """
    policies = run_dir / "policies"
    aside, final = policies / f".{version}.tmp", policies / str(version)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(aside)
        for path in sorted(aside.rglob("*")):
            _sync(path)
        _sync(aside)
        shutil.rmtree(final, ignore_errors=True)  # of a round that was killed before its row was written
        os.replace(aside, final)
        _sync(policies)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return final


def clean(run_dir: Path, published: Collection[int]) -> list[str]:
    """Remove what a killed round left behind; returns the names removed."""
    policies = run_dir / "policies"
    removed = []
    for path in sorted(policies.iterdir()) if policies.is_dir() else []:
        if path.is_dir() and not (path.name.isdigit() and int(path.name) in published):
            shutil.rmtree(path)
            removed.append(path.name)
    return removed


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; the rename must not overtake what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
