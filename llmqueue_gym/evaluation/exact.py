"""What theory knows of many policies in one scenario: a table, and a picture of it."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.figures import blank, save
from llmqueue_gym.policies.base import TOLD, TRUTH
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.known import best_known

Row = dict[str, Any]
COLOURS = {"nothing": "#777777", "prediction": "#0072b2", "truth": "#d55e00"}


def exact(scenario: Scenario, policies: Mapping[str, Any], step: Callable[[int, int], None] | None = None) -> Row:
    """Return what is known of each policy.

    Args:
        scenario: where they play; arrivals are Poisson.
        policies: by name.
        step: called with (done, total) after each.

    Returns:
        `policies`, rows with the least mean response time (s) first: `policy`, what it is `told`, and
        `mean_response_time` with its `kind` or else the ends `low` and `high` of what is bounded, and `over_best`, the
        ratio to the least exact value of those that are not told the truth; `best`, who has that; and `unknown`, those
        of whom theory knows nothing here.
    """
    rows, unknown = list[Row](), list[str]()
    for i, (name, policy) in enumerate(policies.items()):
        best = best_known(scenario.known(policy))
        told = {"policy": name, "told": policy.told}
        if best is None:
            unknown.append(name)
        elif "mean_response_time" in best:
            rows.append({**told, "mean_response_time": best["mean_response_time"], "kind": best["method"]})
        elif best.get("bounded") == "mean_response_time":
            rows.append({**told, "kind": best["method"], **dict(zip(("low", "high"), best["bounds"], strict=True))})
        else:
            unknown.append(name)
        if step is not None:
            step(i + 1, len(policies))
    rows.sort(key=lambda row: _value(row))
    fair = [row for row in rows if row["kind"] == "exact" and row["told"] != TRUTH]
    if fair:
        for row in rows:
            row["over_best"] = _value(row) / fair[0]["mean_response_time"]
    return {"policies": rows, "best": fair[0]["policy"] if fair else None, "unknown": unknown}


def _value(row: Row) -> float:
    """Return the mean response time of a row, or the end of its bounds that is known."""
    return float(next(row[key] for key in ("mean_response_time", "low", "high") if row.get(key) is not None))


def plot_exact(found: Row, title: str, path: str | os.PathLike[str]) -> None:
    """Draw what `exact` returned to a file: a dot for each policy, the least mean first, on a scale of factors.

    Raises:
        BadInput: matplotlib is missing, nothing is known, or the format is not.
    """
    rows = found["policies"]
    if not rows:
        raise BadInput(f"nothing is known of {', '.join(found['unknown'])}, so there is nothing to draw")
    figure = blank(8.0, 1.4 + 0.28 * len(rows))
    axes = figure.subplots()
    values = [_value(row) for row in rows]
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        colour = COLOURS[row["told"]]
        axes.plot([values[0], value], [place, place], color="#dddddd", lw=1.0, zorder=1)
        words, end = f"{value:.4g}", value
        if row["kind"] == "bounds" and None not in (row["low"], row["high"]):
            words, end = f"{row['low']:.4g} to {row['high']:.4g}", row["high"]
            axes.plot([value, end], [place, place], color=colour, lw=3.0, solid_capstyle="round")
        else:
            filled = colour if row["kind"] == "exact" else "white"
            axes.plot(value, place, "o", ms=6, color=colour, mfc=filled, zorder=3)
        axes.annotate(words, (end, place), (7, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row["policy"] for row in rows])
    axes.invert_yaxis()
    if max(values) > 3 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("mean response time, s")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    told = [what for what in TOLD if any(row["told"] == what for row in rows)]
    marks = [axes.plot([], [], "o", ms=6, color=COLOURS[what], label=f"told {what}")[0] for what in told]
    axes.legend(handles=marks, frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    save(figure, path)
