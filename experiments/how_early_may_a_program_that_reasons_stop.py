"""How early may a program that reasons stop? Accuracy against time in system, rule by rule and load by load.

Two ways of reasoning, on one replica, a100-llama3-8b under vllm-v1 with vLLM's cache and 32 seats. Self-consistency: 16
branches answer a question, and what most of them say counts. Rules: fewer branches from the start, a majority that
cannot be overtaken, a posterior above a level, certaindex above a threshold, branches that are predicted (AUC .8) to be
right with a mean probability. A chain of thought, probed every 64 tokens: Dynasor's efforts but for the one that probes
every 32, more probes that agree, and budgets of some times the predicted depth, whose error has a mean deviation of .5
of its logarithm. Laws are those of `workloads.programs` with their defaults, whose numbers are round: what is said is
about the rules, not about a model.

Loads are shares of what the replica completes of a backlog if nobody stops early. Programs go in order of arrival. The
front of a family of rules is what its levels give; its hypervolume is the area that it dominates in the plane of mean
time and accuracy. The reference point is the mean time of who never stops, at that load and seed, and accuracy 0; areas
are divided by that time, so they are the mean, over all times up to it, of the best accuracy that the family gives
within it. 95 % intervals are Student's t over seeds; those in the figure are of what is lost to who never stops.

Writes `how_early_may_a_program_that_reasons_stop.json`, `.svg` and `.png` into `results`; a few minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from reasoning_programs import hypervolume, measured, reasoning, sustained
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import across_seeds

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "how_early_may_a_program_that_reasons_stop"
PROGRAMS, SEEDS, FIRST_SEED = 100, 6, 500
LOADS = (0.5, 0.9)
NEVER, BRANCHES, THOUGHT = "never", "self-consistency:n=16", "reasoning"
FORESIGHT, ALL = "foresight:depth=0.5", "all of them"
RULES: dict[str, dict[str, list[tuple[str, str]]]] = {  # way of reasoning -> family -> law and rule of each level
    BRANCHES: {
        "fewer branches": [(f"self-consistency:n={n}", NEVER) for n in (1, 2, 4, 8)],
        "majority": [(BRANCHES, "majority")],
        "posterior": [(BRANCHES, f"posterior:level={level},least=2") for level in (0.7, 0.8, 0.9, 0.95, 0.99)],
        "certaindex": [(BRANCHES, f"certaindex:threshold={level}") for level in (0.3, 0.5, 0.7, 0.9)],
        "mean-score": [(BRANCHES, f"mean-score:threshold={level},least=2") for level in (0.5, 0.7, 0.9)],
    },
    THOUGHT: {
        "Dynasor's efforts": [(THOUGHT, f"dynasor:effort={name}") for name in ("high", "mid", "low", "mild")],
        "more probes agree": [(THOUGHT, f"probes-agree:k={k}") for k in (12, 18, 24)],
        "predicted-budget": [(THOUGHT, f"predicted-budget:slack={slack}") for slack in (0.5, 1.0, 1.5, 2.0, 3.0)],
    },
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")


def tasks(options: Any) -> list[Any]:
    """Return the cells."""
    found = []
    for law, families in RULES.items():
        top = sustained(law, NEVER, options.programs, FIRST_SEED - 1)
        rules = [(law, NEVER), *(level for levels in families.values() for level in levels)]
        found += [(law, load, load * top, *rule, options.programs, options.seeds) for load in LOADS for rule in rules]
    return found


def play(task: tuple[str, float, float, str, str, int, int]) -> dict[str, Any]:
    """Return what a rule gives at a load, seed by seed."""
    way, load, rate, law, rule, programs, seeds = task
    runs = [
        measured(reasoning(law, rule, programs, rate, FORESIGHT).simulate("program-fcfs", seed))
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
    ]
    told = {"way": way, "load": load, "rate": rate, "law": law, "rule": rule}
    return {**told, **{name: [run[name] for run in runs] for name in runs[0]}}


def spread(values: Any) -> list[float]:
    """Return mean and 95 % interval over seeds."""
    return [float(x) for x in across_seeds(values)[:3]]


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the cells, and the hypervolume of each family."""
    volumes = []
    for way, families in RULES.items():
        for load in LOADS:
            cells = {(one["law"], one["rule"]): one for one in played if (one["way"], one["load"]) == (way, load)}
            base = cells[way, NEVER]
            everything = [level for levels in families.values() for level in levels]
            for family, levels in {**families, ALL: everything}.items():
                areas = [
                    hypervolume([(cells[one]["time"][k], cells[one]["accuracy"][k]) for one in levels], most)
                    for k, most in enumerate(base["time"])
                ]
                volumes.append({"way": way, "load": load, "family": family, "hypervolume": spread(areas)})
            for one in cells.values():
                for name in ("time", "accuracy", "tokens"):
                    one[f"{name}_ci95"] = spread(one[name])
                one["loss"] = spread(np.subtract(base["accuracy"], one["accuracy"]))
                one["share_of_time"] = spread(np.divide(one["time"], base["time"]))
    told = {"programs": options.programs, "foresight": FORESIGHT, "cells": played, "volumes": volumes}
    return {**told, "finding": findings(played, volumes)}


