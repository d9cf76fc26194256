"""Many queues and two choices: should an arrival go by number of jobs or by predicted work, and who is served first?

n queues with a server each, Poisson arrivals; each arrival looks at two of them. It joins the one with fewer jobs, or
with less predicted work (the sum of predicted sizes), or with less predicted work left. Inside a queue jobs are served
first come first served, or by predicted size without or with preemption, or by predicted remaining size. Predictions
are exact, log-normal around the truth at three levels, or exponential with the truth as their mean. The base is what
needs no prediction: fewer jobs, first come first served.

Mitzenmacher and Dell'Amico (arXiv 1905.12155) find that going by number and serving by predicted remaining size is
often the best mix, and that going by predicted work loses where errors are large. A mix is called the best if no other
has a smaller mean, clearly so if the interval of its ratio to each other mix lies below 1, without correction for so
many comparisons. Intervals are Student's t over seeds on the logarithms of ratios under common random numbers; the
first quarter of the jobs is left out. Writes `supermarket_with_predictions.json`, `.svg` and `.png` into `results`;
some minutes.
"""

from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "supermarket_with_predictions"
CHOICES = {
    "power-of-d": "fewer jobs",
    "least-work": "less predicted work",
    "least-work-left": "less predicted work left",
}
ORDERS = {"fcfs": "FCFS", "spjf": "SPJF", "pspjf": "PSPJF", "sprpt": "SPRPT"}
SIZES = {"exponential": "exponential sizes", "weibull:shape=0.5": "Weibull sizes, shape ½"}
ERRORS = {
    "exact": "exact",
    "lognormal:sigma=0.5": "sigma ½",
    "lognormal:sigma=1.0": "sigma 1",
    "lognormal:sigma=2.0": "sigma 2",
    "exponential": "exp.",
}
QUEUES, LOADS, SHOWN = 1000, (0.7, 0.9, 0.95), 0.9
GROWTH, GROWTH_ERROR = (10, 100, 1000), "lognormal:sigma=1.0"
BASE = ("power-of-d", "fcfs")
MIXES = tuple(product(CHOICES, ORDERS))
JOBS, SEEDS, WARMUP = 400_000, 6, 0.25
COLOURS = {"power-of-d": "#d55e00", "least-work": "#56b4e9", "least-work-left": "#0072b2"}


def play(job: tuple[str, float, str, int, int, int]) -> dict[str, Any]:
    """Return what every mix does with a size law, a load, a prediction error and so many queues."""
    size, load, error, queues, n, seeds = job
    told = {"size": size, "predictor": error, "load": load}
    places = {order: Scenario("dispatch", servers=queues, order=order, n_jobs=n, **told) for order in ORDERS}
    means: dict[tuple[str, str], list[float]] = {mix: [] for mix in MIXES}
    for seed in range(seeds):
        for choice, order in MIXES:
            run = places[order].simulate(choice, seed)  # each rule looks at the same two queues
            means[choice, order].append(float(run.after_warmup(WARMUP).response_times.mean()))
    rows = [
        {"choice": mix[0], "order": mix[1], "mean_response_time": _mean(values), "of_base": ratio(values, means[BASE])}
        for mix, values in means.items()
    ]
    by_work = {c: ratio(means[c, "sprpt"], means["power-of-d", "sprpt"]) for c in ("least-work", "least-work-left")}
    told = {"size": size, "load": load, "error": error, "queues": queues}
    return {**told, "mixes": rows, "best": best(means), "by_work_over_by_number_under_sprpt": by_work}


def _mean(values: list[float]) -> dict[str, float]:
    mean, low, high, *_ = across_seeds(values)
    return {"mean": mean, "low": low, "high": high}


def ratio(values: list[float], base: list[float]) -> dict[str, float]:
    """Return the ratio of two rows of means, a seed each, with its 95 % interval."""
    mean, low, high, *_ = across_seeds(np.log(np.divide(values, base)))
    return {"ratio": float(np.exp(mean)), "low": float(np.exp(low)), "high": float(np.exp(high))}


