"""Which packing policy answers fastest as servers fill up, where jobs occupy several servers at once?

Settings, all with Poisson arrivals and exponential durations of mean 1: `powers` has 8 servers and needs 1, 2, 4, 8,
equally likely; `one-or-all` 8 servers, need 1 for two jobs of three and 8 for the third; `one-or-all-32` 32 servers,
need 1 for nine jobs of ten and 32 for the tenth. Load is the share of all servers that is needed. The yardstick is one
server of k-fold speed, first come first served, whose mean is known exactly. It is also played over the same jobs, as
a control variate: means are corrected by the regression on it over seeds. Intervals are Student's t over seeds, 95 %;
the first tenth of the jobs is left out. From load .98 on a run is longer. At .999 no run is long enough to settle;
there a mean is the exact one of the pooled server plus the paired difference. Predictions of `easy` and
`server-filling-sprpt` are log-normal, sigma 0.5; the other policies by size are told the true durations.

A policy is `overloaded` where more than 1 % of the jobs are left at the last arrival: it packs too badly for the load,
or swings so slowly that it does not settle in a run. It is not played at higher loads. Writes
`multiserver_jobs_near_saturation.json`, `.svg` and `.png` into `results`; three minutes of one core.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import across_seeds, control_variate
from llmqueue_gym.policies import policy
from llmqueue_gym.systems import Drawn, Run, Scenario
from llmqueue_gym.systems.mg1 import MG1
from llmqueue_gym.theory.packing import pooled

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "multiserver_jobs_near_saturation"
PREDICTOR = "lognormal:sigma=0.5"
LOADS, FARTHEST = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99), 0.999
JOBS, SEEDS, WARMUP, LEFT = 120_000, 8, 0.1, 0.01
HIGHEST = 60.0  # of the figure
LONGER = {0.98: 2, 0.99: 4, FARTHEST: 4}  # times as many jobs
SETTINGS: dict[str, tuple[int, tuple[tuple[int, float], ...]]] = {
    "powers": (8, ((1, 1 / 4), (2, 1 / 4), (4, 1 / 4), (8, 1 / 4))),
    "one-or-all": (8, ((1, 2 / 3), (8, 1 / 3))),
    "one-or-all-32": (32, ((1, 0.9), (32, 0.1))),
}
FAR = ("server-filling",)  # also played at the farthest load
POLICIES = {
    "powers": (
        "fcfs",
        "first-fit",
        "least-servers-first",
        "most-servers-first",
        "max-weight",
        "easy",
        "server-filling",
        "preemptive-first-fit",
        "server-filling-sprpt",
        "server-filling-srpt",
        "greedy-srpt",
        "first-fit-srpt",
    ),
    "one-or-all": ("fcfs", "most-servers-first", "msfq:threshold=7", "server-filling", "server-filling-srpt"),
    "one-or-all-32": ("fcfs", "most-servers-first", "msfq:threshold=31", "server-filling", "server-filling-srpt"),
}
STYLES = {
    "fcfs": ("0.45", "-"),
    "first-fit": ("#e69f00", "-"),
    "preemptive-first-fit": ("#e69f00", "--"),
    "least-servers-first": ("#cc79a7", "-"),
    "most-servers-first": ("#8a6fb0", "-"),
    "max-weight": ("#009e73", "-"),
    "easy": ("#7f4f24", "-"),
    "server-filling": ("#0072b2", "-"),
    "server-filling-sprpt": ("#d55e00", "--"),
    "server-filling-srpt": ("#d55e00", "-"),
    "greedy-srpt": ("#56b4e9", "-"),
    "first-fit-srpt": ("#56b4e9", "--"),
    "msfq": ("#009e73", "-"),
}


def scenario(setting: str, load: float, jobs: int) -> Scenario:
    """Return a setting at a load."""
    servers, needs = SETTINGS[setting]
    told = {"predictor": PREDICTOR, "n_jobs": jobs * LONGER.get(load, 1)}
    return Scenario("packing", servers=servers, needs=needs, load=load, **told)


def pooled_mean(where: Scenario) -> float:
    """Return the mean response time of the one server of k-fold speed."""
    system = where.system
    found = pooled(system.servers, system.class_shares, system.class_needs, system.laws(where), where.load)
    return float(found.mean_response_time)


def left(run: Run) -> float:
    """Return the share of the jobs that are in system at the last arrival."""
    return float((run.outcome["completion"] > run.jobs["arrival"][-1]).mean())


def climb(job: tuple[str, str, int, int]) -> list[dict[str, Any]]:
    """Return what a policy does in a setting, load by load, up to the first at which it is overloaded."""
    setting, spec, jobs, seeds = job
    rows: list[dict[str, Any]] = []
    for load in (*LOADS, FARTHEST) if spec in FAR else LOADS:
        where = scenario(setting, load, jobs)
        means, pool, runs = [], [], []
        for seed in range(seeds):
            run = where.simulate(spec, seed)
            work, truth = where.draw(seed)
            sizes = truth["sizes"] * work["need"] / where.system.servers
            one = MG1().simulate(Drawn(work, {"sizes": sizes}), policy("fcfs"))
            means.append(float(run.after_warmup(WARMUP).response_times.mean()))
            pool.append(float(one.after_warmup(WARMUP).response_times.mean()))
            runs.append((left(run), run.totals["idle_wanted"] / run.totals["busy"], run.outcome["preemptions"].mean()))
        remain, idle, preemptions = (float(value) for value in np.mean(runs, axis=0))
        told = {"setting": setting, "policy": spec, "load": load, "jobs": where.n_jobs, "left": remain}
        rows.append({**told, "overloaded": remain > LEFT, "pooled": pooled_mean(where)})
        if remain > LEFT:
            break
        rows[-1].update(mean_of(means, pool, where), idle_wanted=idle, preemptions_per_job=preemptions)
    return rows


def mean_of(means: list[float], pool: list[float], where: Scenario) -> dict[str, float]:
    """Return the mean response time with its interval, and the paired difference to the pooled server."""
    exact, excess = pooled_mean(where), across_seeds(np.subtract(means, pool))
    if where.load == FARTHEST:
        mean, low, high = (exact + value for value in excess[:3])
    else:
        mean, low, high = control_variate(means, pool, exact)[:3]
    return {"mean": mean, "low": low, "high": high, "excess": excess.mean, "excess_half": excess.high - excess.mean}


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """Say who is fastest, who is overloaded from where on, and how far ServerFilling is from the pooled server."""
    sentences = []
    for setting in SETTINGS:
        mine = [row for row in rows if row["setting"] == setting]
        for load in (0.7, 0.9, max(LOADS)):
            ranked = sorted((row for row in mine if row["load"] == load and "mean" in row), key=lambda row: row["mean"])
            if ranked:
                shown = (f"{row['policy']} {row['mean']:.2f} ±{(row['high'] - row['low']) / 2:.2f}" for row in ranked)
                told = f"{setting}, load {load:g}, mean response in s: {', '.join(shown)}"
                sentences.append(f"{told}; pooled server {ranked[0]['pooled']:.2f}.")
        full = [f"{row['policy']} at {row['load']:g}" for row in mine if row["overloaded"]]
        sentences.append(f"{setting}, overloaded: {', '.join(full) or 'none'}.")
        filled = [row for row in mine if row["policy"] == "server-filling" and "mean" in row]
        ratios = (f"{row['mean'] / row['pooled']:.3f} at {row['load']:g}" for row in filled)
        sentences.append(f"{setting}, server-filling over the pooled server: {', '.join(ratios)}.")
    return sentences


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each setting, loads spread out towards one."""
    rows = found["rows"]
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, len(SETTINGS), figsize=(5.0 * len(SETTINGS), 4.6), squeeze=False)
        for panel, setting in zip(panels[0], SETTINGS, strict=True):
            _draw_panel(panel, [row for row in rows if row["setting"] == setting])
            servers, needs = SETTINGS[setting]
            words = ", ".join(f"{need} ({share:.2f})" for need, share in needs)
            panel.set_title(f"{servers} servers; needs {words}", loc="left", fontsize=9.5)
        panels[0][0].set_ylabel("mean response time / that of the pooled server")
        title = "Jobs that occupy several servers; cross: overloaded, or unsettled, beyond; bars: 95 % intervals"
        figure.suptitle(title, x=0.02, ha="left", fontsize=10.5)
        figure.tight_layout(w_pad=2.0)
    return figure


