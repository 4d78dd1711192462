"""Policies on disk: written aside, synced, renamed; so a folder is there whole or not at all.

`policies/7/policy/` is what `AutoModelForCausalLM` (full tuning) or PEFT (LoRA) loads; `policies/7/reward/`
is the reward model that trained it, for scores on the before/after page. The row in the store is the
publication: a folder without a row is rubbish of a killed round, and `clean` removes it at the next start.
Where a policy lies follows from its version alone, so a run directory can be moved.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

OURS = re.compile(r"[0-9]+|\.[0-9]+\.tmp")


def policy_folder(run_dir: Path, version: int) -> Path:
    """Where a policy's weights are (not those of version 0, the reference: it is a model of its own)."""
    return run_dir / "policies" / str(version)


def write_policy(run_dir: Path, version: int, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a folder, sync it, and give it its name: `run_dir/policies/<version>`.

    Raises OSError (disk full, no permission); then no folder of that name exists.
    """
    final = policy_folder(run_dir, version)
    policies = final.parent
    aside = policies / f".{version}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _sync(run_dir)  # the name 'policies' itself
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
    """Remove what a killed round left behind, and nothing a person put there; returns the names removed."""
    policies = run_dir / "policies"
    removed = []
    for path in sorted(policies.iterdir()) if policies.is_dir() else []:
        ours = path.is_dir() and OURS.fullmatch(path.name)
        if ours and path.name not in {str(version) for version in published}:
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
