"""Which model should answer a call: by prediction, by verification, by load, or by feedback?

Three parts, all of them played by the system `model-choice`:

* accuracy against mean time in system, as the load grows: Llama 1B with 4 seats and 70B with 16, which keep up with all
  calls alone up to loads of .79 and .21. Each family of rules has a parameter that leads from one end to the other;
  what the family is worth at a load is the area that it dominates, time up to 20 s and accuracy from that of 1B on,
  over the whole of that;
* RouteLLM's cost at equal quality: its published answers of Mixtral-8x7B and GPT-4 to GSM8K, in their order, with
  prices as in its paper and seats for all. Predictions that the strong model alone is right have an AUC; what calls
  cost where accuracy is 95 % of the strong model's, and where it is all of it, over what the strong model costs;
* feedback against predictions: four kinds of calls that differ in difficulty, of which users say with 10 % errors
  whether the answer was right. The cost of rules that read predicted quality, by its AUC, beside that of a bandit
  that reads feedback on the kind alone, and of both together.

Writes `which_model_for_a_call.json`, `.svg` and `.png` into `results`; some minutes on two cores. Without the
published answers the second part is left out.
"""

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from study import study

from llmqueue_gym.boards.recorded import data_folder
from llmqueue_gym.evaluation import Scenario, across_seeds
from llmqueue_gym.evaluation.tradeoff import cost_at, hypervolume
from llmqueue_gym.workloads.answered import RecordedCalls
from llmqueue_gym.workloads.traces.routing import load_answers

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "which_model_for_a_call"
FIRST_SEED = 700
LOADS = (0.1, 0.2, 0.3, 0.5, 0.7)
LATEST = 20.0  # s, of the box in which areas are measured
PAIR = {"models": "llama-1b:seats=4/llama-70b:seats=16", "usd": 0.0}
LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)
FULL = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5)
WEIGHTS = (0.5, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50, 100)
FAMILIES = {  # rules, and fields of the system
    "random-share": [(f"random-share:share={k / 14:.3f}", {}) for k in range(15)],
    "win-threshold": [(f"win-threshold:threshold={level}", {}) for level in LEVELS],
    "cascade": [(f"cascade:level={level}", {}) for level in (*LEVELS, 0.95)],
    "effort-by-load": [(f"effort-by-load:low={high / 2},high={high}", {}) for high in FULL],
    "hedge": [("hedge", {"passes": level}) for level in (0.0, *LEVELS, 1.0)],
    "least-cost": [("least-cost", {"wrong": float(weight)}) for weight in WEIGHTS],
}
AUCS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
QUANTILES = np.linspace(0, 1, 41)
PUBLISHED = {"models": "mixtral-8x7b:seats=1024/gpt-4-1106:seats=1024", "load": 0.01}
CLAIMED = {"times less cost, over": 2.0, "cost saved on GSM8K at 95 %": 0.35}
KINDS = {"questions": "rasch:spread=3,kinds=4,between=0.8", "load": 0.3}
LEARNERS = ("least-cost", "win-threshold", "bandit-cost", "bandit-cost:prior=5", "bandit-cost:prior=50", "weakest")
LEARNERS += ("strongest",)
COLOURS = ("#9a9a9a", "#3f86c0", "#e9a03b", "#7a5ca8", "#d1495b", "#2a9d6f", "#154b7f")


def tasks(options: argparse.Namespace) -> list[Any]:
    """Return the cells: what is played, and where."""
    sizes = options.jobs, options.seeds
    parts = [("front", load, *sizes) for load in LOADS]
    if answers() is not None:
        parts += [("published", auc, *sizes) for auc in AUCS]
    return [*parts, *(("feedback", auc, *sizes) for auc in AUCS)]


def play(task: tuple[str, float, int, int]) -> dict[str, Any]:
    """Return what came of a cell."""
    part, at, jobs, seeds = task
    return {"part": part, **{"front": front, "published": published, "feedback": feedback}[part](at, jobs, seeds)}