def best(means: dict[tuple[str, str], list[float]]) -> dict[str, Any]:
    """Return the mix of least mean, and those that cannot be told from it."""
    first = min(means, key=lambda mix: float(np.log(means[mix]).mean()))
    ties = [mix for mix in means if mix != first and not ratio(means[first], means[mix])["high"] < 1]
    return {"mix": first, "clear": not ties, "ties": ties}


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """Say which mix is best where, and what going by work costs, in the cells of many queues."""
    words = []
    for size, load in product(SIZES, LOADS):
        mine = [cell for cell in cells if (cell["size"], cell["load"]) == (size, load)]
        mixes = "; ".join(f"{ERRORS[cell['error']]}: {_best(cell)}" for cell in mine)
        words.append(f"{SIZES[size]}, load {load:g}, best mix and its mean over that of the base: {mixes}.")
        costs = ", ".join(f"{ERRORS[cell['error']]} {_told(cell)}" for cell in mine)
        words.append(f"  going by predicted work left over going by number, both SPRPT: {costs}.")
    wrong = [cell for cell in cells if cell["error"] != "exact"]
    number = [cell["best"]["mix"][1] for cell in wrong if cell["best"]["mix"][0] == "power-of-d"]
    exact = sum(tuple(cell["best"]["mix"]) == ("least-work-left", "sprpt") for cell in cells if cell not in wrong)
    costs = [cell["by_work_over_by_number_under_sprpt"]["least-work-left"]["ratio"] for cell in wrong]
    words.append(
        f"With errors, going by number is in the best mix of {len(number)} of {len(wrong)} cells, of these with SPRPT "
        f"{number.count('sprpt')} times and with PSPJF {number.count('pspjf')} times; going by predicted work left "
        f"changes the mean under SPRPT by {min(costs) - 1:+.0%} to {max(costs) - 1:+.0%}. Without errors, less work "
        f"left with SPRPT is the best mix of {exact} of {len(cells) - len(wrong)} cells."
    )
    return words


def _best(cell: dict[str, Any]) -> str:
    choice, order = cell["best"]["mix"]
    row = next(row for row in cell["mixes"] if (row["choice"], row["order"]) == (choice, order))
    doubt = "" if cell["best"]["clear"] else ", not told from " + ", ".join(_name(mix) for mix in cell["best"]["ties"])
    return f"{_name((choice, order))} {row['of_base']['ratio']:.3f}{doubt}"


def _name(mix: tuple[str, str]) -> str:
    return f"{CHOICES[mix[0]]} with {ORDERS[mix[1]]}"


def _told(cell: dict[str, Any]) -> str:
    found = cell["by_work_over_by_number_under_sprpt"]["least-work-left"]
    return f"{found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a row for each size law, a column for each order of service, errors to the right."""
    cells = found["cells"]
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(len(SIZES), len(ORDERS), figsize=(12.0, 6.2), sharex=True, sharey="row")
        for row, size in zip(panels, SIZES, strict=True):
            mine = [cell for cell in cells if (cell["size"], cell["load"]) == (size, SHOWN)]
            for panel, order in zip(row, ORDERS, strict=True):
                _draw_panel(panel, mine, order)
                panel.set_title(f"{ORDERS[order]}, {SIZES[size]}", loc="left", fontsize=9.5)
            low, high = row[0].get_ylim()
            ticks = [t for t in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 3) if low <= t <= high]
            row[0].set_yticks(ticks, [f"{t:g}" for t in ticks])
            row[0].set_ylabel("mean response / that of base")
        for panel in panels[-1]:
            panel.set_xlabel("error: sigma of log-normal, or exponential")
        handles = [plt.Line2D([], [], color=COLOURS[c], marker="o", ms=3.5, lw=1.4) for c in CHOICES]
        handles.append(plt.Line2D([], [], color="0.6", lw=0.9, ls=(0, (4, 3))))
        names = [*(f"join the queue with {name}" for name in CHOICES.values()), "base: fewer jobs, FCFS"]
        figure.legend(handles, names, ncols=4, loc="upper left", bbox_to_anchor=(0.045, 0.955), frameon=False)
        title = f"Two choices of {QUEUES} queues, load {SHOWN:g}: errors of the predictions to the right"
        figure.suptitle(f"{title}; bars: 95 % intervals", x=0.05, ha="left")
        figure.tight_layout(rect=(0, 0, 1, 0.96), w_pad=1.2)
    return figure


