"""When is a prediction worth its cost?

One server, exponential sizes and predictions, the cheap bit at a fifth of the cost of the size. Exact costs (mean
response time, and the price of predictions where they are bought outside) of predicting nobody (FCFS), the bit of
everybody, the size of everybody (SPRPT), SkipPredict and DelayPredict, each with the best of a few thresholds; who is
cheapest at which load and cost. A few simulated costs check the exact ones. Writes
`when_is_a_prediction_worth_its_cost.json`, `.svg` and `.png` into `results`; some minutes.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from study import study

from llmqueue_gym import predictor, size_law
from llmqueue_gym.errors import Unstable
from llmqueue_gym.evaluation import Scenario, across_seeds
from llmqueue_gym.policies.predicting import PREDICTING
from llmqueue_gym.predictors.cost import predictor_cost
from llmqueue_gym.theory.stages import analyse_stages

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

OUT = Path(__file__).parent / "results" / "when_is_a_prediction_worth_its_cost"
LOADS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
COSTS = {"outside": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), "server": (0.01, 0.03, 0.1, 0.2, 0.4)}  # of a size, s
CHEAP = 0.2  # of that, for the bit
THRESHOLDS = (0.5, 1.0, 1.5, 2.5, 4.0)
CANDIDATES = {
    "fcfs": ("fcfs",),
    "one-bit-paid": tuple(f"one-bit-paid:threshold={t:g}" for t in THRESHOLDS),
    "sprpt-paid": ("sprpt-paid",),
    "skip-predict": tuple(f"skip-predict:threshold={t:g}" for t in THRESHOLDS),
    "delay-predict": tuple(f"delay-predict:limit={t:g}" for t in THRESHOLDS),
}
AVAILABLE = {"with the bit": tuple(CANDIDATES), "without": ("fcfs", "sprpt-paid", "delay-predict")}
CELLS = 200  # of predictions: at such laws right to a tenth of a per cent
CHECKED, CHECKED_LOAD, CHECKED_COST = tuple(specs[min(1, len(specs) - 1)] for specs in CANDIDATES.values()), 0.8, 0.1
NAMES = {
    "fcfs": "nobody (FCFS)",
    "one-bit-paid": "a bit of everybody",
    "sprpt-paid": "the size of everybody (SPRPT)",
    "skip-predict": "a bit, then the size of long jobs (SkipPredict)",
    "delay-predict": "the size of jobs that have lasted (DelayPredict)",
}
COLOURS = ("#d9d9d9", "#f0b6d3", "#e8956b", "#7db8e0", "#7fcdac")


def spec_of_costs(where: str, cost: float) -> str:
    """Return what predictions cost, as an option is told."""
    return f"cheap={CHEAP * cost:g},expensive={cost:g},where={where}"


def tasks(options: argparse.Namespace) -> list[Any]:
    """Return what is computed: each policy at each cost, but once where its price does not change what happens."""
    specs = [spec for some in CANDIDATES.values() for spec in some]
    exact = [("exact", spec, "outside", 1.0) for spec in specs]
    exact += [("exact", spec, "server", cost) for spec in specs for cost in COSTS["server"] if spec != "fcfs"]
    return exact + [("simulated", spec, options.jobs, options.seeds) for spec in CHECKED]


def play(task: Any) -> dict[str, Any]:
    """Return the exact results of a policy at all loads, or its simulated mean response time with its interval."""
    kind, spec, *rest = task
    if kind == "simulated":
        jobs, seeds = rest
        costs = spec_of_costs("server", CHECKED_COST)
        scenario = Scenario("predict", predictor_cost=costs, load=CHECKED_LOAD, n_jobs=jobs)
        means = [scenario.simulate(spec, seed).after_warmup().response_times.mean() for seed in range(seeds)]
        found = across_seeds(means)
        return {"kind": kind, "spec": spec, "mean_response_time": found.mean, "ci95": [found.low, found.high]}
    where, cost = rest
    law, model = size_law("exponential"), predictor("exponential")
    rows = []
    for load in LOADS:
        try:
            costs = predictor_cost(spec_of_costs(where, cost))
            found = analyse_stages(PREDICTING(spec), law, model, load, costs, cells=CELLS)
            rows.append([found.mean_response_time, found.cheap, found.expensive])
        except Unstable:
            rows.append([np.inf, np.nan, np.nan])
    return {"kind": kind, "spec": spec, "where": where, "cost": cost, "by_load": rows}


def tell(played: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the best of each candidate in each place, the winner, and the checks."""
    exact = {(one["spec"], one["where"], one["cost"]): one["by_load"] for one in played if one["kind"] == "exact"}
    places = []
    for where, (k, load) in itertools.product(COSTS, enumerate(LOADS)):
        for cost in COSTS[where]:
            best = {}
            for name, specs in CANDIDATES.items():
                totals = [_cost(exact, spec, where, cost, k) for spec in specs]
                at = int(np.argmin(totals))
                best[name] = {"spec": specs[at], "cost": totals[at]}
            winners = {told: min(names, key=lambda name: best[name]["cost"]) for told, names in AVAILABLE.items()}
            places.append({"where": where, "load": load, "expensive": cost, "winners": winners, "best": best})
    at = LOADS.index(CHECKED_LOAD)
    checks = [
        {**{key: one[key] for key in ("spec", "mean_response_time", "ci95")}, "exact": _mean(exact, one["spec"], at)}
        for one in played
        if one["kind"] == "simulated"
    ]
    return {
        "size": "exponential",
        "predictor": "exponential",
        "cheap_over_expensive": CHEAP,
        "thresholds": THRESHOLDS,
        "places": places,
        "checks": {"load": CHECKED_LOAD, "predictor_cost": spec_of_costs("server", CHECKED_COST), "found": checks},
        "jobs": options.jobs,
    }


