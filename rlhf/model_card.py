"""README.md of an exported model: what it is, where it comes from, its figures, and how it is to be sampled.

Only what the run has measured stands in it. Pure text.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

KINDS = {"human": "people", "program": "programs", "judge": "judge models"}
METHODS = {"both": "PPO and DPO"}


class PolicyLike(Protocol):
    """What is needed of a row of `policies`."""

    version: int
    parent_version: int | None
    round_id: int | None
    model: str
    summary: dict[str, Any] | None
    created_at: float


def podium_version() -> str:
    """As it is installed."""
    try:
        return version("podium")
    except PackageNotFoundError:
        return "of unknown version (run from its source)"


def line_of(policies: Sequence[PolicyLike], newest: int) -> list[PolicyLike]:
    """A policy and those that it descends from, oldest first."""
    by_version = {p.version: p for p in policies}
    found, at = [], by_version.get(newest)
    while at is not None and at not in found:
        found.append(at)
        at = by_version.get(at.parent_version) if at.parent_version is not None else None
    return found[::-1]


def header(library: str, pipeline: str, base: str, tags: Sequence[str], license: str = "") -> str:
    """The YAML that the hub reads. base: a hub id, or '' for a model that has none."""
    lines = ["---", f"library_name: {library}", f"pipeline_tag: {pipeline}"]
    lines += [f"base_model: {base}"] if base else []
    lines += [f"license: {license}"] if license else []
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in ("podium", "rlhf", *tags)), "---", ""])


def lineage(
    line: Sequence[PolicyLike],
    rounds: Mapping[int, Any],
    counts: Callable[[int], Mapping[str, int]],
) -> str:
    """A table of the policies of `line`. counts: standing rankings by kind, up to a ranking's id."""
    rows = [
        "| policy | made by | rankings that stand, up to there | win rate over the one before | KL | when |",
        "|---|---|---|---|---|---|",
    ]
    for policy in line:
        made = rounds.get(policy.round_id) if policy.round_id is not None else None
        summary = policy.summary or {}
        if policy.parent_version is None:
            how, ranked = f"the model the run began with, `{_without_folders(policy.model)}`", ""
        elif made is None:
            how, ranked = f"from policy {policy.parent_version}", ""
        else:
            method = METHODS.get(made.method, made.method.upper())
            how = f"round {made.id} ({method}) from policy {policy.parent_version}"
            ranked = "none used" if made.method == "sft" else _by_kind(counts(made.trained_through))
        when = time.strftime("%Y-%m-%d", time.gmtime(policy.created_at))
        cells = (str(policy.version), how, ranked, _win_rate(summary), _kl(summary), when)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _without_folders(model: str) -> str:
    """A card may be read by anybody: what a folder is called, and not where it is."""
    local = model.startswith(("/", ".", "~")) or Path(model).exists()
    return Path(model).name if local else model


def lineage_notes() -> str:
    """How the table is to be read."""
    return (
        "Win rates are by the round's own reward model, on prompts that this round's training did not see, "
        "with 95 % intervals, a tie counting half. The policy is trained against that reward model, so they "
        "are not what people would say. KL is against the model the run began with, in nats per response. "
        "Each round learns from all rankings up to there, from those of judges only while they are used."
    )


def _by_kind(counts: Mapping[str, int]) -> str:
    said = ", ".join(f"{counts[kind]} by {name}" for kind, name in KINDS.items() if counts.get(kind))
    imported = counts.get("import", 0)
    return (said or "none") + (f"; {imported} were imported into the run" if imported else "")


def _win_rate(summary: Mapping[str, Any]) -> str:
    names = ("win_rate", "win_rate_low", "win_rate_high")
    if any(not isinstance(summary.get(name), (int, float)) for name in names):
        return "not measured"
    rate, low, high = (summary[name] for name in names)
    return f"{rate:.1%} ({low:.1%} to {high:.1%})"


def _kl(summary: Mapping[str, Any]) -> str:
    kl = summary.get("kl")
    return f"{kl:.2f}" if isinstance(kl, (int, float)) else "not measured"


def licence(model: str, starter: bool) -> str:
    """Whose licence it is under: Podium adds none."""
    if starter:
        return "The starter model is part of Podium, Apache-2.0; so is this one."
    return (
        f"The weights descend from `{model}`: its licence applies to them, and whatever the rankings and "
        "prompts were collected under. Podium adds no terms of its own."
    )
