"""A picture of a plan: what fleets cost against the requests that they serve outside the limits."""

import os
from collections.abc import Sequence
from typing import Any

from llmqueue_gym.figures import blank, save

LEAST = 1e-4  # share of the requests, below which it is not told apart from none
COLOURS = {"plan": "#009e73", "next": "#d55e00", "other": "#8a94a0"}
_LEGEND = {"plan": "the plan", "next": "the next cheaper fleet", "other": "others that were played"}


def plot_plan(found: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw what `plan` returned, to a file whose name says the format.

    Raises:
        BadInput: matplotlib is missing, or it does not know the format.
    """
    figure = blank(8.6, 5.4)
    axes = figure.subplots()
    allowed, seen = 1 - found["objective"]["share"], set()
    for row in sorted(found["played"], key=lambda row: ("other", "next", "plan").index(kind_of(row, found))):
        what = kind_of(row, found)
        label = None if what in seen else _LEGEND[what]
        seen.add(what)
        style: Any = {"color": COLOURS[what], "zorder": 2 if what == "other" else 3}
        mean, worst = outside(row["share"]), outside(row["worst"])
        axes.plot([row["price"]] * 2, [mean, worst], lw=1.2, alpha=0.5, **style)
        axes.plot(row["price"], mean, "o", ms=5 if what == "other" else 8, label=label, **style)
    for row, above in named(found):
        at: Any = {"xytext": (7, 6 if above else -7), "textcoords": "offset points", "fontsize": 9}
        axes.annotate(row["fleet"], (row["price"], outside(row["share"])), va="bottom" if above else "top", **at)
    axes.axhline(max(allowed, LEAST), color="#333333", lw=1, ls="--")
    axes.set(xlabel="USD an hour", ylabel="requests outside the limits", yscale="log")
    axes.set_ylim(LEAST / 1.6, 1.6)
    axes.margins(x=0.16)
    axes.yaxis.set_major_formatter(
        lambda value, _: "all" if value >= 1 else "none" if value <= LEAST else f"{100 * value:.3g} %"
    )
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    axes.set_title(f"{found['workload']}\n{found['slo']}", fontsize=10, loc="left")
    note = "points: mean over windows; bars: up to the worst window; dashed: how many may be outside"
    figure.supxlabel(note, fontsize=8, color="#555555", x=0.01, ha="left")
    save(figure, path)


def outside(share: float) -> float:
    """Return the share of requests outside the limits as it is drawn: `LEAST` stands for none."""
    return max(1 - share, LEAST)


def kind_of(row: dict[str, Any], found: dict[str, Any]) -> str:
    """Return whether a fleet is the plan, the next cheaper one, or another."""
    cheaper = found["next_cheaper"]
    if row["fleet"] == found["plan"]["fleet"]:
        return "plan"
    return "next" if cheaper is not None and row["fleet"] == cheaper["fleet"] else "other"


def named(found: dict[str, Any]) -> Sequence[tuple[dict[str, Any], bool]]:
    """Return the fleets that have their names beside them, and whether above: the front and the next cheaper one."""
    front = {row["fleet"] for row in found["front"]}
    rows = [row for row in found["played"] if row["fleet"] in front or kind_of(row, found) != "other"]
    return [(row, row["fleet"] in front) for row in rows]
