"""What is a predicted speed-up worth, where the scheduler chooses how many servers each job runs on?

Setting: 16 servers, Poisson arrivals, exponential times of mean 1 on one server, known up to a log-normal error of
sigma 0.5. A third of the jobs each has speed-up j^.9, j^.5 and j^.1 on j servers. A job keeps the servers that it is
given at its start. The exponent of a job is predicted with a normal error of standard deviation 0 to 0.4, or is
`unknown`: then every job is thought to have the mean curve. Load is the share of all servers that is needed if every
job runs on one.

The same jobs meet every policy and every prediction, so that differences are paired. Intervals are Student's t over
seeds, 95 %; the first tenth of the jobs is left out. Parameters of policies are not tuned. A policy is
`overloaded` where in some seed more than 1 % of the jobs are left at the last arrival; it is not played at higher
loads. Writes `how_many_servers_for_a_job.json`, `.svg` and `.png` into `results`; a minute of one core.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import Estimate, across_seeds
from llmqueue_gym.systems import Run, Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "how_many_servers_for_a_job"
SERVERS, SIZES = 16, "lognormal:sigma=0.5"
CURVES = "power:exponent=0.9|power:exponent=0.5|power:exponent=0.1"
LOADS, JOBS, SEEDS, FIRST_SEED, WARMUP, LEFT = (0.3, 0.5, 0.7, 0.85), 12_000, 8, 100, 0.1, 0.01
MODELS = {
    "exact": "exact",
    "0.1": "normal:error=0.1",
    "0.2": "normal:error=0.2",
    "0.4": "normal:error=0.4",
    "unknown": "mean",
}
POLICIES = {
    "one-server:shortest_first=true": "0.45",
    "all-servers:shortest_first=true": "#cc79a7",
    "fixed-width:servers=2,shortest_first=true": "#8a6fb0",
    "equal-share:shortest_first=true": "#56b4e9",
    "efficiency:theta=0.5,shortest_first=true": "#e69f00",
    "efficiency:theta=0.8,shortest_first=true": "#d55e00",
    "finish-soonest:shortest_first=true": "#7f4f24",
    "least-delay:others=1": "#009e73",
    "least-delay:others=4": "#0072b2",
}
# In the second panel: those that use speed-ups and are far enough from overload at load .7 for their means to settle.
SHOWN = ("efficiency:theta=0.8,shortest_first=true", "least-delay:others=1", "least-delay:others=4")


def short(spec: str) -> str:
    """Return a spec without the order, which is the same for all that have one."""
    return spec.replace("shortest_first=true", "").rstrip(":,")


def left(run: Run) -> float:
    """Return the share of the jobs that are in system at the last arrival."""
    return float((run.outcome["completion"] > run.jobs["arrival"][-1]).mean())


def climb(task: tuple[str, str, int, int]) -> list[dict[str, Any]]:
    """Return what a policy does with a prediction model, load by load, up to the first at which it is overloaded."""
    spec, model, jobs, seeds = task
    base = Scenario("moldable", servers=SERVERS, curves=CURVES, predictor=SIZES, speedups=MODELS[model], n_jobs=jobs)
    rows: list[dict[str, Any]] = []
    for load in LOADS:
        where = replace(base, load=load)
        row = {"policy": spec, "speedup": model, "load": load, "overloaded": False}
        means, efficiencies = [], []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            run = where.simulate(spec, seed)
            if left(run) > LEFT:
                return [*rows, {**row, "overloaded": True}]
            means.append(float(run.after_warmup(WARMUP).response_times.mean()))
            efficiencies.append(float(run.sizes.sum() / run.totals["busy"]))
        estimate = across_seeds(means)
        told = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "means": means}
        rows.append({**row, **told, "efficiency": float(np.mean(efficiencies))})
    return rows


def ratio(above: dict[str, Any], below: dict[str, Any]) -> Estimate:
    """Return the ratio of two means, paired by seed."""
    return across_seeds(np.divide(above["means"], below["means"]))


def told(estimate: Estimate) -> str:
    """Return an estimate in words."""
    return f"{estimate.mean:.3f} ±{estimate.high - estimate.mean:.3f}"


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """Say who is best with and without predicted speed-ups, what they are worth, and how wrong they may be."""
    found = {(row["policy"], row["speedup"], row["load"]): row for row in rows if "mean" in row}
    sentences = []
    for load in LOADS:
        one, many = (_best(found, model, load) for model in ("exact", "unknown"))
        if one is None or many is None:
            continue
        sentences.append(
            f"Load {load:g}: best with exact speed-ups is {short(one['policy'])}, {one['mean']:.3f} s "
            f"(±{one['high'] - one['mean']:.3f}); best with unknown ones {short(many['policy'])}, {many['mean']:.3f} s "
            f"(±{many['high'] - many['mean']:.3f}), {told(ratio(many, one))} times as long."
        )
    for spec in POLICIES:
        for load in LOADS:
            if (spec, "exact", load) not in found or (spec, "unknown", load) not in found:
                continue
            exact, unknown = (found[spec, model, load] for model in ("exact", "unknown"))
            if exact["means"] == unknown["means"]:
                continue
            parts = [f"unknown {told(ratio(unknown, exact))}"]
            parts += [
                f"error {model} {told(ratio(found[spec, model, load], exact))}"
                for model in MODELS
                if model not in ("exact", "unknown") and (spec, model, load) in found
            ]
            worse = [m for m in MODELS if (spec, m, load) in found and ratio(found[spec, m, load], unknown).low > 1]
            verdict = f"; worse than unknown: {', '.join(worse)}" if worse else ""
            where = f"{short(spec)}, load {load:g}, mean response over that with exact"
            sentences.append(f"{where}: {', '.join(parts)}{verdict}.")
    blind = [s for s in POLICIES if (s, "exact", LOADS[0]) in found and all(_same(found, s, load) for load in LOADS)]
    sentences.append(f"Speed-ups make no difference to {', '.join(short(spec) for spec in blind) or 'none'}.")
    full = [f"{short(row['policy'])} ({row['speedup']}) at {row['load']:g}" for row in rows if row["overloaded"]]
    return [*sentences, f"Overloaded: {', '.join(full) or 'none'}."]


def _best(found: dict[tuple[str, str, float], dict[str, Any]], model: str, load: float) -> dict[str, Any] | None:
    mine = (row for (_, m, x), row in found.items() if (m, x) == (model, load))
    return min(mine, key=lambda row: row["mean"], default=None)


def _same(found: dict[tuple[str, str, float], dict[str, Any]], spec: str, load: float) -> bool:
    exact, unknown = (found.get((spec, model, load), {}).get("means") for model in ("exact", "unknown"))
    return exact == unknown


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: policies by load with exact speed-ups, and what an error costs those that use them."""
    rows = found["rows"]
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, (first, second) = plt.subplots(1, 2, figsize=(11.0, 4.6))
        for spec, colour in POLICIES.items():
            mine = [row for row in rows if (row["policy"], row["speedup"]) == (spec, "exact") and "mean" in row]
            if mine:
                _line(first, [row["load"] for row in mine], mine, colour, short(spec))
        first.set_yscale("log")
        first.set_yticks([0.5, 0.7, 1, 1.5, 2, 3, 5], ["0.5", "0.7", "1", "1.5", "2", "3", "5"])
        first.minorticks_off()
        first.set_ylim(0.35, 6)
        first.set_xticks(LOADS)
        first.set_xlabel("load")
        first.set_ylabel("mean response time, s")
        first.set_title("speed-ups known exactly", loc="left", fontsize=9.5)
        second.axhline(1.0, color="0.6", lw=0.9, ls=(0, (4, 3)), zorder=1)
        for spec in SHOWN:
            for load, line in ((0.3, "-"), (0.7, "--")):
                mine = [row for row in rows if (row["policy"], row["load"]) == (spec, load) and "mean" in row]
                base = [row for row in mine if row["speedup"] == "exact"]
                if base:
                    x = [list(MODELS).index(row["speedup"]) for row in mine]
                    ratios = [ratio(row, base[0])._asdict() for row in mine]
                    _line(second, x, ratios, POLICIES[spec], f"{short(spec)}, load {load:g}", line)
        second.set_xticks(range(len(MODELS)), MODELS)
        second.set_xlabel("error of the predicted exponent, standard deviation")
        second.set_ylabel("mean response time / that with exact speed-ups")
        second.set_title("what an error costs", loc="left", fontsize=9.5)
        for panel in (first, second):
            panel.spines[["top", "right"]].set_visible(False)
            panel.legend(frameon=False, fontsize=7.5, loc="best")
        title = f"{SERVERS} servers; speed-ups j^.9, j^.5, j^.1, a third each; shortest predicted first; 95 % intervals"
        figure.suptitle(title, x=0.02, ha="left", fontsize=10.5)
        figure.tight_layout(w_pad=2.0)
    return figure


