"""In overload with impatient jobs, does shortest predicted job first serve as many as the best two-class rule?

M/GI/s+GI: s servers and one queue, exponential sizes of mean 1, exponential patience of mean 1, loads above 1, so that
somebody must give up; the more short jobs are served, the more are served. Dong and Ibrahim (Operations Research 2024)
show that in the limit of many servers least estimate first (noisy SJF) serves as many as any rule that does not preempt
and knows the estimates, and that two classes, estimates up to a threshold first, serve as many.

Estimates are log-normal around the truth at two levels of noise. First and last come first served look at no estimate;
earliest deadline first is told the patience and looks at no size. The two-class rule is played at several thresholds,
in units of the best one of the fluid limit, and at the best of these, which is chosen on seeds of its own. Throughput
is in jobs per server and mean size; an interval is Student's t over seeds; the first tenth and the last twentieth of
the jobs are left out. Writes `noisy_sjf_in_overload.json`, `.svg` and `.png` into `results`; some minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym import predictor, size_law
from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.statistics import paired_difference
from llmqueue_gym.policies import Policy, policy
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory.impatience import NoisyOverload

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "noisy_sjf_in_overload"
SIZE, PATIENCE = "exponential", "exponential"
SERVERS, LOADS, SIGMAS = (10, 50, 200, 1000), (1.2, 1.5), (0.5, 1.5)
FACTORS = (0.12, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0, 1.25)  # thresholds, over the best one of the fluid limit
JOBS, SEEDS, TUNING = 100_000, 6, 2  # TUNING seeds choose the threshold
KEPT = slice(0.1, 0.95)  # of the jobs of a run
NAMES = {
    "sjf": "SJF, sizes known",
    "spjf": "noisy SJF",
    "two-class": "two classes, best threshold",
    "edf": "EDF, patience told",
    "fcfs": "FCFS",
    "lcfs": "LCFS",
}
COLOURS = {
    "sjf": "#000000",
    "spjf": "#d55e00",
    "two-class": "#0072b2",
    "edf": "#009e73",
    "fcfs": "#777777",
    "lcfs": "#cc79a7",
}
LINES = {"lcfs": (0, (2, 1.5))}  # on top of FCFS, which it hides where it is solid
FLUID = "0.35"


def last_come(job, params):
    """Rank the last to come first."""
    return -job.arrival


def rules(threshold: float) -> dict[str, Policy]:
    """Return the rules by name, two classes at every multiple of a threshold."""
    lcfs = Policy("lcfs", last_come, preemptive=False, shape="constant")
    classes = {two_class(factor): policy(f"two-class:threshold={factor * threshold!r}") for factor in FACTORS}
    return {name: policy(name) for name in ("sjf", "spjf", "edf", "fcfs")} | {"lcfs": lcfs} | classes


def two_class(factor: float) -> str:
    """Return the name of the two-class rule at a multiple of the fluid threshold."""
    return f"two-class x {factor:g}"


def served(where: Scenario, rule: Policy, seed: int) -> float:
    """Return the share of the jobs that is served."""
    done = where.simulate(rule, seed).done
    return float(done[int(KEPT.start * len(done)) : int(KEPT.stop * len(done))].mean())


def play(job: tuple[int, float, float, int, int]) -> dict[str, Any]:
    """Return what every rule serves with so many servers, a load and a noise."""
    servers, load, sigma, n, seeds = job
    told = f"lognormal:sigma={sigma}"
    crowd = {"servers": servers, "patience": PATIENCE, "told": True}
    where = Scenario("central", size=SIZE, predictor=told, load=load, n_jobs=n, **crowd)
    fluid = NoisyOverload(size_law(SIZE), predictor(told), load)
    limit = fluid.best_two_class()
    everyone = rules(limit.threshold)
    shares = {name: [served(where, rule, seed) for seed in range(seeds)] for name, rule in everyone.items()}
    tuned = {two_class(f): tuning_share(where, everyone[two_class(f)], seeds) for f in FACTORS}
    best = max(tuned, key=tuned.__getitem__)
    shares["two-class"] = shares[best]
    rows = [{"rule": name, **_estimates(values, load, where.source.rate)} for name, values in shares.items()]
    gaps = {
        name: _interval(paired_difference(shares[a], shares[b]), load)
        for name, a, b in (("noisy SJF less two classes", "spjf", "two-class"), ("less FCFS", "spjf", "fcfs"))
    }
    limits = {"fluid_noisy_sjf": fluid.noisy_sjf().throughput, "fluid_two_class": limit.throughput}
    thresholds = {"fluid_threshold": limit.threshold, "best_threshold": everyone[best].params[0]}
    return {"servers": servers, "load": load, "sigma": sigma, "rules": rows, "gaps": gaps, **limits, **thresholds}


def tuning_share(where: Scenario, rule: Policy, seeds: int) -> float:
    """Return the share that is served on the seeds that choose the threshold."""
    return float(np.mean([served(where, rule, seed) for seed in range(seeds, seeds + TUNING)]))


def _estimates(values: list[float], load: float, rate: float) -> dict[str, Any]:
    share = across_seeds(values)
    told = {"served": share.mean, "served_ci95": [share.low, share.high], "jobs_per_s": share.mean * rate}
    return {**told, "throughput": share.mean * load, "ci95": [share.low * load, share.high * load]}


def _interval(estimate: Any, load: float) -> dict[str, Any]:
    return {"throughput": estimate.mean * load, "ci95": [estimate.low * load, estimate.high * load]}


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """Say how far noisy SJF is from two classes and from FCFS."""
    words = []
    for load in LOADS:
        for sigma in SIGMAS:
            mine = [cell for cell in cells if (cell["load"], cell["sigma"]) == (load, sigma)]
            classes, first = (
                ", ".join(f"{_signed(cell['gaps'][name])} (s = {cell['servers']})" for cell in mine)
                for name in ("noisy SJF less two classes", "less FCFS")
            )
            limit, other = mine[0]["fluid_noisy_sjf"], mine[0]["fluid_two_class"]
            words.append(
                f"load {load:g}, noise {sigma:g}: throughput of noisy SJF less that of the best two-class rule "
                f"{classes}; less that of FCFS {first}; in the limit {limit:.3f}, two classes {other:.3f}, FCFS 1."
            )
    return words


def _signed(gap: dict[str, Any]) -> str:
    low, high = gap["ci95"]
    return f"{gap['throughput']:+.4f} ±{(high - low) / 2:.4f}"


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each load and noise, servers to the right."""
    cells = found["cells"]
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(len(LOADS), len(SIGMAS), figsize=(9.6, 6.6), sharex=True, sharey="row")
        for row, load in zip(panels, LOADS, strict=True):
            for panel, sigma in zip(row, SIGMAS, strict=True):
                _draw_panel(panel, [cell for cell in cells if (cell["load"], cell["sigma"]) == (load, sigma)])
                panel.set_title(f"load {load:g}, noise sigma = {sigma:g}", loc="left", fontsize=9.5)
            row[0].set_ylabel("throughput per server")
        for panel in panels[-1]:
            panel.set_xlabel("servers s")
        handles = [
            plt.Line2D([], [], color=COLOURS[name], ls=LINES.get(name, "-"), marker="o", ms=3.5, lw=1.4)
            for name in NAMES
        ]
        handles.append(plt.Line2D([], [], color=FLUID, lw=1.0, ls=(0, (4, 3))))
        names = [*NAMES.values(), "limits of noisy SJF and FCFS"]
        figure.legend(handles, names, ncols=4, loc="upper left", bbox_to_anchor=(0.05, 0.955), frameon=False)
        title = "Noisy SJF in overload, exponential sizes and patience: jobs served per server and mean size"
        figure.suptitle(f"{title}; bars: 95 % intervals", x=0.06, ha="left", fontsize=10.5)
        figure.tight_layout(rect=(0, 0, 1, 0.93), w_pad=2.0)
    return figure


