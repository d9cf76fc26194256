"""A picture of a comparison: mean against 99th percentile, both over those of the base.

Ratios, because what makes one run slower than another is common to all policies and cancels in them.
"""

import os
from collections.abc import Sequence
from textwrap import fill, wrap
from typing import Any

import numpy as np

from llmqueue_gym.evaluation.metrics import WORDS, amount
from llmqueue_gym.figures import blank, save

Row = dict[str, Any]  # of `compare`, with its place in the picture as `x` and `y`
X, Y = "x", "y"
COLOURS = {"base": "#000000", "best": "#009e73", "other": "#0072b2", "told": "#d55e00"}
FAR = 10.0  # times the base, beyond which a policy is told below and not drawn
WIDE = 3.0  # greatest over least value on an axis, from which it is logarithmic
NEAR = 7.0  # pixels between points that share a label
# Where a label may stand around its point, points; nearer ones are tried first.
PLACES = [(r * np.cos(a), r * np.sin(a)) for r in (9, 18, 30, 44, 60, 80, 105) for a in np.arange(16) * np.pi / 8]


def plot_comparison(found: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw what `compare` returned, to a file whose name says the format, such as compare.png or compare.svg.

    Points that lie on one another share a label; policies that are far off or left requests undone are named below.

    Raises:
        BadInput: matplotlib is missing, or it does not know the format.
    """
    figure = draw_comparison(found)
    save(figure, path)


def draw_comparison(found: dict[str, Any]) -> Any:
    """Return the picture as a matplotlib figure; BadInput where matplotlib is missing."""
    figure = blank(8.6, 6.2)
    axes = figure.subplots()
    rows, base = spots(found), found["base"]
    near = [row for row in rows if row[X]["mean"] <= FAR and row[Y]["mean"] <= FAR]
    best = {found["winner"][kind]["policy"] for kind in found["winner"]}
    for row in sorted(near, key=lambda row: row["policy"] in {base, *best}):
        _draw(axes, row, COLOURS[_kind([row], best, base)])
    what = WORDS[found["metric"]]
    own = next(row for row in rows if row["policy"] == base)
    mean, p99 = (amount(found["metric"], own[kind]["mean"]) for kind in ("mean", "p99"))
    axes.set(xlabel=f"mean {what}, over that of {base}, {mean}", ylabel=f"99th percentile, over that of {base}, {p99}")
    for line in (axes.axvline, axes.axhline):
        line(1, color="#999999", lw=0.8, zorder=1)
    axes.margins(0.12)
    for axis, key in ((axes.xaxis, X), (axes.yaxis, Y)):
        _scale(axis, [row[key] for row in near])
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title(found), fontsize=10, loc="left")
    figure.supxlabel(footnote(found, near), fontsize=8, color="#555555", x=0.01, ha="left")
    figure.canvas.draw()  # lays it out, so that labels know where they are
    figure.set_layout_engine("none")
    _label(figure, axes, near, best, base)
    return figure


def spots(found: dict[str, Any]) -> list[Row]:
    """Return the rows of those who are done, with ratios to the base as places."""
    names = {key: f"{kind}_over_{found['base']}" for key, kind in ((X, "mean"), (Y, "p99"))}
    return [{**row, **{key: row[name] for key, name in names.items()}} for row in found["policies"] if "mean" in row]


def title(found: dict[str, Any]) -> str:
    """Return where the policies were compared, in two lines at most."""
    told = found["scenario"]
    load = found.get("load") or told.get("load")
    load = f"load {load:.3g}" if load else f"{told['rate']:.3g} /s" if told.get("rate") else "as recorded"
    where = found.get("title") or str(told.get("workload") or told["size"]).partition("(")[0]
    system = ", ".join(str(told[name]) for name in ("profile", "rules", "servers") if name in told)
    words = f"{told['system']} {system}".rstrip()
    return f"{where}, {found['requests']:,} jobs, {load}\n{words}, predictions {told['predictor']}"


def footnote(found: dict[str, Any], drawn: Sequence[Row]) -> str:
    """Return what the marks mean, and who is not drawn."""
    told = "; orange: told the truth" if any(row["told_truth"] for row in drawn) else ""
    left = [row["policy"] for row in found["policies"] if "mean" not in row]
    names = {row["policy"] for row in drawn}
    far = [row for row in spots(found) if row["policy"] not in names]
    words = [f"{row['policy']} ({row[X]['mean']:.3g}, {row[Y]['mean']:.3g})" for row in far]
    lines = ["bars: 95 % intervals of the ratio, on the same jobs; green: the least of an axis" + told]
    if far:
        lines.append(f"beyond {FAR:g} times {found['base']} and not drawn (mean, p99): {', '.join(words)}")
    if left:
        lines.append(f"not drawn, as they left jobs undone: {', '.join(left)}")
    return "\n".join(line for text in lines for line in wrap(text, 125))


def _kind(rows: Sequence[Row], best: set[str], base: str) -> str:
    names = {row["policy"] for row in rows}
    if best & names:
        return "best"
    return "base" if base in names else "told" if all(row["told_truth"] for row in rows) else "other"


def _draw(axes: Any, row: Row, colour: str) -> None:
    x, y = row[X], row[Y]
    bars = {}
    for key, estimate in (("xerr", x), ("yerr", y)):
        if np.isfinite(estimate["low"]):
            bars[key] = [[max(estimate["mean"] - estimate["low"], 0)], [max(estimate["high"] - estimate["mean"], 0)]]
    style = {"fmt": "o", "ms": 6, "elinewidth": 0.8, "alpha": 0.9, "zorder": 3}
    _, _, lines = axes.errorbar(x["mean"], y["mean"], **bars, **style, color=colour)
    for line in lines:
        line.set_alpha(0.35)


def _scale(axis: Any, estimates: Sequence[dict[str, float]]) -> None:
    """Make an axis logarithmic where values differ by factors, with plain numbers on it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = [value for estimate in estimates for value in estimate.values() if np.isfinite(value)]
    if min(values) <= 0 or max(values) < WIDE * min(values):
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1.0,) if max(values) > 300 * min(values) else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def neighbours(rows: Sequence[Row], places: np.ndarray) -> list[list[int]]:
    """Return the rows in groups of points that lie within `NEAR` pixels of one in the group; places `(n, 2)`."""
    groups: list[list[int]] = []
    for i in range(len(rows)):
        close = [g for g in groups if any(np.hypot(*(places[i] - places[j])) < NEAR for j in g)]
        groups = [g for g in groups if g not in close] + [sorted(sum(close, [i]))]
    return sorted(groups)


