"""What the command line prints: how a run stands, and how two policies compare.

`python app.py status` reads the run directory itself: it works beside a running server and without one.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labeling.agreement import Agreed, with_judges
from labeling.store import Store, open_store


def report(run_dir: Path, as_json: bool) -> str:
    """The facts as text or as JSON. Raises StoreError."""
    with open_store(run_dir, read_only=True) as store:
        status = store.status() | {"imported": store.imported_in_all()}
    return json.dumps(status, indent=2, ensure_ascii=False) if as_json else text(status)


def text(status: dict[str, Any]) -> str:
    """The facts for a terminal."""
    worker, last = status["worker"], status["last_round"]
    version = status["policy_version"]
    lines = {
        "model": status["model"] or "not loaded yet",
        "policy": "none yet" if version is None else f"version {version}",
        "rankings": _by_whom(status),
        "next round": f"in {status['until_next_round']} of {status['rankings_per_round']} rankings",
        "open tasks": str(status["open_tasks"]),
        "worker": _worker(worker, status["now"]),
        "last round": _round(last) if last else "none yet",
    }
    imported = {kind: count for kind, count in status.get("imported", {}).items() if count}
    if imported:
        lines["imported"] = ", ".join(f"{count:,} {kind}" for kind, count in imported.items())
    if worker["error"]:
        lines["last error"] = worker["error"]
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def comparison(result: dict[str, Any]) -> str:
    """An evaluation for a terminal."""
    before, after = f"policy {result['before']}", f"policy {result['after']}"
    unit = result["length_unit"]
    lines = {
        "win rate": f"{_share(result, 'win_rate')} of {after} over {before}, {result['n']} prompts, "
        f"{result['ties']} ties counted half",
        "at equal length": _share(result, "length_controlled_win_rate"),
        f"{before} itself": f"{_share(result, 'self_win_rate')} (sampled twice; how much is chance)",
        "score": " -> ".join(
            "not finite" if result[name] is None else f"{result[name]:+.2f}"
            for name in ("score_before", "score_after")
        ),
        "length": f"{result['length_before']:.1f} -> {result['length_after']:.1f} {unit}",
        "KL": "not measured" if result["kl"] is None else f"{result['kl']:.2f} nats from the reference",
    }
    text = "\n".join(f"{name:<16} {value}" for name, value in lines.items())
    old, new = result["behaviour_before"], result["behaviour_after"]
    both = [name for name in old if name in new]
    shares = [f"  {name:<20} {old[name]:>4.0%} -> {new[name]:>4.0%}" for name in both]
    return "\n".join([text, *(["share of responses that are"] if shares else []), *shares])


def judged(store: Store, summary: Any, cost: float) -> str:
    """One run of a judge for a terminal. summary: `rlhf.judging.Summary`; cost: by the prices, 0 without."""
    s = summary
    tokens = f"{s.used.prompt_tokens} of prompts, {s.used.response_tokens} of responses, {s.used.calls} calls"
    lines = {
        "judge": f"{s.judge}, {s.seconds:.0f} s",
        "ranked": f"{s.ranked} open tasks, and {s.compared} that people had ranked; {s.failed} without a "
        f"usable answer, {s.taken} ranked by others meanwhile",
        "tokens": f"{tokens}{f', {cost:.4f} by the prices given' if cost else ''}",
    }
    if s.consistent:
        mean = sum(s.consistent) / len(s.consistent)
        lines["consistent"] = f"{mean:.0%} of pairs ranked alike in both orders (mean of tasks)"
    if s.revised or s.as_they_were or s.not_revised:
        left = f"{s.as_they_were} left as they were, {s.not_revised} without a usable answer"
        lines["revised"] = f"{s.revised} responses, now demonstrations; {left}"
    beside = with_judges(store.judged_facts())
    agreed = next((one.agreed for one in beside if one.person_id == s.person_id), None)
    if agreed is not None:
        lines["people"] = _with_people(agreed)
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def _with_people(agreed: Agreed) -> str:
    """How a judge and people agree."""
    if agreed.too_few or agreed.same_order is None:
        return agreed.too_few or "No pair of responses was decided by a person and this judge."
    same, tau = agreed.same_order, agreed.tau
    interval = "" if same.low is None else f" ({same.low:.0%} to {same.high:.0%})"
    words = f"{same.value:.0%} of pairs in the same order{interval}, {agreed.tasks} tasks"
    return words + (f", tau-b {tau.value:.2f}" if tau else "")


def _by_whom(status: dict[str, Any]) -> str:
    others = [f"{status[name]} by {name}" for name in ("programs", "judges") if status.get(name)]
    return f"{status['rankings']}" + (f", of which {' and '.join(others)}" if others else "")


def say(result: dict[str, Any], words: Callable[[dict[str, Any]], str], as_json: str | None) -> None:
    """Print a result in words, or as JSON ('-'), or write the JSON to a file and print the words.

    Raises ValueError for a file that cannot be written.
    """
    if as_json is None:
        print(words(result))
        return
    text = json.dumps(result, indent=2)
    if as_json == "-":
        print(text)
        return
    try:
        Path(as_json).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"'{as_json}' cannot be written ({error.strerror}).") from None
    print(words(result))


def losses(summary: dict[str, Any]) -> list[str]:
    """What SFT came to, beside what prompting alone gives, for a terminal; [] where nothing was trained."""
    names = {
        "base": "base",
        "prompted_base": "base, prompted",
        "before": "policy before",
        "after": "after SFT",
    }
    lines = [
        f"{title:<16}{summary[f'loss_{name}']:>14.3f}{summary[f'perplexity_{name}']:>12.2f}"
        for name, title in names.items()
        if f"perplexity_{name}" in summary
    ]
    return [f"{'':<16}{'held-out loss':>14}{'perplexity':>12}", *lines] if lines else []


def _share(result: dict[str, Any], name: str) -> str:
    if result[name] is None:
        return "cannot be told"
    return f"{result[name]:.1%} ({result[f'{name}_low']:.1%} to {result[f'{name}_high']:.1%})"


def _worker(worker: dict[str, Any], now: float) -> str:
    words = f"{worker['state']}: {worker['detail']}" if worker["detail"] else worker["state"]
    return f"{words} (seen {_ago(now - worker['seen'])} ago)" if worker["seen"] else words


def _round(last: dict[str, Any]) -> str:
    learned = f"{last['rankings']} rankings" if last["rankings"] else "imported preferences"
    learned = "demonstrations" if last["method"] == "sft" else learned
    words = f"{last['id']}, {last['state']}, on {learned}"
    if last["policy_version"] is not None:
        words += f", made policy {last['policy_version']}"
    if last["reason"]:
        words += f" ({last['reason']})"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last["ended_at"] or last["started_at"]))
    return f"{words}, {'ended' if last['ended_at'] else 'began'} {when}"


def _ago(seconds: float) -> str:
    seconds = max(0, round(seconds))
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
