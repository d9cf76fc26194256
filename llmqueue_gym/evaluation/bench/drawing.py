"""Figures as HTML rows with small inline SVG tracks: places along a track are percentages, so text never shrinks.

A row is a name, a track and a value; the tracks of a figure lie below one another and share their scale.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Scale = Callable[[float], float]  # value -> percent of the track's width
Point = tuple[float, float, float, float, bool, str]  # x, y, its lower and upper end, whether to stress it, title

HEIGHT = 22  # px of a row
_PLACES = [(side, lift) for lift in (0, 11, -11) for side in (1, -1)]  # of a label beside its dot
NARROW, LETTER = 320, 6.3  # px, the least width of a plane and about that of a letter in it


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


@dataclass(frozen=True)
class Spot:
    """A point of a plane.

    Attributes:
        x: value.
        y: value.
        look: class of its dot.
        radius: px.
        title: shown when it is pointed at.
        label: beside it, where there is room.
    """

    x: float
    y: float
    look: str
    radius: float
    title: str
    label: str = ""


def plane(spots: Sequence[Spot], ticks: Sequence[float], up: Sequence[float], name: str, height: float = 300) -> str:
    """Return points between two logarithmic axes, with stronger lines at 1; those beyond stand at the edge.

    Args:
        spots: what to draw; labels of the first are placed first.
        ticks: values of upright grid lines; the first and the last are the edges.
        up: values of level grid lines; likewise.
        name: what is seen, in words.
        height: px.
    """
    across, upward = logarithmic(ticks[0], ticks[-1]), logarithmic(up[0], up[-1])
    marks = []

    def down(value: float) -> float:
        return height * (1 - upward(value) / 100)

    for tick in ticks:
        marks.append(stem(across(tick), 0, height, "zero" if tick == 1 else "grid"))
    for tick in up:
        marks.append(bar(0, 100, "zero" if tick == 1 else "grid", down(tick)))
        marks.append(f'<text class="tick" x="3" y="{max(down(tick) - 3, 12):.1f}">{tick:g}</text>')
    marks += [dot(across(spot.x), spot.look, spot.title, spot.radius, down(spot.y)) for spot in reversed(spots)]
    marks += _labels([(across(spot.x), down(spot.y), spot) for spot in spots], height)
    texts = "".join(f'<text x="{across(tick):.2f}%" y="12" text-anchor="middle">{tick:g}</text>' for tick in ticks)
    return (
        f'<svg class="cloud plane" height="{height:g}" role="img" aria-label="{escape(name)}">{"".join(marks)}</svg>'
        f'<svg class="axis" height="16" aria-hidden="true">{texts}</svg>'
    )


def _labels(placed: Sequence[tuple[float, float, Spot]], height: float) -> list[str]:
    """Return labels beside their dots that cover no dot and no other label, were the plane `NARROW` px wide."""
    taken = []
    for x, y, spot in placed:
        middle, r = x * NARROW / 100, spot.radius
        taken.append((middle - r, y - r, middle + r, y + r))
    texts = []
    for x, y, spot in placed:
        width, gap = LETTER * len(spot.label), spot.radius + 3
        for side, lift in _PLACES:
            left = x * NARROW / 100 + (gap if side > 0 else -gap - width)
            box = (left, y + lift - 6, left + width, y + lift + 6)
            inside = box[0] >= 0 and box[2] <= NARROW and box[1] >= 0 and box[3] <= height
            if spot.label and inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                anchor = "start" if side > 0 else "end"
                place = f'x="{x:.2f}%" dx="{side * gap:.1f}" y="{y + lift + 4:.1f}" text-anchor="{anchor}"'
                texts.append(f'<text class="label" {place}>{escape(spot.label)}</text>')
                break
    return texts


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
