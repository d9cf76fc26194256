"""The survey's tables again: each printed number beside the exact one and a simulated one, and a verdict by rule.

The exact value decides about the print; the simulation, which knows no formula, vouches for the exact value.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.evaluation.results import Result, result
from llmqueue_gym.evaluation.statistics import Estimate, across_seeds, control_variate
from llmqueue_gym.evaluation.survey_tables import FLOOR, LEVELS, PRINT_JOBS, QUADRATURE, TABLES, Column
from llmqueue_gym.policies import policy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory import analyse

if TYPE_CHECKING:
    from rich.table import Table

RIGHT, NOISE, WRONG = "right", "simulation noise of the print", "print is wrong"
JOBS, SEEDS = 8_000_000, 16  # jobs behind each simulated number, and the independent runs that they are dealt out to
LONGEST = 500_000  # jobs in a run; of more jobs there are more runs, so that memory does not grow, and Ctrl-C is heard
# The first jobs of a run met a queue that had been empty. The last ones are overtaken by nobody, which can only flatter
# a policy that lets jobs overtake; the effect is too small to be measured, and cutting them off costs little.
EDGE = 0.1
THRESHOLDS = 0.05, 60.0  # between which the optimal one is looked for

Cell = dict[str, Any]
Progress = Callable[[int, int], None]  # (done, total)


def reproduce(table: str, jobs: int = JOBS, seed: int = 0, progress: Progress | None = None) -> Result:
    """Set every number of a table of the survey beside its exact and its simulated value.

    Args:
        table: "table1", "table2", "table3", "closed-forms" or "all".
        jobs: jobs behind each simulated number, in 16 independent runs, or more where these would be long.
        seed: of the simulations.
        progress: called with the work done and the work in all.

    Returns:
        "cells", a list of dicts (see `compare` and `_simulated` for the keys), and "counts" of the verdicts.

    Raises:
        BadInput: there is no such table, or there are too few jobs to deal out.
    """
    if table not in TABLES and table != "all":
        raise BadInput(f"unknown table {table!r}; {nearest(table, [*TABLES, 'all'])}")
    if jobs < 100 * SEEDS:
        raise BadInput(f"jobs={jobs}: {SEEDS} independent runs need at least {100 * SEEDS}")
    rows = [(name, load) for name in (TABLES if table == "all" else [table]) for load in TABLES[name].loads]
    count = max(SEEDS, -(-jobs // LONGEST))
    seeds = range(seed * count, (seed + 1) * count)
    total, done = len(rows) * (1 + count), 0

    def report() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    cells: list[Cell] = []
    # Threads will do: compiled kernels and random generators run without the interpreter's lock.
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for name, load in rows:
            row = compare(name, load)
            report()
            runs = [pool.submit(_play, name, row, jobs // count, one) for one in seeds]
            for _ in as_completed(runs):
                report()
            cells += _simulated(row, [run.result() for run in runs])
    finally:
        pool.shutdown(cancel_futures=True)  # who is interrupted waits for the runs that have begun, and no others
    counts = Counter(cell["verdict"] for cell in cells)
    values = {"table": table, "jobs": jobs, "counts": {verdict: counts[verdict] for verdict in (RIGHT, NOISE, WRONG)}}
    return result({**values, "rule": RULE, "cells": cells}, seeds=seeds)


RULE = (
    f"A printed number is right if, its rounding apart, it is within {QUADRATURE:.2%} of the exact one, or, where the "
    f"print calls it simulated, within {LEVELS[0]} standard errors; up to {LEVELS[1]} standard errors it is noise. The "
    f"standard error is that of a mean over {PRINT_JOBS:.0e} jobs in heavy traffic, and at least {FLOOR:.1%}."
)


def verdict(printed: float, exact: float, rounding: float = 0.0, error: float | None = None) -> str:
    """Judge a printed number.

    Args:
        printed: the number.
        exact: what it should be.
        rounding: half a unit of its last digit.
        error: relative standard error of the number if it was simulated; None if a formula gave it.
    """
    gap = max(abs(printed - exact) - rounding, 0.0) / exact
    if error is None:
        return RIGHT if gap <= QUADRATURE else WRONG
    return RIGHT if gap <= LEVELS[0] * error else NOISE if gap <= LEVELS[1] * error else WRONG


def print_error(size: str, load: float) -> float:
    """Return the relative standard error granted to a number that the print has simulated.

    The workload in heavy traffic is a reflected Brownian motion of drift 1 - load and variance lambda E[S^2]; the mean
    over n jobs then has the relative standard error sqrt(2 lambda^2 E[S^2] / n) / (1 - load).
    """
    law = size_law(size)
    rate = load / law.mean
    return max(FLOOR, float(np.sqrt(2 * rate**2 * law.moment(2) / PRINT_JOBS)) / (1 - load))


def compare(name: str, load: float) -> list[Cell]:
    """Return the cells of one row of a table: print, exact value and verdict, with nothing simulated.

    Keys: table, load, column, policy, predictor, size, source; threshold (the optimal one, or None); printed, exact;
    error (printed / exact - 1); verdict; where that is not "right", threshold_of_print (the threshold below the
    optimal one that has the printed mean, if there is one); where the print is wrong, a note, if the cause is known.
    """
    return [_compared(name, load, column) for column in TABLES[name].columns]


def _compared(name: str, load: float, column: Column) -> Cell:
    table = TABLES[name]
    threshold = _optimal_threshold(table.size, column.policy, column.predictor, load) if column.threshold else None
    exact = _exact(table.size, column.policy, column.predictor, load, threshold)
    text = table.printed(load, column)
    if column.form:
        printed, rounding = column.form(load, threshold or 0.0), 0.0
    else:
        printed, rounding = float(text or "nan"), 0.5 * 10.0 ** -len((text or "").partition(".")[2])
    error = print_error(table.size, load) if column.source == "simulation" else None
    cell = {
        "table": name,
        "load": load,
        "column": column.heading,
        "policy": column.policy,
        "predictor": column.predictor,
        "size": table.size,
        "source": column.source,
        "threshold": threshold,
        "printed": printed,
        "exact": exact,
        "error": printed / exact - 1,
        "verdict": verdict(printed, exact, rounding, error),
    }
    if cell["verdict"] != RIGHT:
        if threshold is not None:
            cell["threshold_of_print"] = _threshold_of(cell)
        if cell["verdict"] == WRONG and column.heading in table.notes:
            cell["note"] = table.notes[column.heading]
    return cell


@cache  # tables 1 and 2 share columns
def _exact(size: str, name: str, told: str, load: float, threshold: float | None) -> float:
    """Return the exact mean response time."""
    found = analyse(policy(_spec(name, threshold)), _law(size), predictor(told), load, method="formula", by_size=False)
    return found.mean_response_time


@cache
def _law(size: str) -> Distribution:
    return size_law(size)


def _spec(name: str, threshold: float | None) -> str:
    return name if threshold is None else f"{name}:threshold={threshold!r}"


@cache
def _optimal_threshold(size: str, name: str, told: str, load: float) -> float:
    def mean(log_threshold: float) -> float:
        return _exact(size, name, told, load, float(np.exp(log_threshold)))

    found = minimize_scalar(mean, bounds=np.log(THRESHOLDS), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def _threshold_of(cell: Cell) -> float | None:
    """Return the threshold below the optimal one that has the printed mean, if there is one."""

    def gap(threshold: float) -> float:
        return _exact(*(cell[key] for key in ("size", "policy", "predictor", "load")), threshold) - cell["printed"]

    low, high = THRESHOLDS[0], cell["threshold"]
    return float(brentq(gap, low, high)) if gap(low) > 0 > gap(high) else None


def _play(name: str, row: list[Cell], jobs: int, seed: int) -> dict[str, float]:
    """Return the mean response time of each column, and of FCFS, in one run of jobs that all columns share."""
    size, load = TABLES[name].size, row[0]["load"]
    means, kept = {}, slice(int(EDGE * jobs), jobs - int(EDGE * jobs))
    told = {cell["predictor"] for cell in row}
    where = {one: Scenario("mg1", size=size, predictor=one, load=load, n_jobs=jobs) for one in told}
    drawn = {one: scenario.draw(seed) for one, scenario in where.items()}
    for heading, cell in [("fcfs", {**row[0], "policy": "fcfs", "threshold": None}), *((c["column"], c) for c in row)]:
        played = where[cell["predictor"]].system.simulate(
            drawn[cell["predictor"]], policy(_spec(cell["policy"], cell["threshold"]))
        )
        means[heading] = float(played.response_times[kept].mean())
    return means


def _simulated(row: list[Cell], runs: list[dict[str, float]]) -> Iterator[Cell]:
    """Yield the cells of a row with simulated, ci95, ci99.9, and whether the exact value lies in the latter.

    FCFS on the same jobs, whose exact mean is known, is the control variate of every other policy.
    """
    law, load = size_law(row[0]["size"]), row[0]["load"]
    fcfs = law.mean + load / law.mean * law.moment(2) / (2 * (1 - load))
    for cell in row:
        values = [run[cell["column"]] for run in runs]
        if cell["policy"] == "fcfs":
            estimate: Estimate = across_seeds(values)
        else:
            estimate = control_variate(values, [run["fcfs"] for run in runs], fcfs)
        wide = estimate.at(0.999)
        ends = {"ci95": [estimate.low, estimate.high], "ci99.9": [wide.low, wide.high]}
        yield {**cell, "simulated": estimate.mean, **ends, "agrees": bool(wide.low <= cell["exact"] <= wide.high)}


def table(found: Result) -> "Table":
    """Return what `reproduce` found as a table for a terminal of 80 columns.

    "!" stands where exact and simulated value disagree.
    """
    from rich import box
    from rich.table import Table

    counts = ", ".join(f"{count} {verdict}" for verdict, count in found["counts"].items() if count)
    shown = Table(title=f"{found['table']}: {counts}", caption=found["rule"], box=box.SIMPLE_HEAD, padding=0)
    shown.title_justify = shown.caption_justify = "left"
    for heading in ("load", "column", "print", "exact", "off by", "simulated, 95 %", "print is"):
        shown.add_column(heading, justify="left" if heading in ("column", "print is") else "right")
    words = {RIGHT: "[green]right[/]", NOISE: "[yellow]noise[/]", WRONG: "[red]wrong[/]"}
    before: Cell = {}
    for cell in found["cells"]:
        if found["table"] == "all" and cell["table"] != before.get("table"):
            shown.add_row("", f"[bold]{cell['table']}[/]")
        half = 0.5 * (cell["ci95"][1] - cell["ci95"][0])
        shown.add_row(
            "" if cell["load"] == before.get("load") else f"{cell['load']:g}",
            cell["column"],
            f"{cell['printed']:.4f}",
            f"{cell['exact']:.4f}",
            f"{cell['error']:+.2%}",
            f"{cell['simulated']:.4f} ±{half:.4f}{'' if cell['agrees'] else '!'}",
            words[cell["verdict"]],
        )
        before = cell
    return shown
