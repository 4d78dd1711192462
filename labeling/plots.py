"""Small plots as inline SVG, for a report that is one file: matplotlib would be 40 MB more for these three.

Colours are the page's CSS variables, so the plots are light and dark as it is. What a plot shows also stands
in numbers beside it: `interval` and `bar` are hidden from screen readers, `scatter` is described in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


def interval(value: float, low: float | None, high: float | None, middle: float = 0.5) -> str:
    """A share with its interval on a line from 0 to 1, and a mark at `middle`."""
    low, high = value if low is None else low, value if high is None else high
    side = "above" if low > middle else "below" if high < middle else "unclear"
    parts = [
        '<svg class="interval" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">',
        '<line class="track" x1="0" y1="8" x2="100" y2="8"/>',
        f'<line class="middle" x1="{100 * middle:.1f}" y1="0" x2="{100 * middle:.1f}" y2="16"/>',
        f'<line class="span {side}" x1="{100 * low:.1f}" y1="8" x2="{100 * high:.1f}" y2="8"/>',
        f'<line class="dot {side}" x1="{100 * value:.1f}" y1="8" x2="{100 * value:.1f}" y2="8"/></svg>',
    ]
    return "".join(parts)


def bar(share: float) -> str:
    """A share as the filled part of a line."""
    width = f"{100 * share:.1f}"
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="6"/><rect class="filled" width="{width}" height="6"/></svg>'
    )


@dataclass(frozen=True)
class Point:
    """One of a scatter plot; y with its interval."""

    name: str
    x: float
    y: float
    low: float
    high: float


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 230, 44, 16, 14, 40


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Points with intervals and names; y from 0 to 1, in percent."""
    most = _round_up(1.05 * max((p.x for p in points), default=1.0))

    def at(x: float, y: float) -> tuple[float, float]:
        across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * max(0.0, x) / most, TOP + down * (1 - y)

    says = ", ".join(f"{p.name} {p.y:.0%} at {p.x:.1f}" for p in points)
    parts = [
        f'<svg class="scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{y_title} by {x_title}: {says}")}">'
    ]
    for y in (0, 0.25, 0.5, 0.75, 1):
        (x0, down), (x1, _) = at(0, y), at(most, y)
        kind = "middle" if y == 0.5 else "grid"
        parts.append(f'<line class="{kind}" x1="{x0:.1f}" y1="{down:.1f}" x2="{x1:.1f}" y2="{down:.1f}"/>')
        parts.append(_text(x0 - 6, down + 4, f"{y:.0%}", "end"))
    for step in range(5):
        x, down = at(most * step / 4, 0)
        parts.append(_text(x, down + 16, f"{most * step / 4:g}", "middle"))
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 4, x_title, "middle"))
    for p in points:
        (x, y), (_, low), (_, high) = at(p.x, p.y), at(p.x, p.low), at(p.x, p.high)
        parts.append(f'<line class="span" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(_text(x + 7, y + 4, p.name, "start", "name"))
    return "".join([*parts, "</svg>"])


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _round_up(value: float) -> float:
    """To a number that four steps divide into numbers people read."""
    return next(
        (size for size in (0.4, 1, 2, 4, 6, 8, 12, 20, 40, 80, 200, 400, 1000) if size >= value), value
    )
