"""Two choices with more than one bit: how much do predicted classes give where each job picks one of two queues?

Jobs of four true types with exponential sizes, in 1 to 4 predicted classes, which are right or fall into a class beside
the right one for a fifth of the jobs. In the limit of many queues (`theory.class_choices`), by what an arrival counts:
waiting jobs of its own class, those that go before it, or all; sampled idle queues come first. Counting all is what
1000 simulated queues play beside it, with 95 % intervals; the limit may differ from them by about 1/n. Writes
`choices_with_classes.json`, `.svg` and `.png` into `results`; some minutes.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from study import study

from llmqueue_gym.evaluation import across_seeds, control_variate
from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies.dispatch import dispatch_policy
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.dispatch import Dispatch
from llmqueue_gym.theory.class_choices import COUNTED, ClassChoices

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "choices_with_classes"
TYPES, MEANS = (0.5, 0.3, 0.15, 0.05), (0.2, 0.8, 2.4, 6.0)
MERGED = {1: (0, 0, 0, 0), 2: (0, 0, 1, 1), 3: (0, 1, 2, 2), 4: (0, 1, 2, 3)}  # the class of each type
LONGEST = {1: 25, 2: 16, 3: 8, 4: 5}
LOADS, ERRORS, SIMULATED = (0.7, 0.9), (0.0, 0.2), 0.9
QUEUES, WARMUP = 1000, 0.2


def model(load: float, k: int, error: float, counted: str) -> ClassChoices:
    """Return the limit; a share of the jobs, `error`, is taken for a type beside its own."""
    taken = np.eye(4) * (1 - error)
    for kind in range(4):
        beside = [other for other in (kind - 1, kind + 1) if 0 <= other < 4]
        taken[kind, beside] = error / len(beside)
    told = np.array([[row[np.array(MERGED[k]) == c].sum() for c in range(k)] for row in taken])
    rows = tuple(tuple(row) for row in (told / told.sum(axis=1, keepdims=True)).tolist())
    return ClassChoices(load, TYPES, MEANS, rows, 2, counted, True, LONGEST[k])


def played(limit: ClassChoices, jobs: int, seeds: int) -> dict[str, Any]:
    """Return the mean response time of 1000 queues that play the model; the load that came is a control variate."""
    means, loads = np.zeros((2, seeds))
    system = Dispatch(QUEUES, order="classes:edges=" + ";".join(f"{c + 1}" for c in range(max(1, limit.k - 1))))
    for seed in range(seeds):
        rng = np.random.default_rng([seed, limit.choices])
        arrival = np.cumsum(rng.standard_exponential(jobs)) / (limit.rates.sum() * QUEUES)
        kind = np.searchsorted(np.cumsum(TYPES), rng.random(jobs))
        sizes = rng.standard_exponential(jobs) * np.array(MEANS)[kind]
        told = (rng.random(jobs)[:, None] > np.cumsum(limit.told, axis=1)[kind]).sum(axis=1)
        table = job_table(arrival, told + 0.5)
        draws = rng.integers(QUEUES, size=(jobs, limit.choices))
        drawn = Drawn(table, {"sizes": sizes, "choices": draws, "ties": np.zeros(jobs)})
        run = system.simulate(drawn, dispatch_policy("power-of-d:d=2")).after_warmup(WARMUP)
        means[seed], loads[seed] = run.response_times.mean(), sizes.sum() / arrival[-1] / QUEUES
    found = control_variate(means, loads, limit.load) if seeds > 3 else across_seeds(means)
    return {"mean": found.mean, "ci95": [found.low, found.high]}


def play(task: tuple[float, int, float, str, int, int]) -> dict[str, Any]:
    """Return what is known of one case, and for some what was simulated."""
    load, k, error, counted, jobs, seeds = task
    limit = model(load, k, error, counted)
    found = limit.solve()
    row = {"load": load, "k": k, "error": error, "counted": counted, "limit": found.mean_response_time}
    row |= {"lost": found.lost, "mean_wait": found.mean_wait.tolist()}
    return {**row, **played(limit, jobs, seeds)} if counted == "all" and load == SIMULATED else row


def tasks(options: argparse.Namespace) -> list[Any]:
    """Return all cases."""
    grid = [(load, k, error, c) for load in LOADS for k in MERGED for error in ERRORS for c in COUNTED]
    return [(*case, options.jobs, options.seeds) for case in grid if case[1] > 1 or case[2:] == (0.0, "all")]


def tell(rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the result."""
    return {"types": TYPES, "means": MEANS, "queues": QUEUES, "jobs": options.jobs, "rows": rows}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each load."""
    style = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0", "axes.spines.top": False}
    colours = dict(zip(COUNTED, ("#0072b2", "#d55e00", "#009e73"), strict=True))
    with plt.rc_context({**style, "axes.spines.right": False}):
        figure, panels = plt.subplots(1, len(LOADS), figsize=(10.5, 4.4))
        for panel, load in zip(panels, LOADS, strict=True):
            rows = [row for row in found["rows"] if row["load"] == load]
            for counted in COUNTED:
                for error in ERRORS:
                    mine = [r for r in rows if r["k"] == 1 or (r["counted"], r["error"]) == (counted, error)]
                    label = f"counts {counted}, {'right' if not error else f'{error:.0%} beside'}"
                    look = {"color": colours[counted], "ls": "--" if error else "-", "marker": "."}
                    panel.plot([r["k"] for r in mine], [r["limit"] for r in mine], label=label, **look)
            for row in (row for row in rows if "ci95" in row):
                bars = [[row["mean"] - row["ci95"][0]], [row["ci95"][1] - row["mean"]]]
                panel.errorbar(row["k"], row["mean"], bars, fmt="o", ms=5, mfc="none", color="0.3", capsize=2)
            panel.set(xlabel="predicted classes", xticks=list(MERGED))
            panel.set_title(f"load {load:g}", loc="left", fontsize=10)
        panels[0].set_ylabel("mean response time, mean sizes")
        panels[0].legend(frameon=False)
        title = "Two choices with predicted classes: many queues in the limit; circles: 1000 simulated, counting all"
        figure.suptitle(title, x=0.06, ha="left", fontsize=11)
        figure.tight_layout()
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print all cases."""
    table = Table("load", "k", "error", "counts", "E[T], limit", "1000 queues", "95 %", "lost")
    for row in found["rows"]:
        told = (f"{row['mean']:.4f}", "{:.4f}, {:.4f}".format(*row["ci95"])) if "ci95" in row else ("", "")
        case = (f"{row['load']:g}", str(row["k"]), f"{row['error']:g}", row["counted"])
        table.add_row(*case, f"{row['limit']:.4f}", *told, f"{row['lost']:.1e}")
    console.print(table)


if __name__ == "__main__":
    study(__doc__, OUT, tasks, play, tell, draw, report, width=120, jobs=2_000_000, seeds=6)