def _draw_panel(panel: plt.Axes, cells: list[dict[str, Any]]) -> None:
    for limit in (cells[0]["fluid_noisy_sjf"], 1.0):
        panel.axhline(limit, color=FLUID, lw=1.0, ls=(0, (4, 3)), zorder=1)
    for k, name in enumerate(NAMES):
        rows = [next(row for row in cell["rules"] if row["rule"] == name) for cell in cells]
        y = np.array([row["throughput"] for row in rows])
        low, high = np.array([row["ci95"] for row in rows]).T
        x = np.log([cell["servers"] for cell in cells]) + 0.03 * (
            k - 2.5
        )  # side by side, so that they can be told apart
        bars, line = [y - low, high - y], LINES.get(name, "-")
        panel.errorbar(
            x, y, bars, color=COLOURS[name], ls=line, marker="o", ms=3.5, lw=1.4, elinewidth=0.9, capsize=2, zorder=3
        )
    panel.set_xticks(np.log(SERVERS), [str(s) for s in SERVERS])
    panel.spines[["top", "right"]].set_visible(False)


def report(found: dict[str, Any], console: Console) -> None:
    """Print the throughputs and the findings."""
    table = Table("load", "noise", "servers", *NAMES.values(), "limit", title="jobs served per server and mean size")
    for cell in found["cells"]:
        rows = {row["rule"]: row for row in cell["rules"]}
        values = [f"{rows[name]['throughput']:.3f}" for name in NAMES]
        told = (f"{cell['load']:g}", f"{cell['sigma']:g}", str(cell["servers"]))
        table.add_row(*told, *values, f"{cell['fluid_noisy_sjf']:.3f}")
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tell(cells: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    told = {"size": SIZE, "patience": PATIENCE, "predictor": "lognormal", "jobs": options.jobs}
    return {**told, "cells": cells, "finding": findings(cells)}


def tasks(options: Any) -> list[Any]:
    """Return the cells to be played."""
    return [(s, load, sigma, options.jobs, options.seeds) for load in LOADS for sigma in SIGMAS for s in SERVERS]


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    study(__doc__, OUT, tasks, play, tell, draw, report, width=150, arguments=arguments, jobs=JOBS, seeds=SEEDS)


if __name__ == "__main__":
    main()
