"""Figures as HTML rows with small inline SVG tracks: places along a track are percentages, so text never shrinks.

A row is a name, a track and a value; the tracks of a figure lie below one another and share their scale.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

Scale = Callable[[float], float]  # value -> percent of the track's width
Point = tuple[float, float, float, float, bool, str]  # x, y, its lower and upper end, whether to stress it, title

HEIGHT = 22  # px of a row


def linear(low: float, high: float) -> Scale:
    """Return a linear scale."""
    return lambda value: 2 + 96 * (min(max(value, low), high) - low) / (high - low)


def logarithmic(low: float, high: float) -> Scale:
    """Return a logarithmic scale."""
    place = linear(math.log(low), math.log(high))
    return lambda value: place(math.log(min(max(value, low), high)))


def dot(x: float, look: str, title: str = "", radius: float = 4.5, y: float = HEIGHT / 2) -> str:
    """Return a dot at x percent."""
    return f'<circle class="{look}" cx="{x:.2f}%" cy="{y:.1f}" r="{radius:g}"><title>{escape(title)}</title></circle>'


def bar(x0: float, x1: float, look: str, y: float = HEIGHT / 2) -> str:
    """Return a level line from x0 to x1 percent."""
    return f'<line class="{look}" x1="{x0:.2f}%" x2="{x1:.2f}%" y1="{y:.1f}" y2="{y:.1f}"/>'


def stem(x: float, y0: float, y1: float, look: str) -> str:
    """Return an upright line at x percent from y0 to y1 px."""
    return f'<line class="{look}" x1="{x:.2f}%" x2="{x:.2f}%" y1="{y0:.1f}" y2="{y1:.1f}"/>'


def track(marks: Sequence[str], ticks: Sequence[float], scale: Scale, height: float = HEIGHT) -> str:
    """Return a row's drawing: grid lines at the ticks, then the marks."""
    grid = "".join(stem(scale(tick), 0, height, "grid") for tick in ticks)
    return f'<svg class="track" height="{height:g}" aria-hidden="true">{grid}{"".join(marks)}</svg>'


def row(name: str, drawing: str, value: str = "", look: str = "") -> str:
    """Return one row of a figure."""
    cells = f'<span class="name">{escape(name)}</span>{drawing}<span class="value">{escape(value)}</span>'
    return f'<div class="row {look}">{cells}</div>'


def axis(ticks: Sequence[tuple[float, str]], scale: Scale, caption: str = "") -> str:
    """Return the row with the numbers of an axis and its caption."""
    texts = "".join(
        f'<text x="{scale(tick):.2f}%" y="12" text-anchor="middle">{escape(label)}</text>' for tick, label in ticks
    )
    drawing = f'<svg class="track axis" height="16" aria-hidden="true">{texts}</svg>'
    below = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return row("", drawing) + below


def cloud(points: Sequence[Point], scale: Scale, reach: float, height: float) -> str:
    """Return points with upright intervals around a level line at 0.

    Args:
        points: what to draw.
        scale: of x.
        reach: y of the upper edge, and minus that of the lower one; what lies beyond stands at the edge.
        height: px.
    """

    def place(y: float) -> float:
        return height / 2 * (1 - min(max(y / reach, -1), 1) * 0.94)

    marks = [bar(0, 100, "zero", height / 2)]
    for x, y, low, high, stressed, title in sorted(points, key=lambda point: point[4]):
        look = "missed" if stressed else "met"
        marks.append(stem(scale(x), place(low), place(high), f"stem {look}"))
        marks.append(dot(scale(x), look, title, 3.2 if stressed else 2, place(y)))
    label = 'role="img" aria-label="Deviation of each simulated mean from the exact one"'
    return f'<svg class="cloud" height="{height:g}" {label}>{"".join(marks)}</svg>'
