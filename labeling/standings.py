"""What `python app.py evaluate --policies all` prints: the contenders side by side, in a terminal."""

from collections.abc import Sequence
from typing import Any

SIDE_BY_SIDE = 5  # contenders' behaviours in one table: more are not read


def standings(result: dict[str, Any]) -> str:
    """The whole result as text."""
    parts = [_costs(result), *_win_rates(result), *_arena(result), _behaviours(result), *_tasks(result)]
    parts += [f"Note: {note}" for note in result["notes"]]
    parts.append(
        f"{result['prompts']} held-out prompts, seed {result['seed']}, temperature "
        f"{result['temperature']:g}; intervals are 95 %; {result['seconds']:g} s."
    )
    return "\n\n".join(part for part in parts if part)


def _costs(result: dict[str, Any]) -> str:
    judges = [name for one in result["judges"] if (name := one["name"]) in result["contenders"][0]["scores"]]
    head = ["", result["length_unit"], "KL, nats", "perplexity", "forgetting", *(f"by {j}" for j in judges)]
    rows = []
    for one in result["contenders"]:
        scores = (one["scores"].get(judge) for judge in judges)
        kl = one["kl"]
        rows.append(
            [
                one["name"],
                f"{one['length']:.1f}",
                "" if kl is None or kl["value"] is None else f"{kl['value']:z.2f}",
                _perplexity(one["perplexity"]),
                change(one["forgetting"]),
                *("" if score is None else f"{score:+.2f}" for score in scores),
            ]
        )
    return table(head, rows)


def _perplexity(found: dict[str, Any] | None) -> str:
    return f"{found['perplexity']:.2f}" if found else ""


def change(found: dict[str, Any] | None) -> str:
    """Bits per byte of general text, and how many more than SFT needs."""
    if not found:
        return ""
    bits = f"{found['bits_per_byte']:.3f}"
    return f"{bits} ({found['change']:+.1%})" if "change" in found else bits


def _win_rates(result: dict[str, Any]) -> list[str]:
    found = []
    for judge in result["judges"]:
        matches = [m for m in result["matches"] if m["judge"] == judge["name"]]
        if not matches:
            continue
        rows = [
            [
                f"{result['names'][m['contender']]} over {result['names'][m['against']]}",
                share(m),
                f"at equal length {share(m['length_controlled'])}" if m["length_controlled"] else "",
            ]
            for m in matches
        ]
        itself = next(one for one in result["itself"] if one["judge"] == judge["name"])
        rows.append(["SFT over itself, sampled again", share(itself), ""])
        title = f"win rates by {judge['name']}" + (f" ({judge['note']})" if judge["note"] else "")
        found.append(f"{title}\n{table(None, rows)}")
    return found


WHO = {"human": "people", "program": "programs that rank", "judge": "AI judges"}


def _arena(result: dict[str, Any]) -> list[str]:
    found = []
    for kind, own in result["people"].items():
        rows = [
            [
                f"policy {p['version']} over policy {p['against']}",
                share_of(p["win_rate"]),
                f"{p['win_rate']['n']} pairs in {p['tasks']} tasks",
            ]
            for p in own["pairings"]
        ]
        rows += [
            [
                f"policy {s['version']}, all pairs together",
                share_of(s["beats"]),
                f"at equal length {share_of(s['at_equal_length'])}" if s["at_equal_length"] else "",
            ]
            for s in reversed(own["strengths"])
        ]
        title = f"arena: {own['rankings']} rankings by {WHO[kind]}, of responses to training prompts"
        found.append(f"{title}\n{table(None, rows)}")
    return found


def _behaviours(result: dict[str, Any]) -> str:
    shown = side_by_side(result)
    names = list(dict.fromkeys(name for one in shown for name in one["behaviours"]))
    rows = [["words", *(f"{one['words']:.1f}" for one in shown)]]
    rows.append(["sentences", *(f"{one['sentences']:.1f}" for one in shown)])
    for name in sorted(names):
        found = [one["behaviours"].get(name) for one in shown]
        if any(one and one["share"] for one in found):
            rows.append([name, *(f"{one['share']:.0%}" if one else "" for one in found)])
    return table(["share of responses", *(one["name"] for one in shown)], rows)


def side_by_side(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The first contenders and the newest: five at most."""
    found = result["contenders"]
    return found if len(found) <= SIDE_BY_SIDE else [*found[: SIDE_BY_SIDE - 2], *found[-2:]]


def _tasks(result: dict[str, Any]) -> list[str]:
    rows = task_rows(result)
    ran = [one["name"] for one in result["contenders"] if "lm_eval" in one]
    return [table(["lm-eval", *ran], rows)] if rows else []


def task_rows(result: dict[str, Any]) -> list[list[str]]:
    """A row for each figure of each task of lm-eval."""
    ran = [one["lm_eval"] for one in result["contenders"] if "lm_eval" in one]
    figures = dict.fromkeys((task, name) for one in ran for task, own in one.items() for name in own)
    return [
        [f"{task}: {name}", *(_figure(one.get(task, {}).get(name)) for one in ran)] for task, name in figures
    ]


def _figure(found: dict[str, Any] | None) -> str:
    if not found or found["value"] is None:
        return ""
    return f"{found['value']:.3f}" + (f" ±{1.96 * found['error']:.3f}" if found["error"] else "")


def share(match: dict[str, Any] | None) -> str:
    """A win rate with its interval."""
    if not match:
        return "cannot be told"
    if match["low"] is None:
        return f"{match['win_rate']:.1%}"
    return f"{match['win_rate']:.1%} ({match['low']:.1%} to {match['high']:.1%})"


def share_of(estimate: dict[str, Any]) -> str:
    """The same of an estimate of the arena."""
    return share(estimate | {"win_rate": estimate["value"]})


def table(head: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; numbers to the right where there is a head."""
    lines = [head, *rows] if head else list(rows)
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    turn = str.rjust if head else str.ljust
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else turn(cell, width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