def front(load: float, jobs: int, seeds: int) -> dict[str, Any]:
    """Return mean time and accuracy of each rule at a load, and the area of each family."""
    rows, areas = [], {}
    scenario = Scenario("model-choice", load=load, n_jobs=jobs, **PAIR)
    drawn = [scenario.draw(FIRST_SEED + k) for k in range(seeds)]
    least = scenario.system.served[0].right
    for family, rules in FAMILIES.items():
        points = np.zeros((len(rules), seeds, 2))
        for r, (rule, fields) in enumerate(rules):
            here = replace(scenario, **fields)
            policy = here.policy(rule)
            for k, work in enumerate(drawn):
                run = here.system.simulate(work, policy, **here.facts(policy)).after_warmup()
                points[r, k] = run.response_times.mean(), run.outcome["right"].mean()
            time, accuracy = points[r].mean(axis=0)
            rows.append({"family": family, "rule": rule, **fields, "time": time, "accuracy": accuracy})
        whole = LATEST * (1 - least)
        areas[family] = [hypervolume(*points[:, k].T, LATEST, least) / whole for k in range(seeds)]
    best = max(areas, key=lambda family: np.mean(areas[family]))
    told = []
    for family, values in areas.items():
        own, lead = across_seeds(values), across_seeds(np.array(areas[best]) - np.array(values))
        told.append(
            {
                "family": family,
                "area": own.mean,
                "ci95": [own.low, own.high],
                "behind_best": lead.mean,
                "behind_ci95": [lead.low, lead.high],
            }
        )
    return {"load": load, "best": best, "areas": told, "points": rows}


@cache
def answers() -> Any:
    """Return RouteLLM's answers to GSM8K, or None where they are not at hand."""
    folder = data_folder()
    file = None if folder is None else folder / "route_routellm.csv.gz"
    return load_answers(file).of("gsm8k") if file is not None and file.is_file() else None


def published(auc: float, jobs: int, seeds: int) -> dict[str, Any]:
    """Return what calls cost at equal quality, over what the strong model costs, by a threshold on predicted wins."""
    calls = RecordedCalls(answers(), order="rows")
    scenario = Scenario("model-choice", workload=calls, auc=auc, n_jobs=len(calls.answers), **PUBLISHED)
    shares: dict[str, list[float]] = {"95 % of the strong model": [], "100 % of the strong model": []}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        drawn = scenario.draw(seed)
        strong = scenario.system.numbers(scenario.system.simulate(drawn, scenario.policy("strongest")))
        points = []
        for threshold in [*np.quantile(drawn.truth["win"], QUANTILES).tolist(), 2.0]:
            policy = scenario.policy(f"win-threshold:threshold={threshold!r}")
            told = scenario.system.numbers(scenario.system.simulate(drawn, policy))
            points.append((told["usd"], told["accuracy"]))
        for values, quality in zip(shares.values(), (0.95, 1.0), strict=True):
            values.append(cost_at(*np.array(points).T, quality * strong["accuracy"]) / strong["usd"])
    rows = []
    for name, values in shares.items():
        own = across_seeds(values)
        rows.append({"quality": name, "cost_over_strong": own.mean, "ci95": [own.low, own.high]})
    return {"auc": auc, "rows": rows}


def feedback(auc: float, jobs: int, seeds: int) -> dict[str, Any]:
    """Return the cost of rules that read predictions, feedback, or both."""
    scenario, costs = Scenario("model-choice", auc=auc, n_jobs=jobs, **KINDS), {}
    drawn = [scenario.draw(FIRST_SEED + k) for k in range(seeds)]
    for rule in LEARNERS:
        policy = scenario.policy(rule)
        runs = [scenario.system.simulate(work, policy, **scenario.facts(policy)).after_warmup() for work in drawn]
        costs[rule] = np.array([scenario.system.numbers(run)["cost"] for run in runs])
    rows = []
    for rule, values in costs.items():
        own, over = across_seeds(values), across_seeds(values / costs["bandit-cost"])
        ends = {"ci95": [own.low, own.high], "over_feedback": over.mean, "over_ci95": [over.low, over.high]}
        rows.append({"rule": rule, "cost": own.mean, **ends})
    return {"auc": auc, "rows": rows}