def _label(figure: Any, axes: Any, rows: Sequence[Row], best: set[str], base: str) -> None:
    """Write a label for each group of points, at the nearest place that covers no point and no other label."""
    renderer, points = figure.canvas.get_renderer(), 72 / figure.dpi
    places = axes.transData.transform([(row[X]["mean"], row[Y]["mean"]) for row in rows])
    taken = [_box(x, y, 5, 5) for x, y in places]
    for line in (line for row in rows for line in _bars(row)):
        (x0, y0), (x1, y1) = axes.transData.transform(line)
        taken.append((x0 - 1, y0 - 1, x1 + 1, y1 + 1))
    frame = axes.get_window_extent(renderer)
    labels: list[Any] = []
    for group in neighbours(rows, places):
        names = [rows[i]["policy"] for i in group]
        x, y = places[group].mean(axis=0)
        text = fill(", ".join(name.replace("-", "\u2011") for name in names), 36)
        colour = COLOURS[_kind([rows[i] for i in group], best, base)]
        style = {"fontsize": 9, "color": colour, "ha": "center", "va": "center"}
        trial = axes.annotate(text, (x, y), xycoords="figure pixels", annotation_clip=False, **style)
        size = trial.get_window_extent(renderer)
        trial.remove()
        w, h = size.width / 2, size.height / 2
        others = labels + [_box(places[i][0], places[i][1], 5, 5) for i in range(len(rows)) if i not in group]
        options = []
        for dx, dy in PLACES:  # the label's edge, not its middle, keeps that distance
            cx, cy = x + dx / points + np.sign(round(dx, 6)) * w, y + dy / points + np.sign(round(dy, 6)) * h
            box = _box(cx, cy, w + 2, h + 2)
            outside = box[0] < frame.x0 or box[2] > frame.x1 or box[1] < frame.y0 or box[3] > frame.y1
            way = [_box(x + (cx - x) * t, y + (cy - y) * t, 2, 2) for t in np.arange(1, 10) / 10]
            crossed = sum(_overlap(spot, other) > 0 for spot in way for other in others)
            covered = sum(_overlap(box, other) for other in taken)
            options.append((covered + 40 * crossed + np.hypot(dx, dy) + 1e5 * outside, cx, cy, box))
        _, cx, cy, box = min(options, key=lambda option: option[0])
        taken.append(box)
        labels.append(box)
        at = axes.transData.inverted().transform((x, y))
        where = {"xytext": ((cx - x) * points, (cy - y) * points), "textcoords": "offset points"}
        line = {"arrowstyle": "-", "lw": 0.6, "color": style["color"], "shrinkA": 0, "shrinkB": 3}
        axes.annotate("", at, **where, arrowprops=line, zorder=2)
        ground = {"fc": "white", "ec": "none", "alpha": 0.85, "pad": 0.8}  # no line shows through a label
        axes.annotate(text, at, annotation_clip=False, **style, **where, zorder=4, bbox=ground)


def _bars(row: Row) -> list[Any]:
    """Return the ends of the two intervals of a row, as far as they are known."""
    x, y = row[X], row[Y]
    lines = [[(x["low"], y["mean"]), (x["high"], y["mean"])], [(x["mean"], y["low"]), (x["mean"], y["high"])]]
    return [line for line in lines if np.isfinite(line).all()]


def _box(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    return x - w, y - h, x + w, y + h


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the area that two boxes share, pixels squared."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
