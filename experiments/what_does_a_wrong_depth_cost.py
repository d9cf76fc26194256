"""What does a wrong depth cost? It is predicted beforehand at how many tokens of thought a program settles.

A chain of thought, probed every 64 tokens (`workloads.programs.reasoning` with its defaults), on one replica,
a100-llama3-8b under vllm-v1 with vLLM's cache and 32 seats. Predicted depths have a log-normal error whose deviation is
exponential over programs with the mean that is the axis; the prediction's confidence tells how large it is.

Above, where the depth is a budget: a thought is stopped at 1, 1.5 and 2 times its predicted depth, or so only if the
prediction is within a factor of 2 with probability .8 at least. Accuracy and mean time, at .8 of what the replica
completes of a backlog if nobody stops. Below, where it is an order: thoughts stop when 8 probes agree (Dynasor's mild
effort), and calls go by the fewest tokens of thought that are predicted to be left; who overruns goes behind, or, to
the letter, before all others, or behind only 640 tokens later, as 8 probes take that long to agree. There are 8 seats.
Mean time over that of program by program in order of arrival, on the same programs, at .8 and 1 of what is completed of
a backlog so; beside it the order by least attained service, which predicts nothing.
95 % intervals are Student's t over seeds, paired, of logarithms where they are of ratios.

Writes `what_does_a_wrong_depth_cost.json`, `.svg` and `.png` into `results`; a few minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from reasoning_programs import SEATS, measured, reasoning, sustained
from rich.console import Console
from rich.table import Table
from survey_factors_llm import interval

from llmqueue_gym.evaluation import across_seeds

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "what_does_a_wrong_depth_cost"
PROGRAMS, SEEDS, FIRST_SEED = 100, 5, 600
ERRORS = (0.0, 0.5, 1.0, 2.0)
LAW, NEVER, STOPS, IN_TURN = "reasoning", "never", "dynasor:effort=mild", "program-fcfs"
BUDGETS = {
    "predicted-budget:slack=1": "the predicted depth",
    "predicted-budget:slack=1.5": "1.5 times it",
    "predicted-budget:slack=2": "2 times it",
    "predicted-budget:slack=1.5,confidence=0.8": "1.5 times it, if it is trusted",
}
ORDERS = {
    "thought-srpt": "fewest tokens of thought left, overruns behind",
    "thought-srpt:spare=640": "the same, behind 640 tokens later",
    "thought-srpt:overrun=first": "the same, overruns first",
    "plas-like": "least attained service, without predictions",
}
BUDGET_LOAD, ORDER_LOADS, ORDER_SEATS = 0.8, (0.8, 1.0), 8
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def tasks(options: Any) -> list[Any]:
    """Return the cells."""
    tops = {
        rule: sustained(LAW, rule, options.programs, FIRST_SEED - 1, seats)
        for rule, seats in ((NEVER, SEATS), (STOPS, ORDER_SEATS))
    }
    told = options.programs, options.seeds
    budgets = [("budget", BUDGET_LOAD, BUDGET_LOAD * tops[NEVER], error, *told) for error in ERRORS]
    return budgets + [("order", load, load * tops[STOPS], error, *told) for load in ORDER_LOADS for error in ERRORS]


def play(task: tuple[str, float, float, float, int, int]) -> dict[str, Any]:
    """Return what all rules, or all orders, give at a load with an error of the depths."""
    kind, load, rate, error, programs, seeds = task
    foresight = f"foresight:depth={error}"
    if kind == "budget":
        sides = {rule: (rule, IN_TURN) for rule in (NEVER, *BUDGETS)}
    else:
        sides = {order: (STOPS, order) for order in (IN_TURN, *ORDERS)}
    rows = {}
    for name, (rule, order) in sides.items():
        where = reasoning(LAW, rule, programs, rate, foresight, SEATS if kind == "budget" else ORDER_SEATS)
        rows[name] = [measured(where.simulate(order, seed)) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
    return {"kind": kind, "load": load, "rate": rate, "error": error, "rows": rows}


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the cells with their intervals."""
    for cell in played:
        base, cell["told"] = cell["rows"][NEVER if cell["kind"] == "budget" else IN_TURN], {}
        for name, runs in cell["rows"].items():
            right, time = ([run[key] for run in runs] for key in ("accuracy", "time"))
            cell["told"][name] = {
                "accuracy": [float(x) for x in across_seeds(right)[:3]],
                "loss": [float(x) for x in across_seeds(np.subtract([one["accuracy"] for one in base], right))[:3]],
                "share_of_time": list(interval(np.divide(time, [one["time"] for one in base]).tolist())),
            }
    told = {"programs": options.programs, "law": LAW, "stops": STOPS, "cells": played}
    return {**told, "finding": findings(played)}


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """Say what errors cost a budget, and an order."""
    words = []
    for cell in cells:
        for name in BUDGETS if cell["kind"] == "budget" else ORDERS:
            told, head = cell["told"][name], f"Error {cell['error']:g}, load {cell['load']:g}, {name}"
            time = "{:.2f} ({:.2f} to {:.2f}) of the time".format(*told["share_of_time"])
            loss = " and {:.3f} ({:.3f} to {:.3f}) less accuracy".format(*told["loss"])
            words.append(f"{head}: {time}{loss if cell['kind'] == 'budget' else ''}.")
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: above budgets, below orders."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(10, 6.6), layout="constrained", sharex=True)
        budgets = [cell for cell in found["cells"] if cell["kind"] == "budget"]
        for (name, label), colour in zip(BUDGETS.items(), COLOURS, strict=True):
            _band(panels[0, 0], budgets, name, "accuracy", colour, label)
            _band(panels[0, 1], budgets, name, "share_of_time", colour, label)
        _band(panels[0, 0], budgets, NEVER, "accuracy", "k", "never stopped")
        panels[0, 0].set_title(f"the depth is a budget, load {BUDGET_LOAD:g}", loc="left", fontsize=10)
        panels[0, 0].set_ylabel("share of programs that are right")
        panels[0, 1].set_ylabel("mean time over that of who never stops")
        panels[0, 0].legend(frameon=False, fontsize=8)
        for panel, load in zip(panels[1], ORDER_LOADS, strict=True):
            cells = [cell for cell in found["cells"] if (cell["kind"], cell["load"]) == ("order", load)]
            for (name, label), colour in zip(ORDERS.items(), COLOURS, strict=False):
                _band(panel, cells, name, "share_of_time", colour, label)
            panel.axhline(1, color="0.6", lw=0.8)
            panel.set_title(f"the depth is an order, load {load:g}", loc="left", fontsize=10)
            panel.set_ylabel("mean time over that in order of arrival")
            panel.set_xlabel("mean deviation of the logarithm of predicted depths")
        panels[1, 0].legend(frameon=False, fontsize=8)
        for panel in panels.flat:
            panel.spines[["top", "right"]].set_visible(False)
        figure.suptitle("What does a wrong depth cost?", x=0.01, ha="left", fontsize=10.5)
    return figure


def _band(panel: Any, cells: list[dict[str, Any]], name: str, key: str, colour: str, label: str) -> None:
    mean, low, high = np.array([cell["told"][name][key] for cell in cells], float).T
    errors = [cell["error"] for cell in cells]
    panel.plot(errors, mean, color=colour, marker="o", ms=3, label=label)
    panel.fill_between(errors, low, high, color=colour, alpha=0.18, linewidth=0)


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each cell and rule."""
    table = Table("depth as", "load", "error", "rule", "share of time", "accuracy")
    for cell in found["cells"]:
        for name, told in cell["told"].items():
            spans = ["{:.3g} ({:.3g} to {:.3g})".format(*told[key]) for key in ("share_of_time", "accuracy")]
            table.add_row(cell["kind"], f"{cell['load']:g}", f"{cell['error']:g}", name, *spans)
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "programs", "programs": PROGRAMS, "seeds": SEEDS, "width": 150, "first_seed": FIRST_SEED}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
