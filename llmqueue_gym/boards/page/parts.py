"""What the sections of the page are made of: cells, heads and lists, and ratios of results.

HTML is `Markup`: whatever is put into it is escaped, unless it is `Markup` itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

Row = Mapping[str, Any]


def heads(names: Mapping[str, str], buttons: bool = False) -> Markup:
    """Return the heads of a table, each with its look; those with a button can be sorted by."""
    cell, button = Markup('<th scope="col" class="{}">{}</th>'), Markup('<button type="button">{}</button>')
    return joined(cell.format(look, button.format(name) if buttons and name else name) for name, look in names.items())


def tr(cells: Iterable[Markup], look: str = "") -> Markup:
    """Return a row of cells."""
    return Markup('<tr class="{}">{}</tr>').format(look, joined(cells))


def td(content: str, look: str = "", value: str | None = None) -> Markup:
    """Return a cell with what is shown, and the value by which it is sorted where that is another."""
    value = Markup("") if value is None else Markup(' data-v="{}"').format(value)
    return Markup("<td{}{}>{}</td>").format(Markup(' class="{}"').format(look) if look else "", value, content)


def number(value: float | None, form: str, text: str | None = None, look: str = "") -> Markup:
    """Return a cell with a number, which may be shown as another text; who is never done is late, NaN is empty."""
    look = f"n {look}".rstrip()
    if value is None or not np.isfinite(value):
        return td("late" if value == np.inf else "", look, "")
    return td(format(value, form) if text is None else text, look, f"{value:.6g}")


def interval(score: Mapping[str, float], low: float, look: str) -> Markup:
    """Return a score and its interval as a drawing, with lines at 0, 0.5 and 1; places are percentages of the width."""

    def place(value: float) -> float:
        return 2 + 96 * (min(max(value, low), 1.0) - low) / (1.0 - low)

    line = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>')
    drawn = [line.format("grid", place(tick), place(tick), 0, 22) for tick in (0.0, 0.5, 1.0)]
    drawn.append(line.format(look, place(score["low"]), place(score["high"]), 11, 11))
    drawn.append(Markup('<circle class="{}" cx="{:.2f}%" cy="11" r="4.5"/>').format(look, place(score["mean"])))
    return Markup('<svg class="track" height="22" aria-hidden="true">{}</svg>').format(joined(drawn))


def items(sentences: Sequence[str]) -> Markup:
    """Return a list of sentences; nothing where there are none."""
    listed = joined(Markup("<li>{}</li>").format(words) for words in sentences)
    return Markup('<ul class="found">{}</ul>').format(listed) if sentences else Markup("")


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Return pieces one after another."""
    return Markup(between).join(parts)


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
