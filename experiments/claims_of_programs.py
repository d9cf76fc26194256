"""Which claims on tools, drafts and reasoning does this simulator give: LAMPS, InferCept, Parrot, drafts, Dynasor?

A factor is the better system's number over the other's on the very same programs; its 95 % interval is Student's t on
the logarithms over seeds. The word is that of the rule in `survey_headlines_llm.py`, which is older than any of these
runs: reproduced, where an interval above 1 meets the claim, or the loads of one set-up pass through it; same direction,
smaller or larger; not reproduced. Set-ups, and what they lack, are in `program_claims.py`; nothing is tuned to a claim.
Where accuracy is to be kept, the level of a rule is chosen on seeds of its own.

What was changed after a first run: programs of tools are away for most of a minute, so that 260 of them ended before
any queue was there; their runs are four times as long now, with 1,040. Parrot got routing by outstanding requests, as
routing by prefixes sent all of an application to one replica, at .14 to .82 of the other's speed.

The survey names no number for Continuum, ThunderAgent and Autellix, whose rows claim nothing here. What Rebase and
RouteLLM claim is of answers, not of queues: RouteLLM's is counted on its own answers elsewhere.

Writes `claims_of_programs.json`, `.svg` and `.png` into `results`; some minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import NullLocator
from program_claims import CLAIMS
from rich.console import Console
from rich.table import Table
from survey_headlines_llm import settle, span

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "claims_of_programs"
CALLS, SEEDS = 1600, 3
WORDS = {"reproduced": "#009e73", "same": "#e69f00", "not": "#d55e00"}
TICKS = (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20)


def play(task: tuple[int, int, int]) -> dict[str, Any]:
    """Settle a claim."""
    row, calls, seeds = task
    return settle(CLAIMS[row], calls, seeds)


def findings(claims: list[dict[str, Any]]) -> list[str]:
    """Say of each claim what came out, and the word."""
    words = []
    for claim in claims:
        for_all = "" if claim["with_overload"] == claim["verdict"] else f"; overload included, {claim['with_overload']}"
        words.append(f"{claim['words']}: {claim['verdict']}{for_all}; here {span(claim['rows'])}.")
    return words


def tasks(options: Any) -> list[Any]:
    """Return the claims."""
    return [(k, options.calls, options.seeds) for k in range(len(CLAIMS))]


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    return {"calls": options.calls, "claims": played, "finding": findings(played)}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a row for each set-up, what is claimed in grey."""
    style = {"font.family": "sans-serif", "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        sizes = [len(claim["rows"]) + 1.2 for claim in found["claims"]]
        told: dict[str, Any] = {"layout": "constrained", "sharex": True, "height_ratios": sizes}
        figure, panels = plt.subplots(len(sizes), 1, figsize=(9, 0.2 * sum(sizes) + 1.4), **told)
        for panel, claim in zip(panels, found["claims"], strict=True):
            colour = WORDS.get(claim["verdict"].split()[0], "0.4")
            colour = "0.4" if claim["verdict"] == "not a claim" else colour
            for place, row in enumerate(claim["rows"]):
                if row["factor"] is None or not np.isfinite(row["factor"]):
                    panel.annotate("no number", (1.0, place), va="center", color="0.5")
                    continue
                bars = [[row["factor"] - row["low"]], [row["high"] - row["factor"]]]
                panel.errorbar(row["factor"], place, xerr=bars, color=colour, marker="o", ms=4, lw=1.2)
            if claim["claimed"] is not None:
                low, high = claim["claimed"]
                panel.axvspan(low / 1.01, high * 1.01, color="0.85", lw=0, zorder=0)
            panel.axvline(1, color="0.7", lw=0.8, ls=(0, (3, 3)), zorder=0)
            panel.set_yticks(range(len(claim["rows"])), [row["setting"] for row in claim["rows"]], fontsize=7.5)
            panel.set_ylim(len(claim["rows"]) - 0.4, -0.6)
            panel.set_title(f"{claim['words']}: {claim['verdict']}", loc="left", fontsize=8.5)
            panel.spines[["top", "right"]].set_visible(False)
        panels[-1].set_xscale("log")
        panels[-1].set_xlim(0.5, 30)
        panels[-1].set_xticks(TICKS[1:], [f"{tick:g}" for tick in TICKS[1:]])
        panels[-1].xaxis.set_minor_locator(NullLocator())
        panels[-1].set_xlabel("factor, 95 % interval; grey: what is claimed")
        figure.suptitle("Claims on tools, drafts and reasoning", x=0.01, ha="left", fontsize=10.5)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each set-up, and the findings."""
    table = Table("claim", "set-up", "factor")
    for claim in found["claims"]:
        for row in claim["rows"]:
            table.add_row(claim["key"], row["setting"], f"{row['factor']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Settle, store, draw and print."""
    usual = {"work": "calls", "calls": CALLS, "seeds": SEEDS, "width": 150}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
