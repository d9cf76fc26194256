"""Where does more drafting turn harmful as the load grows?

Speculative decoding of Llama 3 8B on an A100 with 128 seats, as its profile has it; a draft token takes a twentieth of
a step and is accepted with probability .6. Mean response times with drafts of fixed lengths, and with rules that look
at the load, over that without drafts on the same requests; drafts on the same replica, and in a tandem on one of their
own. Beside them, the batch from which on theory says that a length is harmful, and the mean batch that was seen. Writes
`where_more_drafting_turns_harmful.json`, `.svg` and `.png` into `results`; about half a minute on one core.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from study import study

from llmqueue_gym.evaluation import Scenario, across_seeds
from llmqueue_gym.theory.speculation import BatchedSpeculation

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "where_more_drafting_turns_harmful"
LOADS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
LENGTHS = (1, 3, 5, 8)
RULES = (*(f"fixed:g={g}" for g in LENGTHS), "by-load", "per-request")
CHANCE = 0.6
TOLD = {"target": "a100-llama3-8b", "seats": 128, "acceptance": f"constant:a={CHANCE}", "draft": 0.05}
TOLD |= {"size": "exponential:mean=64"}
FIRST_SEED = 300
COLOURS = ("#c7dcef", "#86b6dd", "#3f86c0", "#154b7f", "#d1495b", "#e9a03b")


def tasks(options: argparse.Namespace) -> list[Any]:
    """Return the cells."""
    return [(load, options.jobs, options.seeds) for load in LOADS]


def play(task: tuple[float, int, int]) -> dict[str, Any]:
    """Return what came of each rule at a load."""
    load, jobs, seeds = task
    one = Scenario("speculative", load=load, n_jobs=jobs, **TOLD)
    two = Scenario("speculative", load=load, n_jobs=jobs, tandem=True, **TOLD)
    plain, rows = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        plain.append(one.simulate("no-drafts", seed).after_warmup())
    for scenario in (one, two):
        for rule in RULES:
            runs = [scenario.simulate(rule, FIRST_SEED + k).after_warmup() for k in range(seeds)]
            ratios = [a.response_times.mean() / b.response_times.mean() for a, b in zip(runs, plain, strict=True)]
            found = across_seeds(ratios)
            batch = np.mean([run.totals["verified"] / run.totals["steps"] for run in runs])
            drafts = np.mean([run.totals["drafted"] / run.totals["verified"] for run in runs])
            told = {"rule": rule, "tandem": scenario.system.tandem, "ratio": found.mean}
            rows.append({**told, "ci95": [found.low, found.high], "mean_batch": batch, "mean_draft": drafts})
    means = across_seeds([run.response_times.mean() for run in plain])
    batch = float(np.mean([run.totals["verified"] / run.totals["steps"] for run in plain]))
    without = {"mean_response_time": means.mean, "ci95": [means.low, means.high], "mean_batch": batch}
    return {"load": load, "without": without, "rows": rows}


def tell(played: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the cells, where each length crosses over, and the batch from which theory has it harmful."""
    times = Scenario("speculative", **TOLD).system.times
    spec = BatchedSpeculation(times.verify, times.draft, CHANCE)
    crossings = [
        {"rule": rule, "tandem": tandem, "load": crossing([_row(cell, rule, tandem)["ratio"] for cell in played])}
        for tandem in (False, True)
        for rule in RULES
    ]
    harmful = {str(g): spec.harmful_from(g) for g in LENGTHS}
    return {
        **TOLD,
        "cells": played,
        "harmful_from_batch": harmful,
        "harmful_from_load": crossings,
        "jobs": options.jobs,
    }


def crossing(ratios: list[float]) -> float | None:
    """Return the load at which a ratio comes to one for good, on straight lines between loads; None where it does not.

    It is the least load looked at where the ratio is above one throughout.
    """
    below = [k for k, ratio in enumerate(ratios) if ratio <= 1]
    if not below:
        return LOADS[0]
    k = below[-1]
    if k == len(ratios) - 1:
        return None
    return float(LOADS[k] + (LOADS[k + 1] - LOADS[k]) * (1 - ratios[k]) / (ratios[k + 1] - ratios[k]))


def _row(cell: dict[str, Any], rule: str, tandem: bool) -> dict[str, Any]:
    return next(row for row in cell["rows"] if (row["rule"], row["tandem"]) == (rule, tandem))


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the two panels: the ratio by the load."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained", sharey=True)
        for panel, tandem in zip(panels, (False, True), strict=True):
            for rule, colour in zip(RULES, COLOURS, strict=True):
                rows = [_row(cell, rule, tandem) for cell in found["cells"]]
                low, high = np.array([row["ci95"] for row in rows]).T
                name = rule.replace("fixed:g=", "drafts of ")
                panel.plot(LOADS, [row["ratio"] for row in rows], color=colour, marker="o", markersize=3, label=name)
                panel.fill_between(LOADS, low, high, color=colour, alpha=0.25, linewidth=0)
            panel.axhline(1, color="#444444", linewidth=0.8)
            panel.set_yscale("log")
            panel.set_ylim(0.3, 10)
            panel.set_yticks([0.3, 0.5, 1, 2, 5, 10], ["0.3", "0.5", "1", "2", "5", "10"])
            panel.minorticks_off()
            panel.set_xlabel("load, of what full batches without drafts give")
            words = "on a replica of their own" if tandem else "on the same replica"
            panel.set_title(f"drafts {words}", loc="left", fontsize=10)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("mean response time over that without drafts")
        panels[1].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the ratios, and where they cross one."""
    for tandem in (False, True):
        table = Table(title=f"mean response time over that without drafts; tandem: {tandem}")
        table.add_column("load")
        for rule in RULES:
            table.add_column(rule, justify="right")
        for cell in found["cells"]:
            rows = [_row(cell, rule, tandem) for rule in RULES]
            words = [f"{row['ratio']:.2f} ({row['ci95'][0]:.2f}-{row['ci95'][1]:.2f})" for row in rows]
            table.add_row(f"{cell['load']:g}", *words)
        loads = [one["load"] for one in found["harmful_from_load"] if one["tandem"] == tandem]
        table.add_row("harmful from", *("-" if load is None else f"{load:.2f}" for load in loads))
        console.print(table)
    console.print(f"harmful from a batch of, by theory: {found['harmful_from_batch']}")


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    study(
        __doc__ or "", OUT, tasks, play, tell, draw, report, first_seed=FIRST_SEED, jobs=10_000, seeds=5,
        arguments=arguments, width=160,
    )  # fmt: skip


if __name__ == "__main__":
    main()
