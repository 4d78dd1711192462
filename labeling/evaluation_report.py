"""The evaluation as one HTML file: it can be mailed, opened without a server, and asks nobody for anything.

Written from what `rlhf.standings.evaluate_run` returns. Model text goes through `labeling.render`, all else
is escaped.
"""

import tempfile
from html import escape
from pathlib import Path
from typing import Any

from data.conversation import as_transcript
from labeling.plots import Point, scatter
from labeling.report_page import PLOTTED, document, few, model_text, plotted, row, share_cell, table, zero
from labeling.standings import WHO, change, task_rows

GROUPS = {
    "Refusals": ("refus", "going along"),
    "Right or not": ("right:", "does not know", "is empty or broken", "broken", "repeats", "ends by itself"),
    "Manner": (
        "hedges",
        "polite",
        "rude",
        "over-confident",
        "rambling",
        "apologises",
        "asks back",
        "speaks of",
    ),
    "Structure": ("has ",),
}


def check(*files: str | None) -> None:
    """Refuse, before the work, files that could not be written after it. Raises ValueError."""
    for name in filter(None, files):
        path = Path(name)
        if name == "-":
            continue
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise ValueError(f"'{name}' cannot be written ({error.strerror or error}).") from None
        if path.is_dir():
            raise ValueError(f"'{name}' is a folder; wanted the name of a file.")


def write(result: dict[str, Any], file: str) -> None:
    """The report into a file, if one is wanted. Raises ValueError where it cannot be written."""
    if not file:
        return
    try:
        Path(file).write_text(page(result), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"'{file}' cannot be written ({error.strerror}).") from None


def page(result: dict[str, Any]) -> str:
    """The whole document."""
    parts = [
        "<h1>Evaluation</h1>",
        _facts(result),
        f'<p class="says">{escape(headline(result))}</p>',
        *(_arena(result) if "human" in result["people"] else []),  # people first
        *_win_rates(result),
        *_costs(result),
        *(_arena(result) if "human" not in result["people"] else []),
        *_behaviours(result),
        *_tasks(result),
        *_examples(result),
        *_how(result),
    ]
    return document(f"Evaluation of {Path(result['run']).name}", parts)


def headline(result: dict[str, Any]) -> str:
    """The result in a sentence or two: the newest policy, and what a good prompt alone would have done."""
    judge = result["judges"][0]["name"]
    matches = {m["contender"]: m for m in result["matches"] if m["judge"] == judge and m["against"] == "0"}
    versions = [one["key"] for one in result["contenders"] if one["key"].isdigit() and one["key"] in matches]
    found = []
    if versions:
        newest = versions[-1]
        found.append(f"{result['names'][newest]} {_beats(matches[newest])}, judged by {judge}.")
    if "prompted" in matches:
        found.append(
            f"The base model with a good prompt, which costs no training, {_beats(matches['prompted'])}."
        )
    return " ".join(found) or f"{len(result['contenders'])} contenders, judged by {judge}."


def _beats(match: dict[str, Any]) -> str:
    sure = match["low"] > 0.5 or match["high"] < 0.5
    words = "wins {} of the time against SFT ({} to {})"
    words = words if sure else "cannot be told from SFT: it wins {} of the time ({} to {})"
    return words.format(*(f"{match[name]:.0%}" for name in ("win_rate", "low", "high")))


def _facts(result: dict[str, Any]) -> str:
    facts = [
        f"run {result['run']}",
        f"model {result['model']}",
        f"base {'/'.join(Path(result['base']).parts[-3:])}" if result["base"] else "no base model",
        f"{result['prompts']} held-out prompts, sampled once each at temperature {result['temperature']:g}",
        f"seed {result['seed']}",
    ]
    return f'<ul class="facts">{"".join(f"<li>{escape(fact)}</li>" for fact in facts)}</ul>'


