"""`python app.py export`: its options, and what a run holds as rows (preferences, rankings, demonstrations).

The store is read only, so this works beside a running server and on an archive. Models are exported by
`rlhf.export` and `rlhf.export_reward`.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from data.conversation import as_messages
from data.export_files import ExportError, check_free, ending_of, write_rows
from data.export_rows import (
    KINDS,
    DemonstrationRecord,
    RankingRecord,
    Row,
    Split,
    demonstration_row,
    preferences,
    ranking_row,
)
from labeling.store import Store

TEXTS = ("preferences", "rankings", "demonstrations")
MODELS = ("policy", "reward-model")
FORMS = ("auto", "text", "chat", "messages")
DTYPES = ("float32", "bfloat16", "float16")
Record = TypeVar("Record", RankingRecord, DemonstrationRecord)


def _option(default: Any, help: str, *of: str, flags: tuple[str, ...] = ()) -> Any:
    """of: what it is an option of; none: of everything."""
    return field(default=default, metadata=_said(help, *of, flags=flags))


def _said(help: str, *of: str, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"help": help, "of": of or (*TEXTS, *MODELS), "flags": flags}


@dataclass(frozen=True)
class ExportConfig:
    """Options of `python app.py export`; the help texts are the command line's."""

    what: str = _option("", "preferences, rankings, demonstrations, policy or reward-model.")
    out: Path = field(
        default=Path(),
        metadata=_said(
            "Where to: .jsonl, .jsonl.gz, .csv, .parquet, or, with no ending and for models, a folder."
        ),
    )
    run_dir: Path = field(default=Path("runs/default"), metadata=_said("The run to export from."))
    form: str = _option(
        "auto",
        "text, chat (lists of messages), messages (demonstrations in one column), or auto: chat when the "
        "run's model has a chat template or a prompt has messages before it.",
        *TEXTS,
    )
    annotators: str = _option(
        "all", "Whose: all, or of human, program, judge, import those named.", *TEXTS[:2]
    )
    ties: bool = _option(False, "Pairs of the same rank too, marked by `tie`.", "preferences")
    withdrawn: bool = _option(False, "Rankings that were taken back too, marked.", "rankings")
    skips: bool = _option(False, "Skipped tasks too: they have no ranks.", "rankings")
    anonymous: bool = _option(False, "Annotators are numbers, and comments stay here.", *TEXTS)
    test_share: float = _option(
        0.1, "Share of the prompts in the test split, beside those that the run holds out.", *TEXTS
    )
    policy_version: int | None = _option(
        None,
        "Which policy (the published one if not given), or which policy's reward model (the newest).",
        *MODELS,
    )
    merged: bool = _option(
        True,
        "A model that loads alone, or the LoRA adapter alone.",
        "policy",
        flags=("--merged/--adapter",),
    )
    dtype: str = _option("float32", "Of a merged model's weights: float32, bfloat16 or float16.", "policy")
    prompts: int = _option(
        600, "How many the policies answer, three times each, to teach the exported one by.", MODELS[1]
    )
    device: str = _option("auto", "Where the reward model is distilled: auto, cuda, mps or cpu.", MODELS[1])
    overwrite: bool = _option(False, "Replace what is at --out.")
    push_to_hub: str = _option("", "ORG/NAME: push the written folder to the Hugging Face hub too.")
    public: bool = _option(False, "With --push-to-hub: anybody may read it; else it is private.")

    def __post_init__(self) -> None:
        if self.what not in (*TEXTS, *MODELS):
            raise ValueError(f"--what is {self.what or 'missing'}; wanted: {', '.join((*TEXTS, *MODELS))}.")
        if self.out == Path():
            raise ValueError("--out is missing; wanted: a file or folder to write to.")
        for f in fields(self):
            default = None if f.default is MISSING else f.default
            if self.what not in f.metadata["of"] and getattr(self, f.name) != default:
                option = (f.metadata["flags"] or ["--" + f.name.replace("_", "-")])[0]
                raise ValueError(
                    f"{option} says nothing about --what {self.what}, only about "
                    f"{' and '.join(f.metadata['of'])}."
                )
        wanted = self.annotators.split(",")
        checks = [
            (self.form in FORMS, "form", ", ".join(FORMS)),
            (self.form != "messages" or self.what == "demonstrations", "form", "text or chat"),
            (
                self.annotators == "all" or set(wanted) <= set(KINDS),
                "annotators",
                f"all, or {','.join(KINDS)}",
            ),
            (0 <= self.test_share < 1, "test-share", "0 to 1"),
            (self.dtype in DTYPES, "dtype", ", ".join(DTYPES)),
            (self.prompts >= 0, "prompts", "0 or more"),
        ]
        for fine, name, what in checks:
            if not fine:
                raise ValueError(f"--{name} is {getattr(self, name.replace('-', '_'))}; wanted: {what}.")
        if self.public and not self.push_to_hub:
            raise ValueError("--public says nothing without --push-to-hub.")
        if self.push_to_hub and self.what in TEXTS and ending_of(self.out):
            raise ValueError(f"--push-to-hub pushes a folder; give --out without {ending_of(self.out)}.")
        if self.what in MODELS and ending_of(self.out):
            raise ValueError(f"--out {self.out}: a model is a folder; give a name without an ending.")


def check_out(config: ExportConfig) -> None:
    """Refuse early, before anything slow. Raises ExportError."""
    ending_of(config.out)
    check_free(config.out, config.overwrite)
    inside = config.run_dir.resolve()
    if config.out.resolve() == inside or config.out.resolve() in inside.parents:
        raise ExportError(f"--out {config.out} is, or holds, the run directory; give another one.")


