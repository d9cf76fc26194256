"""What the sections of the page are made of: cells, heads and lists, and ratios of results."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def heads(names: Mapping[str, str], buttons: bool = False) -> str:
    """Return the heads of a table, each with its look; those with a button can be sorted by."""
    cells = []
    for name, look in names.items():
        text = f'<button type="button">{escape(name)}</button>' if buttons and name else escape(name)
        cells.append(f'<th scope="col" class="{look}">{text}</th>')
    return "".join(cells)


def tr(cells: Sequence[str], look: str = "") -> str:
    """Return a row of cells."""
    return f'<tr class="{look}">{"".join(cells)}</tr>'


def word(text: str, look: str = "") -> str:
    """Return a cell with words."""
    return f'<td class="{look}">{escape(text)}</td>' if look else f"<td>{escape(text)}</td>"


def number(value: float | None, form: str, text: str | None = None, look: str = "") -> str:
    """Return a cell with a number, which may be shown as another text; who is never done is late, NaN is empty."""
    look = f"n {look}".rstrip()
    if value is None or not np.isfinite(value):
        return f'<td class="{look}" data-v="">{"late" if value == np.inf else ""}</td>'
    return f'<td class="{look}" data-v="{value:.6g}">{escape(format(value, form) if text is None else text)}</td>'


def interval(score: Mapping[str, float], low: float, look: str) -> str:
    """Return a score and its interval as a drawing, with lines at 0, 0.5 and 1; places are percentages of the width."""

    def place(value: float) -> float:
        return 2 + 96 * (min(max(value, low), 1.0) - low) / (1.0 - low)

    lines = [(place(tick), place(tick), 0, 22, "grid") for tick in (0.0, 0.5, 1.0)]
    lines.append((place(score["low"]), place(score["high"]), 11, 11, look))
    drawn = (f'<line class="{c}" x1="{x:.2f}%" x2="{z:.2f}%" y1="{y}" y2="{w}"/>' for x, z, y, w, c in lines)
    dot = f'<circle class="{look}" cx="{place(score["mean"]):.2f}%" cy="11" r="4.5"/>'
    return f'<svg class="track" height="22" aria-hidden="true">{"".join(drawn)}{dot}</svg>'


def items(sentences: Sequence[str]) -> str:
    """Return a list of sentences; nothing where there are none."""
    return f'<ul class="found">{"".join(f"<li>{escape(words)}</li>" for words in sentences)}</ul>' if sentences else ""


def has(results: Mapping[str, Row], metric: str) -> bool:
    """Whether some policy has anything but zero by a metric."""
    played = [numbers.get(metric, []) for row in results.values() for numbers in row["scenarios"].values()]
    return any(np.any(np.asarray(values) > 0) for values in played)


def per_100(result: Row, scenario: str, metric: str = "preemptions_per_job") -> float:
    """Return a number per job as one per 100 jobs, the mean over seeds."""
    return 100 * float(np.mean(result["scenarios"][scenario].get(metric, [np.nan])))


def over(result: Row, base: Row, scenario: str, metric: str) -> float:
    """Return a metric over that of the base on the same jobs, the mean over seeds."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.divide(result["scenarios"][scenario][metric], base["scenarios"][scenario][metric])
    return float(np.mean(ratios))
