"""Whose call goes first, where requests are calls of programs?

Programs of five kinds (`workloads.programs`, with their defaults) on two replicas, a100-llama3-8b under vllm-v1 with
vLLM's cache and 16 seats each: chains of calls with tools, maps that are reduced, plans with rounds of workers,
Parrot's applications, and 8 answers that one more call aggregates. A call goes to the replica with the fewest
outstanding requests. Orders that see each call by itself: first come first served, and shortest predicted remaining
output. Orders that see programs: by arrival, least attained service (PLAS, and ATLAS on the longest path, -like),
fewest tokens of the program to come, longest path to come first, deepest call first among programs in order of arrival,
which puts aggregation before expansion, and Parrot's groups. Tokens to come are foreseen exactly, and once more with an
error of each call of all its tokens.

Loads are shares of what the replicas complete of a backlog, program by program; 1.1 tells of an overload that lasts for
so many programs, and of no steady state. Seen is the mean time of programs over that of first come first served on the
same programs, 95 % intervals over seeds by logarithms, the first tenth left out; beside it the bound that no order
undercuts, every call alone with its prompt in a cache.

Writes `whose_call_goes_first.json`, `.svg` and `.png` into `results`; a few minutes.
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

OUT = Path(__file__).parent / "results" / "whose_call_goes_first"
CALLS, SEEDS, FIRST_SEED, WARMUP = 3000, 4, 700, 0.1
PROFILE, RULES, REPLICAS = "a100-llama3-8b", "vllm-v1:caching=vllm,max_seqs=16", 2
LOADS = (0.9, 1.1)
LAWS = {
    "tool-calls:kind=ve": "tools",
    "map-reduce": "map and reduce",
    "planner": "plans and workers",
    "parrot": "Parrot's",
    "self-consistency:aggregate=200": "answers, aggregated",
}
BASE, EXACT = "fcfs", "foresight"
ORDERS = {  # name -> order, foresight
    BASE: (BASE, EXACT),
    "program-fcfs": ("program-fcfs", EXACT),
    "sprpt": ("sprpt", EXACT),
    "plas-like": ("plas-like", EXACT),
    "atlas-like": ("atlas-like", EXACT),
    "program-srpt": ("program-srpt", EXACT),
    "program-srpt, error 1": ("program-srpt", "foresight:tokens=1"),
    "critical-path": ("critical-path", EXACT),
    "deepest-first": ("deepest-first", EXACT),
    "parrot-groups": ("parrot-groups", EXACT),
}


def scenario(law: str, rate: float, calls: int, foresight: str = EXACT) -> Scenario:
    """Return programs of a law at a rate, programs/s."""
    fleet = ProgramFleet(PROFILE, RULES, replicas=REPLICAS, foresight=foresight)
    return Scenario(fleet, law=law, rate=rate, n_programs=programs_of(law, calls))


def sustained(law: str, calls: int) -> float:
    """Return the programs/s of the middle half of a backlog, program by program."""
    run = scenario(law, 1000.0, calls).simulate("program-fcfs", FIRST_SEED - 1)
    ends = np.sort(run.outcome["completion"])
    low, high = len(ends) // 4, 3 * len(ends) // 4
    return float((high - low) / (ends[high] - ends[low]))


def tasks(options: Any) -> list[Any]:
    """Return the cells."""
    return [(law, options.calls, options.seeds) for law in LAWS]


def play(task: tuple[str, int, int]) -> list[dict[str, Any]]:
    """Return the mean times of programs of a law in every order."""
    law, calls, seeds = task
    top, rows = sustained(law, calls), []
    for load in LOADS:
        for name, (order, foresight) in ORDERS.items():
            where = scenario(law, load * top, calls, foresight)
            runs = [where.simulate(order, seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
            times = [float(run.response_times[int(WARMUP * len(run)) :].mean()) for run in runs]
            rows.append({"law": law, "load": load, "rate": load * top, "order": name, "times": times})
        where = scenario(law, load * top, calls)
        bounds = [where.bound(seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
        rows.append({"law": law, "load": load, "rate": load * top, "order": "bound", "times": bounds})
    return rows


def tell(played: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the ratios."""
    rows = [row for part in played for row in part]
    base = {(row["law"], row["load"]): row["times"] for row in rows if row["order"] == BASE}
    for row in rows:
        row["ratio"] = list(interval(np.divide(row["times"], base[row["law"], row["load"]]).tolist()))
    told = {"profile": PROFILE, "rules": RULES, "replicas": REPLICAS, "calls": options.calls}
    return {**told, "rows": rows, "finding": findings(rows)}


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """Say which order is best where, and in how many cells each beats first come first served."""
    words = []
    for law in LAWS:
        for load in LOADS:
            mine = [row for row in rows if (row["law"], row["load"]) == (law, load)]
            best = min((row for row in mine if row["order"] != "bound"), key=lambda row: row["ratio"][0])
            bound = next(row["ratio"][0] for row in mine if row["order"] == "bound")
            words.append(
                "{}, load {:g}: best {} with {:.2f} ({:.2f} to {:.2f}) of the time of fcfs; bound {:.2f}.".format(
                    law, load, best["order"], *best["ratio"], bound
                )
            )
    for order in ORDERS:
        mine = [row["ratio"] for row in rows if row["order"] == order]
        if order != BASE:
            wins, losses = sum(high < 1 for _, _, high in mine), sum(low > 1 for _, low, _ in mine)
            words.append(
                f"{order}: below fcfs in {wins} and above in {losses} of {len(mine)} cells, "
                f"{min(one[0] for one in mine):.2f} to {max(one[0] for one in mine):.2f} times."
            )
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each kind of program."""
    style = {"font.family": "sans-serif", "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, len(LAWS), figsize=(12, 4), layout="constrained", sharey=True)
        names = [name for name in ORDERS if name != BASE]
        for panel, (law, label) in zip(panels, LAWS.items(), strict=True):
            for k, (load, colour) in enumerate(zip(LOADS, ("#56b4e9", "#d55e00"), strict=True)):
                mine = {row["order"]: row["ratio"] for row in found["rows"] if (row["law"], row["load"]) == (law, load)}
                ratio, low, high = np.array([mine[name] for name in names], float).T
                at = np.arange(len(names)) + 0.25 * (k - 0.5)
                bars = [ratio - low, high - ratio]
                panel.errorbar(ratio, at, xerr=bars, fmt="o", ms=4, color=colour, label=f"load {load:g}")
                panel.axvline(mine["bound"][0], color=colour, lw=0.9, ls=(0, (1, 2)))
            panel.axvline(1, color="0.6", lw=0.8)
            panel.set_title(label, loc="left", fontsize=9.5)
            panel.set_xlabel("mean time over that of fcfs")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        panels[-1].legend(frameon=False, fontsize=8)
        figure.suptitle("Whose call goes first? Dotted: what no order undercuts", x=0.01, ha="left", fontsize=10.5)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each cell."""
    table = Table("programs", "load", *ORDERS, "bound")
    for law in LAWS:
        for load in LOADS:
            mine = {row["order"]: row["ratio"] for row in found["rows"] if (row["law"], row["load"]) == (law, load)}
            words = ["{:.2f} ({:.2f} to {:.2f})".format(*mine[name]) for name in (*ORDERS, "bound")]
            table.add_row(law, f"{load:g}", *words)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "calls", "calls": CALLS, "seeds": SEEDS, "width": 220, "first_seed": FIRST_SEED}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