def _win_rates(result: dict[str, Any]) -> list[str]:
    found = ["<h2>Who wins</h2>"]
    for judge in result["judges"]:
        matches = [m for m in result["matches"] if m["judge"] == judge["name"]]
        if not matches:
            continue
        opponents = list(dict.fromkeys(m["against"] for m in matches))
        found.append(f"<h3>Judged by {escape(judge['name'])}</h3>")
        if judge["note"]:
            found.append(f"<p>{escape(judge['note'])}</p>")
        for other in opponents:
            name = result["names"][other]
            rows = [
                row(
                    result["names"][m["contender"]],
                    [plotted(m), plotted(m["length_controlled"], more=_beyond(m["length_controlled"]))],
                )
                for m in matches
                if m["against"] == other
            ]
            if other == "0":
                itself = next(one for one in result["itself"] if one["judge"] == judge["name"])
                rows.append(row("SFT, sampled again", [plotted(itself), "<td></td>"], "luck"))
            caption = (
                f"Share of {matches[0]['n']} prompts won against {escape(name)}, a tie counting half, with "
                "95 % intervals. The middle line is 50 %."
            )
            head = ["Contender", *PLOTTED]
            label = f"Win rates against {name}, judged by {judge['name']}"
            found.append(table(caption, head, rows, label))
    return found


def _beyond(controlled: dict[str, Any] | None) -> str:
    return (
        " (one was always longer: beyond what was seen)" if controlled and controlled["extrapolated"] else ""
    )


