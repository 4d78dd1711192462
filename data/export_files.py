"""Rows to a file or a folder that is there whole or not at all.

The ending says which: `.jsonl`, `.jsonl.gz`, `.csv` and `.parquet` are one file with a column `split`; a name
without an ending is a `datasets` folder with the splits train and test, which both `load_from_disk` and
`load_dataset` read. It is written beside its place and then given its name, so what was there before stays
until the new one is whole.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".parquet")
CHUNK = 5000  # rows that are in memory as Python objects

Row = dict[str, Any]


class ExportError(Exception):
    """It cannot be written. The message is one sentence for people."""


def ending_of(path: Path) -> str:
    """One of ENDINGS, or '' for a folder. Raises ExportError for another."""
    name = path.name.lower()
    found = next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.endswith(e)), "")
    other = path.suffix.lower()
    if not found and other and not other[1:].isdigit():  # v1.2 is a folder's name
        raise ExportError(
            f"--out {path} ends in {other}; wanted: {', '.join(ENDINGS)}, or no ending for a datasets folder."
        )
    return found


def check_free(path: Path, overwrite: bool) -> None:
    """Raises ExportError for what is there already and may not go, or can never be replaced."""
    if not (path.exists() or path.is_symlink()):
        return
    if not overwrite:
        raise ExportError(f"{path} is there already; give another --out, or --overwrite to replace it.")
    here = Path.cwd().resolve()
    if path.resolve() in (here, *here.parents) or path.is_symlink() or path.is_mount():
        raise ExportError(
            f"{path} cannot be replaced (a link, a mount, or where you are); give another --out."
        )


@contextlib.contextmanager
def put_in_place(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; synced and renamed when all went well, else gone.

    Raises ExportError, in one sentence: `path` is there already, the disk is full, it may not be written.
    """
    check_free(path, overwrite)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        for part in [*sorted(aside.rglob("*")), aside] if aside.is_dir() else [aside]:
            _sync(part)
        check_free(path, overwrite)  # somebody may have been faster
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(aside, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
        _remove(old)
        _sync(path.parent)
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0]
        raise ExportError(f"{path} could not be written ({why}); nothing was left there.") from error
    finally:
        _remove(aside)


def write_rows(
    rows: Callable[[], Iterable[Row]], path: Path, columns: Callable[[], Any], card: str, overwrite: bool
) -> dict[str, int]:
    """Write them; returns how many of each split. Raises ExportError; then nothing is at `path`.

    rows: gives them anew each time it is asked. columns: their `datasets.Features`. card: README.md of a
    folder. A split without rows is left out of a folder: `datasets` cannot read an empty one.
    """
    ending = ending_of(path)
    counts: dict[str, int] = {}

    def counted() -> Iterator[Row]:
        for row in rows():
            counts[row["split"]] = counts.get(row["split"], 0) + 1
            yield row

    with put_in_place(path, overwrite) as aside:
        if ending in (".jsonl", ".jsonl.gz"):
            _write_lines(counted(), aside, packed=ending.endswith(".gz"))
        elif ending == ".csv":
            _write_csv(counted(), aside, list(columns()))
        elif ending == ".parquet":
            _quietly(lambda: _table(counted(), columns()).to_parquet(aside))
        else:
            _write_folder(counted(), aside, columns(), card)
    return counts


def _write_lines(rows: Iterable[Row], path: Path, packed: bool) -> None:
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("wb"))
        if packed:  # no name and no time in it: the same rows are the same file
            raw = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
        text = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline="\n"))
        for row in rows:
            text.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(rows: Iterable[Row], path: Path, names: list[str]) -> None:
    """What is no text or number is JSON: messages, lists, true and false."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, bool)) else value


def _table(rows: Iterable[Row], columns: Any) -> Any:
    """A `datasets.Dataset` of them, made a few thousand at a time."""
    from datasets import Dataset, concatenate_datasets

    def made(chunk: list[Row]) -> Dataset:
        return Dataset.from_dict({name: [row[name] for row in chunk] for name in columns}, features=columns)

    parts, chunk = [], []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            parts.append(made(chunk))
            chunk = []
    if chunk or not parts:
        parts.append(made(chunk))
    return concatenate_datasets(parts)


def _write_folder(rows: Iterable[Row], folder: Path, columns: Any, card: str) -> None:
    from datasets import DatasetDict

    all_rows = _table(rows, columns)
    places: dict[str, list[int]] = {"train": [], "test": []}
    for number, split in enumerate(all_rows["split"]):
        places[split].append(number)
    splits = {name: all_rows.select(found) for name, found in places.items() if found}
    folder.mkdir()  # else a folder that may not be written is one that could not be found
    _quietly(lambda: DatasetDict(splits).save_to_disk(folder))
    (folder / "README.md").write_text(_with_splits(card, list(splits)), encoding="utf-8")


def _with_splits(card: str, splits: list[str]) -> str:
    """The card with the header by which `load_dataset`, here or on the hub, finds the splits."""
    files = "".join(f"  - split: {name}\n    path: {name}/*.arrow\n" for name in splits)
    return f"---\ntags:\n- podium\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n{card}"


def _quietly(act: Callable[[], Any]) -> None:
    """Without the bars that `datasets` draws for files of a second."""
    from datasets import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        act()
    finally:
        enable_progress_bars()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # most often it is not there
            path.unlink()