def findings(cells: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> list[str]:
    """Say which family dominates most, and what is saved where at most 2 points of accuracy are lost."""
    words = []
    for way in RULES:
        for load in LOADS:
            mine = [
                one for one in volumes if (one["way"], one["load"]) == (way, load) and one["family"] != "all of them"
            ]
            told = ", ".join("{} {:.3f} ({:.3f} to {:.3f})".format(one["family"], *one["hypervolume"]) for one in mine)
            words.append(f"{way}, load {load:g}, hypervolume: {told}.")
        for load in LOADS:
            some = [one for one in cells if (one["way"], one["load"]) == (way, load) and one["rule"] != NEVER]
            good = [one for one in some if one["loss"][0] <= 0.02]
            if good:
                best = min(good, key=lambda one: one["share_of_time"][0])
                words.append(
                    "{}, load {:g}: of the rules that lose at most 2 points {} is fastest: {:.2f} ({:.2f} to {:.2f}) "
                    "of the time, accuracy {:.3f}, loss {:.3f} ({:.3f} to {:.3f}).".format(
                        way, load, best["rule"], *best["share_of_time"], best["accuracy_ci95"][0], *best["loss"]
                    )
                )
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a row for each way of reasoning, a column for each load."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(9, 6.6), layout="constrained", sharey="row")
        for row, (way, families) in zip(panels, RULES.items(), strict=True):
            for panel, load in zip(row, LOADS, strict=True):
                cells = {
                    (one["law"], one["rule"]): one for one in found["cells"] if (one["way"], one["load"]) == (way, load)
                }
                base = cells[way, NEVER]
                panel.plot(base["time_ci95"][0], base["accuracy_ci95"][0], "k*", ms=10, label="never stopped")
                for (family, levels), colour in zip(families.items(), COLOURS, strict=False):
                    points = [cells[one] for one in levels]
                    x, y = ([one[name][0] for one in points] for name in ("time_ci95", "accuracy_ci95"))
                    ends = [one["loss"] for one in points]
                    bars = np.abs([[end[k] - end[0] for end in ends] for k in (2, 1)])
                    panel.errorbar(x, y, bars, color=colour, marker="o", ms=4, lw=1.2, elinewidth=0.6, label=family)
                panel.set_title(f"{way.partition(':')[0]}, load {load:g}", loc="left", fontsize=10)
                panel.set_xlabel("mean time of a program, s")
                panel.set_xlim(0, 1.08 * base["time_ci95"][0])
                panel.spines[["top", "right"]].set_visible(False)
            row[0].set_ylabel("share of programs whose answer is right")
            row[0].legend(frameon=False, fontsize=8, loc="lower right")
        figure.suptitle(
            "How early may a program that reasons stop? Bars: of the accuracy that is lost",
            x=0.01,
            ha="left",
            fontsize=10.5,
        )
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the cells and the findings."""
    table = Table("reasoning", "load", "law", "rule", "time, s", "accuracy", "tokens", "loss")
    for one in found["cells"]:
        spans = ["{:.3g} ({:.3g} to {:.3g})".format(*one[f"{name}_ci95"]) for name in ("time", "accuracy", "tokens")]
        loss = "{:.3f} ({:.3f} to {:.3f})".format(*one["loss"])
        table.add_row(one["way"], f"{one['load']:g}", one["law"], one["rule"], *spans, loss)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "programs", "programs": PROGRAMS, "seeds": SEEDS, "width": 170, "first_seed": FIRST_SEED}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
