"""`python app.py import`: prompts, demonstrations and preferences from files and data sets into a run.

Reads row by row and writes a few hundred at once, each time in one short transaction: memory does not grow
with the source, and it works beside a running server. What was imported before it broke off is there, and
importing again adds the rest.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from data.formats import AS, FORMATS, Read, read_items
from data.incoming import ImportedDemonstration, ImportedPrompt, Item
from data.reading import SourceError, read_rows
from labeling.store import Store, open_store

AT_ONCE = 250  # items a transaction, for which annotators wait: 20 ms or so
SAY_EVERY = 5.0  # seconds
MOST_REASONS = 40
LINES_SHOWN = 5
SHOWN = 3  # items of a dry run
WIDTH = 100


def _help(default: object, text: str, *flags: str):
    return field(default=default, metadata={"help": text, "flags": flags})


@dataclass(frozen=True)
class SourceConfig:
    """How a source is read: options of `python app.py import` and of `sft --data`."""

    format: str = _help("auto", f"auto, or one of {', '.join(FORMATS)}.")
    as_: str = _help("", "Take it as prompts, demonstrations or preferences; empty: what it is.", "--as")
    split: str = _help("train", "Split of a data set.")
    subset: str = _help("", "Configuration or folder of a data set.")
    encoding: str = _help("auto", "Of text files: auto (UTF-8 or UTF-16), latin-1 ...")
    limit: int = _help(0, "Rows to read, at most; 0: all.")

    def __post_init__(self) -> None:
        checks = [
            (self.format == "auto" or self.format in FORMATS, "format", f"auto, {', '.join(FORMATS)}"),
            (self.as_ in ("", *AS), "as", ", ".join(AS)),
            (self.limit >= 0, "limit", "0 or more"),
        ]
        for fine, name, wanted in checks:
            if not fine:
                value = getattr(self, "as_" if name == "as" else name)
                raise ValueError(f"--{name} is {value}; wanted: {wanted}.")


@dataclass(frozen=True)
class ImportConfig(SourceConfig):
    """Options of `python app.py import`; the help texts are the command line's."""

    run_dir: Path = field(
        default=Path("runs/default"), metadata={"help": "Where it goes; made if it is not there."}
    )
    dry_run: bool = _help(False, "Store nothing; show what the first rows become.", "--dry-run")
    ask_prompts: bool = _help(
        False, "Ask the prompts of demonstrations and preferences here, too.", "--ask-prompts"
    )


@dataclass
class Tally:
    """What has come of the rows so far."""

    rows: int = 0
    formats: Counter = field(default_factory=Counter)
    added: Counter = field(default_factory=Counter)  # prompts, demonstrations, preferences, known
    refused: dict[str, dict] = field(default_factory=dict)  # why -> rows, lines
    stopped: str = ""  # why it ended before its end
    interrupted: bool = False  # by a person

    def refuse(self, read: Read) -> None:
        """Count a row that was of no use."""
        why = read.why if read.why in self.refused or len(self.refused) < MOST_REASONS else "other reasons"
        entry = self.refused.setdefault(why, {"rows": 0, "lines": []})
        entry["rows"] += 1
        if len(entry["lines"]) < LINES_SHOWN:
            entry["lines"].append(f"{read.file}:{read.line}" if read.file else read.line)

    @property
    def refused_rows(self) -> int:
        """How many in all."""
        return sum(entry["rows"] for entry in self.refused.values())

    @property
    def format(self) -> str:
        """The formats that were found, the most frequent first."""
        return ", ".join(name for name, _ in self.formats.most_common() if name)


def import_into(source: str, config: ImportConfig) -> int:
    """Import, and say what came of it; returns the exit code. Raises StoreError, SourceError."""
    items, tally = open_source(source, config)
    if config.dry_run:
        for number, item in enumerate(items):
            tally.added[item.kind] += 1
            if number < SHOWN:
                print(shown(item), end="\n\n")
    else:
        with open_store(config.run_dir, create=True, migrate=True) as store:
            add_all(store, source, items, config.ask_prompts, tally)
    print(summary(source, config, tally))
    if tally.stopped:
        print(tally.stopped, file=sys.stderr)
        return 130 if tally.interrupted else 2
    return 0 if sum(tally.added.values()) else 1