def _draw_panel(panel: plt.Axes, rows: list[dict[str, Any]]) -> None:
    panel.axhline(1.0, color="0.6", lw=0.9, ls=(0, (4, 3)), zorder=1)
    for name in dict.fromkeys(row["policy"] for row in rows):
        colour, line = STYLES[name.partition(":")[0]]
        mine = [row for row in rows if row["policy"] == name and "mean" in row]
        if not mine:
            label = f"{name}: overloaded at {LOADS[0]:g}"
            panel.plot([], [], "x", color=colour, ms=7, mew=1.6, label=label)
            continue
        x = np.array([1 / (1 - row["load"]) for row in mine])
        y, low, high = (np.array([row[key] / row["pooled"] for row in mine]) for key in ("mean", "low", "high"))
        panel.errorbar(
            x, y, [y - low, high - y], color=colour, ls=line, lw=1.4, elinewidth=0.8, capsize=1.5, label=name
        )
        if any(row["overloaded"] for row in rows if row["policy"] == name):
            panel.plot(x[-1], y[-1], "x", color=colour, ms=7, mew=1.6)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylim(top=min(panel.get_ylim()[1], HIGHEST))
    ticks = sorted({row["load"] for row in rows if "mean" in row})
    panel.set_xticks(
        [1 / (1 - load) for load in ticks], ["" if load == 0.6 else f"{load:g}".lstrip("0") for load in ticks]
    )
    low, high = panel.get_ylim()
    marks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if low <= t <= high]
    panel.set_yticks(marks, [f"{t:g}" for t in marks])
    panel.minorticks_off()
    panel.set_xlabel("load")
    panel.spines[["top", "right"]].set_visible(False)
    if ticks:
        panel.legend(frameon=False, fontsize=7.5, loc="best")