def _costs(result: dict[str, Any]) -> list[str]:
    judges = list(result["contenders"][0]["scores"])
    head = ["Contender", "Tokens", "KL, nats", "Perplexity", "Bits per byte", "Forgetting"]
    head += [f"Score by {escape(judge)}" for judge in judges]
    rows = []
    for one in result["contenders"]:
        kl, read = one["kl"], one["perplexity"]
        cells = [
            f"{one['length']:.1f}",
            "" if not kl or kl["value"] is None else f"{zero(kl['value']):.2f}" + few(kl),
            "" if not read else f"{read['perplexity']:.2f}" + few(read, "perplexity_", ".2f"),
            "" if not read else f"{read['bits_per_byte']:.3f}",
            change(one["forgetting"]),
            *("" if one["scores"][j] is None else f"{one['scores'][j]:+.2f}" for j in judges),
        ]
        rows.append(row(one["name"], [f"<td>{cell}</td>" for cell in cells]))
    caption = (
        "Tokens: mean length. KL: from SFT, on what the policy says, per response. Perplexity and bits per "
        "byte: of demonstrations that were held out (lower is better; only bits per byte can be compared "
        "between models with different tokens). Forgetting: bits per byte of general text, and how many more "
        "than SFT's."
    )
    found = ["<h2>What it costs</h2>", table(caption, head, rows, "What it costs")]
    judge = result["judges"][0]["name"]
    won = {m["contender"]: m for m in result["matches"] if m["judge"] == judge and m["against"] == "0"}
    points = [
        Point("SFT" if one["key"] == "0" else one["key"], one["kl"]["value"], *_of(won.get(one["key"])))
        for one in result["contenders"]
        if one["kl"] and one["kl"]["value"] is not None and (one["key"] in won or one["key"] == "0")
    ]
    if len(points) > 1:
        drawn = scatter(points, "KL from SFT, nats per response", "win rate over SFT")
        caption = f"Win rate over SFT by {escape(judge)}, against the KL spent on it; numbers are policies."
        found.append(f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>")
    return found


def _of(match: dict[str, Any] | None) -> tuple[float, float, float]:
    return (match["win_rate"], match["low"], match["high"]) if match else (0.5, 0.5, 0.5)


def _arena(result: dict[str, Any]) -> list[str]:
    found = []
    for kind, own in result["people"].items():
        rows = [
            row(
                f"Policy {p['version']} over {'SFT' if p['against'] == 0 else 'policy ' + str(p['against'])}",
                [
                    plotted(p["win_rate"], "value"),
                    "<td></td>",
                    f"<td>{p['win_rate']['n']} in {p['tasks']}</td>",
                ],
            )
            for p in own["pairings"]
        ]
        rows += [
            row(
                f"Policy {s['version']}, all pairs",
                [
                    plotted(s["beats"], "value"),
                    plotted(s["at_equal_length"], "value"),
                    f"<td>{s['beats']['n']}</td>",
                ],
            )
            for s in reversed(own["strengths"])
        ]
        caption = (
            f"{own['rankings']} rankings by {WHO[kind]}, of responses by different policies to one training "
            "prompt, blind to whose they are; a tie counts half; intervals count tasks. <em>All pairs</em>: "
            "the chance to win against the oldest policy by the Bradley-Terry model, which also compares "
            "policies that never met."
        )
        head = ["Policies", *PLOTTED, "Pairs in tasks"]
        found.append(f"<h2>The arena: {escape(WHO[kind])}</h2>")
        found.append(table(caption, head, rows, f"The arena: {WHO[kind]}"))
    return found


def _behaviours(result: dict[str, Any]) -> list[str]:
    shown = result["contenders"]
    names = list(dict.fromkeys(name for one in shown for name in one["behaviours"]))
    names = [n for n in names if any(one["behaviours"].get(n, {}).get("share") for one in shown)]
    rows, left = [], list(names)
    width = len(shown)
    size = [("Words", "words"), ("Sentences", "sentences")]
    rows += [row(label, [f"<td>{one[key]:.1f}</td>" for one in shown]) for label, key in size]
    for group, begins in GROUPS.items():
        own = sorted(n for n in left if any(b in n if b == "refus" else n.startswith(b) for b in begins))
        left = [n for n in left if n not in own]
        if own:
            rows.append(f'<tr class="group"><th scope="rowgroup" colspan="{width + 1}">{group}</th></tr>')
        rows += [row(name, [share_cell(one["behaviours"].get(name)) for one in shown]) for name in own]
    if left:
        rows.append(f'<tr class="group"><th scope="rowgroup" colspan="{width + 1}">Else</th></tr>')
        rows += [row(name, [share_cell(one["behaviours"].get(name)) for one in shown]) for name in left]
    caption = (
        "Share of responses, told by their words alone, so that a difference means more than a single share; "
        "small: 95 % interval. What nobody does is left out."
    )
    head = ["Responses", *(escape(one["name"]) for one in shown)]
    return ["<h2>Before and after</h2>", table(caption, head, rows, "Behaviours")]


def _tasks(result: dict[str, Any]) -> list[str]:
    ran = [escape(one["name"]) for one in result["contenders"] if "lm_eval" in one]
    rows = [row(name, [f"<td>{escape(cell)}</td>" for cell in cells]) for name, *cells in task_rows(result)]
    if not rows:
        return []
    caption = "Tasks of lm-eval, without a chat template; ±: 95 %."
    return ["<h2>lm-eval</h2>", table(caption, ["Task", *ran], rows, "lm-eval")]


def _examples(result: dict[str, Any]) -> list[str]:
    judges = list(result["contenders"][0]["scores"])
    found = ["<h2>Side by side</h2>", "<p>The first of the prompts, not chosen.</p>"]
    for example in result["examples"]:
        panes = []
        for key, text in example["responses"].items():
            said = model_text(text) if text.strip() else '<p class="pod-muted">(an empty response)</p>'
            scores = [(judge, example["scores"].get(judge, {}).get(key)) for judge in judges]
            told = ", ".join(f"{escape(j)} {s:+.2f}" for j, s in scores if s is not None)
            panes.append(
                f'<div class="pane"><h4>{escape(result["names"][key])}</h4><div class="pod-text">{said}</div>'
                + (f'<p class="score">{told}</p>' if told else "")
                + "</div>"
            )
        prompt = escape(as_transcript(example["prompt"]))
        found.append(
            f'<section class="example"><h3>{prompt}</h3><div class="panes">{"".join(panes)}</div></section>'
        )
    return found


def _how(result: dict[str, Any]) -> list[str]:
    found = []
    if prompt := result["good_prompt"]:
        source = f"from {prompt['source']}" if prompt["source"] else f"with {prompt['examples']} examples"
        found.append(
            "<h2>The good prompt</h2>"
            f"<details><summary>What the base model was given, {escape(source)}</summary>"
            f'<div class="given" tabindex="0" role="region" aria-label="The good prompt">'
            f"{escape(prompt['template'])}</div></details>"
        )
    if result["notes"]:
        notes = "".join(f"<li>{escape(note)}</li>" for note in result["notes"])
        found.append(f'<h2>Notes</h2><ul class="notes">{notes}</ul>')
    return found