def _mean(exact: dict[Any, Any], spec: str, k: int) -> float:
    where = ("outside", 1.0) if spec == "fcfs" else ("server", CHECKED_COST)
    return float(exact[spec, *where][k][0])


def _cost(exact: dict[Any, Any], spec: str, where: str, cost: float, k: int) -> float:
    if where == "server" and spec != "fcfs":
        return float(exact[spec, where, cost][k][0])
    mean, cheap, expensive = exact[spec, "outside", 1.0][k]
    return float(mean) if where == "server" else float(mean + cost * (CHEAP * cheap + expensive))


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the map: who is cheapest, and how much that is below the cost of predicting nobody."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(10.5, 8.6), layout="constrained")
        titles = {"outside": "bought outside, at a price", "server": "made by the server, which is busy meanwhile"}
        words = {"with the bit": "", "without": "; no bit is to be had"}
        for row, told in zip(panels, AVAILABLE, strict=True):
            for panel, where in zip(row, COSTS, strict=True):
                _draw_panel(panel, found, where, told)
                panel.set_title(f"{titles[where]}{words[told]}", loc="left", fontsize=10)
        for panel in panels[1]:
            panel.set_xlabel("load, predictions left out")
        for panel in panels[:, 0]:
            panel.set_ylabel("cost of the prediction of a size, in mean sizes")
        patches = [Patch(color=colour, label=NAMES[name]) for name, colour in zip(CANDIDATES, COLOURS, strict=True)]
        figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(
            "Who should be predicted?  The cheapest policy, and by how much it is cheaper than predicting nobody",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _draw_panel(panel: plt.Axes, found: dict[str, Any], where: str, told: str) -> None:
    places = {(one["load"], one["expensive"]): one for one in found["places"] if one["where"] == where}
    names = list(CANDIDATES)
    grid = [[names.index(places[load, cost]["winners"][told]) for load in LOADS] for cost in COSTS[where]]
    panel.pcolormesh(grid, cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=len(names) - 0.5, edgecolors="white", lw=2)
    for (i, cost), (j, load) in itertools.product(enumerate(COSTS[where]), enumerate(LOADS)):
        best = places[load, cost]["best"]
        saved = 1 - best[places[load, cost]["winners"][told]]["cost"] / best["fcfs"]["cost"]
        if saved > 0:
            panel.text(j + 0.5, i + 0.5, f"{100 * saved:.0f} %", ha="center", va="center", fontsize=8)
    panel.set_xticks(np.arange(len(LOADS)) + 0.5, [f"{load:g}" for load in LOADS])
    panel.set_yticks(np.arange(len(COSTS[where])) + 0.5, [f"{cost:g}" for cost in COSTS[where]])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def report(found: dict[str, Any], console: Console) -> None:
    """Print who wins where, and the checks."""
    for told, (where, costs) in itertools.product(AVAILABLE, COSTS.items()):
        table = Table("load", *(f"{cost:g} s" for cost in costs), title=f"cheapest policy, {where}, {told}")
        for load in LOADS:
            row = [one for one in found["places"] if one["where"] == where and one["load"] == load]
            best = [one["best"][one["winners"][told]] for one in row]
            table.add_row(f"{load:g}", *(f"{one['spec']} {one['cost']:.4g}" for one in best))
        console.print(table)
    table = Table("policy", "exact", "simulated", "95 %", title=found["checks"]["predictor_cost"])
    for one in found["checks"]["found"]:
        low, high = one["ci95"]
        table.add_row(one["spec"], f"{one['exact']:.4f}", f"{one['mean_response_time']:.4f}", f"{low:.4f}, {high:.4f}")
    console.print(table)


if __name__ == "__main__":
    study(__doc__, OUT, tasks, play, tell, draw, report, work="jobs", width=160, jobs=200_000, seeds=10)
