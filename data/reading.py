"""Rows of a file, a folder or a hub data set, one at a time, each with its line: never all in memory.

A row that cannot be read is a row too, with what is wrong with it; the ones behind it go on. What ends the
reading altogether (no such file, a compressed file that breaks off) is a `SourceError`, one sentence.
"""

import gzip
import io
import logging
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from data.lines import Row, csv_rows, json_array, json_lines, prompt_lines, separator_of

PARQUET_ROWS = 64  # decoded at once
KINDS = {
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text",
    ".parquet": "parquet",
}  # fmt: skip
_COLUMNS = re.compile(r'\{"[^"]*":\{"0":')  # {"prompt":{"0":"...
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


class SourceError(ValueError):
    """The source cannot be read (on). The message is one sentence for people."""


def read_rows(source: str, split: str = "train", subset: str = "", encoding: str = "auto") -> Iterator[Row]:
    """Rows of a file, of a folder (`save_to_disk`'s, or one of files), or of a data set on the hub.

    split, subset: of a data set. encoding: of text files; auto: UTF-8, or UTF-16 where it looks like that.
    Raises SourceError, at once or on the way.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _file(path, encoding)
    if path.is_dir():
        return _folder(path, split, subset, encoding)
    if _HUB_ID.fullmatch(source) and not _is_file_name(source):
        return hub_rows(source, split, subset)
    raise SourceError(f"There is no file or folder '{source}'.")


def _is_file_name(source: str) -> bool:
    suffixes = Path(source).suffixes
    return bool(suffixes) and (suffixes[-1].lower() in KINDS or suffixes[-1].lower() in (".gz", ".zip"))


# files


def _file(path: Path, encoding: str = "auto") -> Iterator[Row]:
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    try:
        with _opened(path) as file:
            start = file.read(4096)
    except (OSError, EOFError) as error:
        raise _broken(path, error) from None
    if start[:4] == b"PAR1":
        return _parquet(path)
    if start[:2] == b"PK" and path.suffix.lower() == ".xlsx":
        raise SourceError(f"'{path}' is a spreadsheet; save it as .csv and import that.")
    if start[:2] == b"PK":
        raise SourceError(f"'{path}' is a zip archive; unpack it and import the files in it.")
    found = _encoding(start) if encoding == "auto" else encoding
    try:
        text = start.decode(found, "replace").lstrip("\ufeff \t\r\n")
    except LookupError:
        raise SourceError(
            f"--encoding {encoding} is not known; wanted: auto, utf-8, utf-16, latin-1 ..."
        ) from None
    name = path.name.lower().removesuffix(".gz")
    kind = KINDS.get(Path(name).suffix) or ("json" if text[:1] in ("{", "[") else None)
    if kind is None:
        raise SourceError(
            f"'{path}' is of no kind that can be read; wanted: .jsonl, .json, .csv, .tsv or .txt (each also "
            "with .gz), .parquet, a folder of these, or a data set's id on the hub."
        )
    if kind == "text":
        return _with_text(path, found, prompt_lines)
    if kind == "json" and text.split("\n", 1)[0].strip() == "{":
        raise SourceError(f"'{path}' is one JSON object; wanted: an object a line, or an array of them.")
    if kind == "json" and _COLUMNS.match(text):
        raise SourceError(
            f"'{path}' holds columns, as pandas writes them by itself; wanted: rows, as to_json(..., "
            "orient='records') writes them."
        )
    if kind == "csv":
        tabs = Path(name).suffix == ".tsv"
        return _with_text(path, found, lambda file: csv_rows(file, "\t" if tabs else separator_of(text)))
    return _with_text(path, found, json_array if text[:1] == "[" else json_lines)


def _opened(path: Path) -> IO[bytes]:
    """Unpacked if it is packed, whatever it is called."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _encoding(start: bytes) -> str:
    if start.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = start[0::2], start[1::2]  # of English in UTF-16, every other byte is 0
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros.count(0) > len(zeros) // 2 and not others.count(0):
            return name
    return "utf-8-sig"


def _with_text(path: Path, encoding: str, read: Callable[[IO[str]], Iterator[Row]]) -> Iterator[Row]:
    """Bytes that are not of the encoding stay visible in the row they are in, which is then refused."""
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    number = 0
    try:
        with _opened(path) as file, io.TextIOWrapper(file, encoding, errors, newline="\n") as text:
            for row in read(text):
                number = row.line
                yield row
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, error, number) from None
    except UnicodeError as error:
        raise _broken(path, f"not {encoding}: {error.reason}", number) from None