def _draw_panel(panel: plt.Axes, cells: list[dict[str, Any]], order: str) -> None:
    panel.axhline(1.0, color="0.6", lw=0.9, ls=(0, (4, 3)), zorder=1)
    split = len(cells) - 1  # the last error is of another family, so no line leads to it
    for k, choice in enumerate(CHOICES):
        wanted = {"choice": choice, "order": order}
        found = [next(row for row in cell["mixes"] if wanted.items() <= row.items())["of_base"] for cell in cells]
        y, low, high = (np.array([one[key] for one in found]) for key in ("ratio", "low", "high"))
        x = np.arange(len(cells)) + 0.09 * (k - 1)  # side by side, so that they can be told apart
        x[split] += 0.3
        for part in (slice(0, split), slice(split, None)):
            bars = [(y - low)[part], (high - y)[part]]
            panel.errorbar(
                x[part], y[part], bars, color=COLOURS[choice], marker="o", ms=3.5, lw=1.4, elinewidth=0.9, capsize=2
            )
    panel.set_yscale("log")
    panel.minorticks_off()
    panel.set_xticks([*range(split), split + 0.3], [ERRORS[cell["error"]].removeprefix("sigma ") for cell in cells])
    panel.spines[["top", "right"]].set_visible(False)


def report(found: dict[str, Any], console: Console) -> None:
    """Print the means and the findings."""
    for size in SIZES:
        cells = [cell for cell in found["cells"] if (cell["size"], cell["load"]) == (size, SHOWN)]
        title = f"{SIZES[size]}, load {SHOWN:g}: mean response time over that of the base"
        _print(console, title, [(ERRORS[cell["error"]], cell) for cell in cells])
        cells = [cell for cell in found["growth"] if cell["size"] == size]
        title = f"{SIZES[size]}, load {SHOWN:g}, {ERRORS[GROWTH_ERROR]}, by number of queues"
        _print(console, title, [(f"n = {cell['queues']}", cell) for cell in cells])
    for sentence in found["finding"]:
        console.print(sentence)


def _print(console: Console, title: str, cells: list[tuple[str, dict[str, Any]]]) -> None:
    table = Table("mix", *(name for name, _ in cells), title=title, title_justify="left")
    for k, mix in enumerate(MIXES):
        told = [cell["mixes"][k]["of_base"] for _, cell in cells]
        table.add_row(_name(mix), *(f"{one['ratio']:.3f} ±{(one['high'] - one['low']) / 2:.3f}" for one in told))
    console.print(table)


def tasks(options: Any) -> list[Any]:
    """Return the cells to be played: by load and error, and by the number of queues."""
    much = (options.jobs, options.seeds)
    cells = [(size, load, error, QUEUES, *much) for size, load, error in product(SIZES, LOADS, ERRORS)]
    return cells + [(size, SHOWN, GROWTH_ERROR, queues, *much) for size, queues in product(SIZES, GROWTH)]


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    grown = len(SIZES) * len(GROWTH)
    cells, growth = played[:-grown], played[-grown:]
    told = {"queues": QUEUES, "d": 2, "base": BASE, "jobs": options.jobs}
    return {**told, "cells": cells, "growth": growth, "finding": findings(cells)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    study(__doc__, OUT, tasks, play, tell, draw, report, width=150, arguments=arguments, jobs=JOBS, seeds=SEEDS)


if __name__ == "__main__":
    main()