def tell(played: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the cells, and what follows from them."""
    parts = {part: [cell for cell in played if cell["part"] == part] for part in ("front", "published", "feedback")}
    return {
        "pair": PAIR,
        "published": PUBLISHED,
        "kinds": KINDS,
        "claimed": CLAIMED,
        "jobs": options.jobs,
        "cells": parts,
        "finding": findings(parts),
    }


def findings(parts: dict[str, Any]) -> dict[str, Any]:
    """Return who leads at each load, the AUC of RouteLLM's claims, and that at which feedback and predictions meet."""
    leads = {f"{cell['load']:g}": cell["best"] for cell in parts["front"]}
    found: dict[str, Any] = {"best_by_load": leads}
    aucs = [cell["auc"] for cell in parts["feedback"]]
    for rule in ("least-cost", "win-threshold"):
        ratios = [_row(cell["rows"], "rule", rule)["over_feedback"] for cell in parts["feedback"]]
        found[f"auc_from_which_{rule}_beats_feedback"] = crossing(aucs, ratios, 1.0)
    if parts["published"]:
        aucs = [cell["auc"] for cell in parts["published"]]
        for quality in ("95 %", "100 %"):
            name = f"{quality} of the strong model"
            shares = [_row(cell["rows"], "quality", name)["cost_over_strong"] for cell in parts["published"]]
            found[f"auc_for_half_the_cost_at {name}"] = crossing(aucs, shares, 1 / CLAIMED["times less cost, over"])
        shares = [_row(cell["rows"], "quality", "95 % of the strong model") for cell in parts["published"]]
        saved = CLAIMED["cost saved on GSM8K at 95 %"]
        found["auc_of_the_saving_claimed_on_GSM8K"] = crossing(
            aucs, [row["cost_over_strong"] for row in shares], 1 - saved
        )
    return found


def crossing(xs: list[float], ys: list[float], level: float) -> float | None:
    """Return the least x from which falling values are at a level for good, on straight lines; None where none is."""
    above = [k for k, y in enumerate(ys) if y > level]
    if not above:
        return float(xs[0])
    k = above[-1]
    if k == len(xs) - 1:
        return None
    return float(xs[k] + (xs[k + 1] - xs[k]) * (ys[k] - level) / (ys[k] - ys[k + 1]))


def _row(rows: list[dict[str, Any]], key: str, value: str) -> dict[str, Any]:
    return next(row for row in rows if row[key] == value)


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the four panels: fronts at a load, areas by load, RouteLLM's cost by AUC, feedback against predictions."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    parts = found["cells"]
    with plt.rc_context(style):
        figure, ((a, b), (c, d)) = plt.subplots(2, 2, figsize=(10.5, 8), layout="constrained")
        cell = parts["front"][2]
        for family, colour in zip(FAMILIES, COLOURS, strict=False):
            rows = [row for row in cell["points"] if row["family"] == family and row["time"] <= LATEST]
            rows.sort(key=lambda row: row["time"])
            a.plot(
                [r["time"] for r in rows], [r["accuracy"] for r in rows], "o-", ms=3, lw=1, color=colour, label=family
            )
            areas = [_row(one["areas"], "family", family) for one in parts["front"]]
            b.plot(LOADS, [row["area"] for row in areas], "o-", ms=3, color=colour, label=family)
            b.fill_between(LOADS, *np.array([row["ci95"] for row in areas]).T, color=colour, alpha=0.25, linewidth=0)
        a.set(xscale="log", xlabel="mean time in system, s", ylabel="share of right answers")
        a.set_title(f"rules of each family at load {cell['load']:g}", loc="left", fontsize=10)
        b.set(xlabel="load", ylabel="share of the area that is dominated")
        b.set_title(f"hypervolume: up to {LATEST:g} s, from 1B's accuracy on", loc="left", fontsize=10)
        b.legend(frameon=False, fontsize=8)
        if parts["published"]:
            aucs = [one["auc"] for one in parts["published"]]
            for quality, colour in zip(("95 %", "100 %"), COLOURS[1:], strict=False):
                rows = [_row(one["rows"], "quality", f"{quality} of the strong model") for one in parts["published"]]
                c.plot(aucs, [r["cost_over_strong"] for r in rows], "o-", ms=3, color=colour, label=f"at {quality}")
                c.fill_between(aucs, *np.array([r["ci95"] for r in rows]).T, color=colour, alpha=0.25, linewidth=0)
        c.axhline(0.5, color="#444444", lw=0.8)
        c.axhline(1 - CLAIMED["cost saved on GSM8K at 95 %"], color="#444444", lw=0.8, ls=":")
        c.set(xlabel="AUC of predicted wins", ylabel="USD a call, over the strong model's", ylim=(0, 1.05))
        c.set_title("RouteLLM's answers to GSM8K, at its quality", loc="left", fontsize=10)
        c.legend(frameon=False, fontsize=8)
        aucs = [one["auc"] for one in parts["feedback"]]
        for rule, colour in zip(LEARNERS, (*COLOURS[4:5], *COLOURS[1:4], *COLOURS[5:], COLOURS[0]), strict=True):
            rows = [_row(one["rows"], "rule", rule) for one in parts["feedback"]]
            d.plot(aucs, [r["cost"] for r in rows], "o-", ms=3, color=colour, label=rule)
            d.fill_between(aucs, *np.array([r["ci95"] for r in rows]).T, color=colour, alpha=0.25, linewidth=0)
        d.set(xlabel="AUC of predicted quality", ylabel="cost of a call, s")
        d.set_title("feedback by kind against predictions", loc="left", fontsize=10)
        d.legend(frameon=False, fontsize=8)
        for panel in (a, b, c, d):
            panel.spines[["top", "right"]].set_visible(False)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print areas, costs at equal quality, costs by AUC, and what follows."""
    table = Table(title="share of the area that is dominated: time up to 20 s, accuracy from 1B's on")
    table.add_column("load")
    for family in FAMILIES:
        table.add_column(family, justify="right")
    for cell in found["cells"]["front"]:
        rows = [_row(cell["areas"], "family", family) for family in FAMILIES]
        table.add_row(f"{cell['load']:g}", *(f"{r['area']:.3f} ({r['ci95'][0]:.3f}-{r['ci95'][1]:.3f})" for r in rows))
    console.print(table)
    for part, key, value, title in (
        ("published", "quality", "cost_over_strong", "USD over the strong model's at equal quality, GSM8K"),
        ("feedback", "rule", "cost", "cost of a call, s"),
    ):
        cells = found["cells"][part]
        if not cells:
            continue
        table = Table(title=title)
        table.add_column("AUC")
        for row in cells[0]["rows"]:
            table.add_column(row[key], justify="right")
        for cell in cells:
            words = [f"{r[value]:.3f} ({r['ci95'][0]:.3f}-{r['ci95'][1]:.3f})" for r in cell["rows"]]
            table.add_row(f"{cell['auc']:g}", *words)
        console.print(table)
    console.print(found["finding"])


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    study(
        __doc__ or "", OUT, tasks, play, tell, draw, report, first_seed=FIRST_SEED, jobs=2500, seeds=6,
        arguments=arguments, width=170,
    )  # fmt: skip


if __name__ == "__main__":
    main()