def report(found: dict[str, Any], console: Console) -> None:
    """Print the means and the findings."""
    for setting in SETTINGS:
        rows = [row for row in found["rows"] if row["setting"] == setting]
        loads = sorted({row["load"] for row in rows})
        table = Table("policy", *(f"{load:g}" for load in loads), title=f"{setting}: mean response time, s, by load")
        for name in POLICIES[setting]:
            cells = {row["load"]: _cell(row) for row in rows if row["policy"] == name}
            table.add_row(name, *(cells.get(load, "") for load in loads))
        pooled = {row["load"]: f"{row['pooled']:.3g}" for row in rows}
        table.add_row("pooled server", *(pooled[load] for load in loads))
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def _cell(row: dict[str, Any]) -> str:
    return "overloaded" if row["overloaded"] else f"{row['mean']:.3g} ±{(row['high'] - row['low']) / 2:.2g}"


def tasks(options: Any) -> list[Any]:
    """Return whose climbs are to be played."""
    return [(setting, spec, options.jobs, options.seeds) for setting in SETTINGS for spec in POLICIES[setting]]


def tell(climbs: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the result."""
    rows = [row for rows in climbs for row in rows]
    told = {"predictor": PREDICTOR, "settings": SETTINGS, "warmup": WARMUP, "overloaded_above": LEFT}
    return {**told, "rows": rows, "finding": findings(rows)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    study(__doc__, OUT, tasks, climb, tell, draw, report, arguments=arguments, jobs=JOBS, seeds=SEEDS)


if __name__ == "__main__":
    main()