def export_rows(store: Store, config: ExportConfig) -> str:
    """Write the rows; what was written, for a terminal. Raises ExportError, in one sentence."""
    split = Split(store.prompts_in_use(), config.test_share)
    form = config.form if config.form != "auto" else _form(store, config.what)
    shown = "text" if form == "messages" else form
    system = (store.get_setting("config") or {}).get("system_prompt", "").strip()
    through = store.last_ranking_id()  # whatever is ranked meanwhile is in the next export
    names = _Names(config.anonymous)
    kinds: dict[str, set[int | str]] = {}

    def rankings() -> Iterator[RankingRecord]:
        wanted = KINDS if config.annotators == "all" else config.annotators.split(",")
        read = store.ranking_records(withdrawn=config.withdrawn, skips=config.skips, through=through)
        for records in (read, store.imported_records()):
            for record in records:
                if record.annotator_kind in wanted:
                    kinds.setdefault(record.annotator_kind, set()).add(record.id)
                    yield names.of(record)

    def rows() -> Iterator[Row]:
        if config.what == "preferences":
            for record in rankings():
                yield from preferences(record, shown, split(record.prompt), config.ties, system)
        elif config.what == "rankings":
            yield from (ranking_row(record, shown, split(record.prompt)) for record in rankings())
        else:
            for one in store.demonstration_records():
                yield demonstration_row(names.of(one), form, split(one.prompt), system)

    first = next(rows(), None)
    if first is None:
        raise ExportError(f"There is nothing to export yet: {_nothing(config)}")
    kinds.clear()

    def columns() -> Any:
        from data.export_columns import columns

        return columns(config.what, form)

    counts = write_rows(rows, config.out, columns, _card(config, store, form), config.overwrite)
    parts = ", ".join(f"{counts[name]:,} {name}" for name in ("train", "test") if name in counts)
    said = f"{sum(counts.values()):,} {config.what} ({parts}), form {form}, in {config.out}"
    if kinds:
        by = ", ".join(f"{len(kinds[kind]):,} {kind}" for kind in KINDS if kind in kinds)
        said += f"\nfrom rankings by: {by}"
    if "test" not in counts and config.test_share:
        said += "\nno prompt fell into the test split: there are too few"
    if "train" not in counts:
        said += "\nall are in the test split; with --test-share 0 only what the run holds out is"
    return said


class _Names:
    """Annotators as they are called, or as numbers in the order in which they come."""

    def __init__(self, anonymous: bool):
        self.anonymous, self.numbers = anonymous, {}

    def of(self, record: Record) -> Record:
        if not self.anonymous:
            return record
        name = record.annotator
        if name:
            name = f"annotator {self.numbers.setdefault(name, len(self.numbers) + 1)}"
        if isinstance(record, RankingRecord):
            return replace(record, annotator=name, comment="")
        return replace(record, annotator=name)


def _form(store: Store, what: str) -> str:
    """What auto means. A ranking is not what a trainer takes, so its prompt stays a text where it can."""
    spoken = any(len(as_messages(prompt)) > 1 for prompt, _ in store.prompts_in_use())
    return "chat" if spoken or (what != "rankings" and has_chat_template(store)) else "text"


def has_chat_template(store: Store) -> bool:
    """Whether the run's model speaks by a chat template: of a trained policy's folder, or the model's own."""
    policies = store.policies()
    found: list[Callable[[str], Path | None]] = []
    for policy in reversed(policies):
        folder = store.run_dir / "policies" / str(policy.version) / "policy" if policy.version else None
        found.append(_files_of(str(folder or policy.path)))
    for file in found:
        config, template = file("tokenizer_config.json"), file("chat_template.jinja")
        if template:
            return True
        if config:
            return bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
    return False


def _files_of(model: str) -> Callable[[str], Path | None]:
    """Finds a file of a folder, or of a hub id as far as it was downloaded here."""
    if Path(model).is_dir():
        return lambda name: path if (path := Path(model) / name).is_file() else None

    def cached(name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        repo, _, revision = model.partition("@")
        try:
            found = try_to_load_from_cache(repo, name, revision=revision or None)
        except ValueError:  # no hub id
            return None
        return Path(found) if isinstance(found, str) else None

    return cached


def _nothing(config: ExportConfig) -> str:
    whose = "" if config.annotators == "all" else f" by {config.annotators}"
    if config.what == "demonstrations":
        return f"nobody has written or imported a demonstration in {config.run_dir}."
    if config.what == "rankings":
        return f"there are no rankings{whose} in {config.run_dir}."
    return f"no ranking{whose} in {config.run_dir} puts one response above another."


def _card(config: ExportConfig, store: Store, form: str) -> str:
    """README.md of a folder."""
    model = store.get_setting("model") or "none yet"
    published = store.published()
    lines = [
        f"# {config.what.capitalize()} from a Podium run",
        "",
        f"Form: {form}. The model that wrote the responses: `{model}`"
        + (f", published policy {published.version}." if published else "."),
        "",
        "The splits are by prompt: no prompt is in both.",
    ]
    if config.what == "preferences":
        lines += [
            "",
            "`chosen` was ranked above `rejected` by `rank_gap` places. Where annotators said by how much,",
            "`strength` is 1 (slightly), 2 (clearly) or 3 (much better), else 0. `none_acceptable`: the",
            "annotator found none of the shown responses acceptable. `annotator_kind` tells people from",
            "programs, judges and imports. `chosen_by` is annotator for a response that a person wrote.",
        ]
    return "\n".join(lines) + "\n"