def open_source(source: str, config: SourceConfig) -> tuple[Iterator[Item], Tally]:
    """What its rows become, one after the other, and the tally of them, which is filled on the way.

    Raises SourceError where nothing can be read; where that comes later, the tally says so.
    """
    rows = read_rows(source, config.split, config.subset, config.encoding)
    reads = read_items(islice(rows, config.limit or None), config.format, config.as_)
    first = list(islice(reads, 1))  # what cannot be read at all makes no run
    tally = Tally()
    return _items(chain(first, reads), tally), tally


def add_all(store: Store, source: str, items: Iterator[Item], ask: bool, tally: Tally) -> None:
    """Add all items; `tally` is filled on the way."""
    import_id = store.begin_import(source)
    while batch := list(islice(items, AT_ONCE)):
        tally.added.update(store.add_imported(import_id, batch, ask=ask))
    store.end_import(import_id, tally.format, tally.refused)


def _items(reads: Iterable[Read], tally: Tally) -> Iterator[Item]:
    """The items of all rows that have some; what else there was is counted."""
    said = time.monotonic()
    try:
        for read in reads:
            tally.rows += 1
            tally.formats[read.format] += 1
            if read.items:
                yield from read.items
            else:
                tally.refuse(read)
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                print(f"{tally.rows:,} rows, {tally.refused_rows:,} refused", file=sys.stderr, flush=True)
    except SourceError as error:
        tally.stopped = str(error)
    except KeyboardInterrupt:
        tally.stopped = "Stopped by a person; importing it again adds the rest."
        tally.interrupted = True


def summary(source: str, config: ImportConfig, tally: Tally) -> str:
    """What came of it, for a terminal."""
    word = "would be added to" if config.dry_run else "added to"
    lines = [rows_read(source, tally), f"{word} {config.run_dir}: {added(tally)}", *refusals(tally)]
    if tally.added["preferences"] and not config.dry_run:
        lines.append("From preferences the next round learns, and 'Train now' in the lab starts one.")
    if tally.added["demonstrations"] and not config.dry_run:
        lines.append("From demonstrations 'python app.py sft' learns, and the button in the lab.")
    return "\n".join(lines)


def rows_read(source: str, tally: Tally) -> str:
    """How many, and as what."""
    as_what = f" as {tally.format}" if tally.format else ""
    return f"{source}: {_count(tally.rows, 'row')} read{as_what}"


def added(tally: Tally) -> str:
    """How many of each kind."""
    kinds = [_count(tally.added[kind], kind[:-1]) for kind in AS if tally.added[kind]] or ["nothing"]
    known = f"; {tally.added['known']:,} there already" if tally.added["known"] else ""
    return ", ".join(kinds) + known


def refusals(tally: Tally) -> list[str]:
    """How many rows were of no use, and a line for each reason; [] when all were."""
    lines = [f"refused: {_count(tally.refused_rows, 'row')}"] if tally.refused else []
    for why, entry in sorted(tally.refused.items(), key=lambda item: -item[1]["rows"]):
        where = ", ".join(map(str, entry["lines"])) + (" ..." if entry["rows"] > len(entry["lines"]) else "")
        lines.append(f"  {entry['rows']:,} x {why} (line {where})")
    return lines


def shown(item: Item) -> str:
    """An item as it would be stored, in a few lines."""
    lines = [f"{item.kind.removesuffix('s')}: {_short(item.prompt)}"]
    if isinstance(item, ImportedDemonstration):
        lines.append(f"  response: {_short(item.response)}")
    elif not isinstance(item, ImportedPrompt):
        rows = sorted(zip(item.ranks, item.responses, strict=True))
        lines += [f"  rank {rank}: {_short(text)}" for rank, text in rows]
    return "\n".join(lines)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 20]} ... ({len(text):,} characters)"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