def _line(panel: plt.Axes, x: list[Any], rows: list[Any], colour: str, name: str, line: str = "-") -> None:
    y, low, high = (np.array([row[key] for row in rows]) for key in ("mean", "low", "high"))
    panel.errorbar(x, y, [y - low, high - y], color=colour, ls=line, lw=1.4, elinewidth=0.8, capsize=1.5, label=name)


def report(found: dict[str, Any], console: Console) -> None:
    """Print the means and the findings."""
    for load in LOADS:
        table = Table("policy", *MODELS, title=f"load {load:g}: mean response time, s, by error of the speed-up")
        for spec in POLICIES:
            cells = {r["speedup"]: _cell(r) for r in found["rows"] if (r["policy"], r["load"]) == (spec, load)}
            table.add_row(short(spec), *(cells.get(model, "") for model in MODELS))
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def _cell(row: dict[str, Any]) -> str:
    return "overloaded" if row["overloaded"] else f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"


def tasks(options: Any) -> list[Any]:
    """Return whose climbs are to be played."""
    return [(spec, model, options.jobs, options.seeds) for spec in POLICIES for model in MODELS]


def tell(climbs: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the result."""
    rows = [row for rows in climbs for row in rows]
    setting = {"servers": SERVERS, "curves": CURVES, "predictor": SIZES, "jobs": options.jobs, "warmup": WARMUP}
    return {**setting, "overloaded_above": LEFT, "rows": rows, "finding": findings(rows)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"first_seed": FIRST_SEED, "jobs": JOBS, "seeds": SEEDS}
    study(__doc__, OUT, tasks, climb, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
