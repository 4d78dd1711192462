"""`python app.py sft --data SOURCE`: the demonstrations of whatever `import` reads, read by its own code.

In a run they are imported first, and the round then learns from all that the run has. So a round that was
killed is taken up though the file has gone, prompts that are held out stay so, and `evaluate` has a tenth of
the file to measure by. Prompts and preferences of the source are left alone: to ask or to learn those is
another wish, and `import`'s.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from data.demonstrations import Demonstration
from data.incoming import ImportedDemonstration, Item
from data.reading import SourceError
from labeling.importing import SourceConfig, Tally, add_all, added, open_source, refusals, rows_read
from labeling.store import Store

HERE = {  # what to do with a source of these alone
    "preferences": "import them to teach the reward model (python app.py import {source}), or give --as "
    "demonstrations to learn from the preferred responses",
    "prompts": "import them to be asked (python app.py import {source}), and give demonstrations, which have "
    "a response to each prompt",
}


def read_demonstrations(
    source: str, config: SourceConfig, echo: Callable[[str], None]
) -> list[Demonstration]:
    """All of them, for a model of its own. Raises SourceError, in one sentence."""
    items, tally, others = _demonstrations_in(source, config)
    found = [Demonstration(item.prompt, item.response) for item in items]
    _stopped(tally, "")
    echo(f"{rows_read(source, tally)}, with {len(found):,} demonstrations")
    _say_rest(tally, others, echo)
    return found


def import_demonstrations(
    store: Store, run_dir: Path, source: str, config: SourceConfig, echo: Callable[[str], None]
) -> None:
    """Add them to the run: what is there already is there once. Raises SourceError, in one sentence."""
    items, tally, others = _demonstrations_in(source, config)
    add_all(store, source, items, False, tally)
    echo(rows_read(source, tally))
    echo(f"added to {run_dir}: {added(tally)}")
    _say_rest(tally, others, echo)
    _stopped(tally, "what was read before is in the run, and sft without --data learns from it")
    learned, known = store.demonstration_count(), len(store.demonstrations())
    echo(f"There are {learned:,} demonstrations to learn from, and {known - learned:,} of held-out prompts.")


def _demonstrations_in(
    source: str, config: SourceConfig
) -> tuple[Iterator[ImportedDemonstration], Tally, Counter[str]]:
    """The source's demonstrations, its tally, and how many of other kinds there were."""
    others: Counter[str] = Counter()
    items, tally = open_source(source, config)
    own = _only_demonstrations(items, others)
    first = next(own, None)  # without one, nothing is stored
    if first is None:
        _stopped(tally, "")
        raise SourceError(_none_in(source, tally, others))
    return chain([first], own), tally, others


def _only_demonstrations(items: Iterator[Item], others: Counter[str]) -> Iterator[ImportedDemonstration]:
    for item in items:
        if isinstance(item, ImportedDemonstration):
            yield item
        else:
            others[item.kind] += 1


def _none_in(source: str, tally: Tally, others: Counter[str]) -> str:
    """Why there is nothing to learn from, in one sentence."""
    if others:
        counts = " and ".join(f"{count:,} {kind}" for kind, count in others.items())
        kind = "preferences" if others["preferences"] else "prompts"
        return f"'{source}' has no demonstrations, but {counts}; {HERE[kind].format(source=source)}."
    if not tally.refused:
        return f"'{source}' has no rows; wanted demonstrations: prompts with a response each."
    why, entry = max(tally.refused.items(), key=lambda one: one[1]["rows"])
    return (
        f"'{source}' has no demonstrations: {tally.refused_rows:,} rows were refused, {entry['rows']:,} of "
        f"them because {why} (line {entry['lines'][0]})."
    )


def _say_rest(tally: Tally, others: Counter[str], echo: Callable[[str], None]) -> None:
    for line in refusals(tally):
        echo(line)
    for kind, count in others.items():
        echo(f"left out: {count:,} {kind}, which are no demonstrations (python app.py import takes them)")


def _stopped(tally: Tally, more: str) -> None:
    """Raise what ended the reading before its end, if anything has."""
    if tally.interrupted:
        raise KeyboardInterrupt(f"Stopped by a person; {more}." if more else "")
    if tally.stopped:
        raise SourceError(f"{tally.stopped.rstrip('.')}; {more}." if more else tally.stopped)