def _broken(path: Path, error: object, line: int = 0) -> SourceError:
    reason = getattr(error, "strerror", None) or error
    where = f" behind line {line}" if line else ""
    return SourceError(f"'{path}' cannot be read{where}: {reason}.")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with closing(parquet.ParquetFile(path, pre_buffer=False)) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise _broken(path, first, number) from None


# folders


def _folder(path: Path, split: str, subset: str, encoding: str) -> Iterator[Row]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, split)
    files = sorted(
        p
        for p in path.rglob("*")
        if p.is_file() and _is_data(p) and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )
    if subset:
        files = [p for p in files if subset in p.relative_to(path).parts[:-1]]
    if not files:
        raise SourceError(
            f"'{path}' has no file that can be read; wanted: .jsonl, .json, .csv, .tsv, .txt, .parquet, or "
            "what `datasets` writes with save_to_disk."
        )
    named = {p: _split_of(p) for p in files}
    if any(named.values()):
        splits = sorted({name for name in named.values() if name})
        files = [p for p in files if named[p] == split]
        if not files:
            raise SourceError(f"'{path}' has no split '{split}'; it has: {', '.join(splits)}.")
    return _all_of(files, path, encoding)


def _is_data(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix in KINDS and name not in (
        "dataset_info.json",
        "dataset_infos.json",
        "readme.txt",
    )


def _split_of(path: Path) -> str:
    """The split that a file's name begins with, as the hub names files, or that its folder is called."""
    for name in (path.name, path.parent.name):
        found = re.match(r"(train|test|validation|valid|dev|eval)(?![a-z])", name.lower())
        if found:
            return found.group()
    return ""


def _all_of(files: list[Path], folder: Path, encoding: str) -> Iterator[Row]:
    for file in files:
        name = str(file.relative_to(folder)) if len(files) > 1 else ""
        for row in _file(file, encoding):
            yield Row(row.line, row.values, row.why, name)


def _saved(path: Path, split: str) -> Iterator[Row]:
    """What `save_to_disk` wrote; it stays on the disk, mapped."""
    import datasets

    try:
        data = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever is wrong with the files
        raise _broken(path, _first_line(error)) from None
    if isinstance(data, dict):
        if split not in data:
            raise SourceError(f"'{path}' has no split '{split}'; it has: {', '.join(data)}.")
        data = data[split]
    return (Row(number, values) for number, values in enumerate(data, start=1))


# the hub


def hub_rows(source: str, split: str, subset: str = "") -> Iterator[Row]:
    """Rows of a data set on the hub as they arrive; nothing of it is kept here."""
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it tells of every try
    try:
        data = _stream(datasets.load_dataset, source, split, subset)
    except Exception as error:
        raise SourceError(_said(source, error)) from None
    number = 0
    try:
        for number, values in enumerate(data, start=1):
            yield Row(number, values)
    except Exception as error:
        raise SourceError(f"Reading '{source}' ended behind row {number}: {_first_line(error)}.") from None


def _stream(load: Callable, source: str, split: str, subset: str) -> Any:
    if not subset:
        return load(source, split=split, streaming=True)
    try:
        return load(source, subset, split=split, streaming=True)
    except ValueError:  # not a configuration: a folder of the data set, as those of Anthropic/hh-rlhf
        return load(source, data_dir=subset, split=split, streaming=True)


def _said(source: str, error: Exception) -> str:
    """One sentence on why a data set cannot be had."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    first = _first_line(error)
    if kinds & {"OfflineModeIsEnabled"} or "offline" in first.lower():
        return f"'{source}' is no file here, and the hub may not be asked (HF_HUB_OFFLINE is set)."
    if "GatedRepoError" in kinds or "gated" in first.lower():
        return f"The data set '{source}' is gated; ask for access on its page, then run `hf auth login`."
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        return (
            f"'{source}' is no file here and no data set on the hub that can be seen "
            "(if it is private: `hf auth login`)."
        )
    if kinds & {"ConnectionError", "ConnectError", "TimeoutException", "LocalEntryNotFoundError"}:
        return f"'{source}' is no file here, and the hub does not answer."
    configurations = re.search(r"available configs: \[([^\]]*)\]", str(error))
    if configurations:
        return f"'{source}' has several configurations; choose one by --subset: {configurations.group(1)}."
    return f"The data set '{source}' cannot be read: {first}."


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
