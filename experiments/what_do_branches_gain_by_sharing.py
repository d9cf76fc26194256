"""What do the branches of one program gain by sharing keys and values?

Programs whose calls begin alike, on one replica, a100-llama3-8b under vllm-v1: 4, 16 and 64 branches that answer one
question of 1,000 tokens on average (self-consistency), chains of thought that are probed, and plans whose workers go
on from the planner's context. Programs come all at once and go one after another; seen is how many end in a s, over the
middle half of them, without a cache, with vLLM's, and with a radix tree, where memory holds all that runs (400,000
tokens) and where it is tight (20,000). Factors are over no cache on the same programs, 95 % intervals over seeds by
logarithms. A cache has what all programs share, too, such as an instruction of 500 tokens: once more without one.
Nobody reads a shared context once for a whole batch.

Writes `what_do_branches_gain_by_sharing.json`, `.svg` and `.png` into `results`; about a minute.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from reasoning_programs import programs_of
from rich.console import Console
from rich.table import Table
from survey_factors_llm import interval

from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.programs import ProgramFleet

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "what_do_branches_gain_by_sharing"
CALLS, SEEDS, FIRST_SEED = 1600, 3, 800
MEMORIES = {400_000: "plenty", 20_000: "tight"}
ASK = "self-consistency:question=1000"
LAWS = {
    f"{ASK},n=4": "4 branches",
    f"{ASK},n=16": "16 branches",
    f"{ASK},n=64": "64 branches",
    f"{ASK},n=16,instruction=0": "16, no instruction",
    "reasoning:thought=1500": "thought and probes",
    "planner": "plans and workers",
}
CACHES = {"vllm": "#0072b2", "radix": "#e69f00"}
BASE = "none"


def tasks(options: Any) -> list[Any]:
    """Return the cells."""
    return [(law, memory, options.calls, options.seeds) for law in LAWS for memory in MEMORIES]


def play(task: tuple[str, int, int, int]) -> dict[str, Any]:
    """Return the programs that end in a s with each cache."""
    law, memory, calls, seeds = task
    rates: dict[str, list[float]] = {caching: [] for caching in (BASE, *CACHES)}
    for caching, found in rates.items():
        fleet = ProgramFleet(f"a100-llama3-8b:kv_tokens={memory}", f"vllm-v1:caching={caching}", replicas=1)
        where = Scenario(fleet, law=law, rate=1000.0, n_programs=programs_of(law, calls))
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            run = where.simulate("program-fcfs", seed)
            ends = np.sort(run.outcome["completion"])
            low, high = len(ends) // 4, 3 * len(ends) // 4
            found.append(float((high - low) / (ends[high] - ends[low])) if run.done.all() else np.nan)
    return {"law": law, "memory": memory, "rates": rates}


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the factors."""
    for cell in played:
        base = cell["rates"][BASE]
        cell["factors"] = {name: list(interval(np.divide(cell["rates"][name], base).tolist())) for name in CACHES}
    return {"calls": options.calls, "cells": played, "finding": findings(played)}


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """Say the factors of each cell."""
    words = []
    for cell in cells:
        told = ", ".join("{} {:.2f} ({:.2f} to {:.2f})".format(name, *cell["factors"][name]) for name in CACHES)
        words.append(f"{cell['law']}, memory {MEMORIES[cell['memory']]}: {told} times the programs of no cache.")
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each memory."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
        for panel, (memory, words) in zip(panels, MEMORIES.items(), strict=True):
            cells = [cell for cell in found["cells"] if cell["memory"] == memory]
            for k, (name, colour) in enumerate(CACHES.items()):
                factor, low, high = np.array([cell["factors"][name] for cell in cells], float).T
                at = np.arange(len(cells)) + 0.25 * (k - 0.5)
                panel.errorbar(factor, at, xerr=[factor - low, high - factor], fmt="o", ms=4, color=colour, label=name)
            panel.axvline(1, color="0.6", lw=0.8)
            panel.set_title(f"memory: {words}, {memory:,} tokens", loc="left", fontsize=9.5)
            panel.set_xlabel("programs completed, over those without a cache")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(range(len(LAWS)), LAWS.values())
        panels[0].invert_yaxis()
        panels[1].legend(frameon=False, fontsize=8)
        figure.suptitle("What do the branches of a program gain by sharing?", x=0.01, ha="left", fontsize=10.5)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each cell."""
    table = Table("programs", "memory", *CACHES)
    for cell in found["cells"]:
        words = ["{:.2f} ({:.2f} to {:.2f})".format(*cell["factors"][name]) for name in CACHES]
        table.add_row(cell["law"], MEMORIES[cell["memory"]], *words)
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "calls", "calls": CALLS, "seeds": SEEDS, "width": 120, "first_seed": FIRST_SEED}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
