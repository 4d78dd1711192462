"""What the evaluation report is made of: the document around it, its style, and its tables.

The page asks nobody for anything and runs nothing: its content policy forbids both, whatever a model wrote.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from labeling.plots import bar, interval
from labeling.render import render

WIDGETS = Path(__file__).parent / "widgets"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
PLOTTED = ("Win rate", "At equal length")


def document(title: str, parts: Iterable[str]) -> str:
    """The whole file. parts: HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{css()}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def css() -> str:
    """page.css's colours and model text, dark where the reader's system is; and the report's own rules."""
    shared = (WIDGETS / "page.css").read_text(encoding="utf-8").split("/* ---- Gradio around it")[0]
    shared = re.sub(r"/\*.*?\*/|^:root body\.dark.*?$", "", shared, flags=re.DOTALL | re.MULTILINE)
    dark = re.findall(r"^\.dark \{.*?^\}", shared, re.DOTALL | re.MULTILINE)
    dark += re.findall(r"^\.dark \.pod-text.*$", shared, re.MULTILINE)
    for rule in dark:
        shared = shared.replace(rule, "")
    rules = [re.sub(r"^\.dark(?= \{)", ":root", rule).removeprefix(".dark ") for rule in dark]
    own = (WIDGETS / "evaluation_report.css").read_text(encoding="utf-8")
    kept = "\n".join(line for line in shared.split("\n") if "gradio" not in line.lower())
    return f"{kept}\n@media (prefers-color-scheme: dark) {{\n{chr(10).join(rules)}\n}}\n{own}"


def model_text(text: str) -> str:
    """Safe HTML; what scrolls in its own box can be reached by keyboard (the pages do that by script)."""
    return render(text).replace("<pre ", '<pre tabindex="0" ').replace(
        '<div class="pod-table"', '<div tabindex="0" class="pod-table"'
    )  # fmt: skip


def table(caption: str, head: Sequence[str], rows: Iterable[str], label: str) -> str:
    """head: cells as HTML; rows: whole `<tr>`s. A table that is too wide scrolls in its own box."""
    left = ' class="plotted"'
    cells = "".join(f'<th scope="col"{left if cell in PLOTTED else ""}>{cell}</th>' for cell in head)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="figures">'
        f'<caption><div class="caption">{caption}</div></caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(name: str, cells: Iterable[str], kind: str = "") -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<tr{of}><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def plotted(found: dict[str, Any] | None, value: str = "win_rate", more: str = "") -> str:
    if not found:
        return '<td class="plotted">cannot be told</td>'
    low, high = found["low"], found["high"]
    between = "" if low is None else f' <span class="few">{low:.0%} to {high:.0%}</span>'
    drawn = interval(found[value], low, high)
    return f'<td class="plotted">{drawn}{found[value]:.1%}{between}{escape(more)}</td>'


def few(found: dict[str, Any], prefix: str = "", form: str = ".2f") -> str:
    low, high = found[f"{prefix}low"], found[f"{prefix}high"]
    return "" if low is None else f'<span class="few">{zero(low):{form}} to {zero(high):{form}}</span>'


def zero(value: float) -> float:
    """Without the sign of a zero."""
    return round(value, 3) + 0.0


def share_cell(found: dict[str, Any] | None) -> str:
    if not found:
        return "<td></td>"
    between = f'<span class="few">{found["low"]:.0%} to {found["high"]:.0%}</span>'
    return f"<td>{found['share']:.0%} {between}{bar(found['share'])}</td>"
