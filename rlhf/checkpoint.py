"""Policies on disk: written aside, synced, renamed; so a folder is there whole or not at all.

`policies/7/policy/` is what `AutoModelForCausalLM` (full tuning) or PEFT (LoRA) loads; `policies/7/reward/`
is the reward model that trained it, for scores on the before/after page. The row in the store is the
publication. A folder without a row is of a round killed just before its row was written, or of a `labels.db`
that was lost or restored from an older copy: `clean` puts it aside at the next start and removes nothing
that was whole. Where a policy lies follows from its version alone, so a run directory can be moved.
"""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

WHOLE = re.compile(r"[0-9]+")
UNFINISHED = re.compile(r"\.[0-9]+\.tmp")


def policy_folder(run_dir: Path, version: int) -> Path:
    """Where a policy's weights are (not those of version 0, the reference: it is a model of its own)."""
    return run_dir / "policies" / str(version)


def write_policy(run_dir: Path, version: int, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a folder, sync it, and give it its name: `run_dir/policies/<version>`.

    Raises OSError (disk full, no permission); then no folder of that name exists.
    """
    final = policy_folder(run_dir, version)
    if final.exists():  # `clean` has been here, so somebody put it there since
        _put_aside(final)
    write_folder(final, write)
    return final


def write_folder(final: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder beside `final`, which is not there yet, sync it, and give it its name."""
    parent, aside = final.parent, final.with_name(f".{final.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _sync(parent.parent)  # the name of the parent itself
        write(aside)
        open_to_all(aside)
        for path in sorted(aside.rglob("*")):
            _sync(path)
        _sync(aside)
        os.replace(aside, final)
        _sync(parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def open_to_all(folder: Path) -> None:
    """Files may be read by whoever may read their folder; safetensors leaves its own to their owner alone."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(path.parent.stat().st_mode & 0o666)


def clean(run_dir: Path, published: Collection[int]) -> list[str]:
    """Remove what is unfinished, put aside policies that no row names; return the names they had."""
    policies = run_dir / "policies"
    cleaned = []
    for path in sorted(policies.iterdir()) if policies.is_dir() else []:
        if not path.is_dir():
            continue
        if UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path)
            cleaned.append(path.name)
        elif WHOLE.fullmatch(path.name) and path.name not in {str(version) for version in published}:
            _put_aside(path)
            cleaned.append(path.name)
    return cleaned


def _put_aside(folder: Path) -> None:
    """Rename a policy that no row names. A round leaves one per attempt at most, and it has few attempts."""
    names = (folder.with_name(f"{folder.name}.unknown-{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    os.replace(folder, aside)
    print(
        f"labels.db does not know the policy in {folder}, so it is in {aside.name} now; "
        "delete that if nobody misses it.",
        flush=True,
    )


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; the rename must not overtake what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
