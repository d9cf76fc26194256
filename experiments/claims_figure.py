"""Claims and what comes out here, as a figure and as a table: a row for each set-up, what is claimed in grey."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import NullLocator
from rich.table import Table

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WORDS = {"reproduced": "#009e73", "same": "#e69f00", "not": "#d55e00"}  # by the first word of the verdict
WIDEST = 78  # letters that a panel has room for; beside it there is more
TICKS = (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)


def draw_claims(claims: Sequence[dict[str, Any]], title: str) -> plt.Figure:
    """Return the figure: a panel for each claim."""
    style = {"font.family": "sans-serif", "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        sizes = [len(claim["rows"]) + 1 for claim in claims]
        told: dict[str, Any] = {"layout": "constrained", "sharex": True, "height_ratios": sizes}
        figure, panels = plt.subplots(len(sizes), 1, figsize=(8.6, 0.2 * sum(sizes) + 1.2), **told)
        for panel, claim in zip(panels, claims, strict=True):
            colour = WORDS.get(claim["verdict"].split()[0], "0.4")
            colour = "0.4" if claim["verdict"] == "not a claim" else colour
            for place, row in enumerate(claim["rows"]):
                if row["factor"] is None or not np.isfinite(row["factor"]):
                    panel.annotate("no rate", (1.0, place), va="center", color="0.5")
                    continue
                bars = [[row["factor"] - row["low"]], [row["high"] - row["factor"]]]
                panel.errorbar(row["factor"], place, xerr=bars, color=colour, marker="o", ms=4, lw=1.2)
            if claim["claimed"] is not None:
                low, high = claim["claimed"]
                panel.axvspan(low / 1.01, high * 1.01, color="0.85", lw=0, zorder=0)
            panel.axvline(1, color="0.7", lw=0.8, ls=(0, (3, 3)), zorder=0)
            panel.set_yticks(range(len(claim["rows"])), [row["setting"] for row in claim["rows"]], fontsize=7.5)
            panel.set_ylim(len(claim["rows"]) - 0.4, -0.6)
            words = f"{claim['words']}: {claim['verdict']}"
            panel.set_title(words, loc="left" if len(words) <= WIDEST else "right", fontsize=8.5)
            panel.spines[["top", "right"]].set_visible(False)
        panels[-1].set_xscale("log")
        low, high = panels[-1].get_xlim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        panels[-1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panels[-1].xaxis.set_minor_locator(NullLocator())
        panels[-1].set_xlabel("factor, 95 % interval; grey: what is claimed")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return figure


def table_of(claims: Sequence[dict[str, Any]]) -> Table:
    """Return a row for each set-up."""
    table = Table("claim", "set-up", "factor")
    for claim in claims:
        for row in claim["rows"]:
            table.add_row(claim["key"], row["setting"], f"{row['factor']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
    return table
