"""What a board shows of runs beside their cost: metrics of the system, by the path to them, as in `ttft.p99`.

Of rows by class or tenant, `by_class.interactive.in_time` is a number in the row of that name. A latency of a run that
leaves somebody undone is infinite, as a cost is.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmqueue_gym.boards.board import Board
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems import Run

Row = Mapping[str, Any]
ROWS = {"by_class": "class", "by_tenant": "tenant"}  # lists of rows, and the column that has their names
SOMETIMES = (*ROWS, "tenant_jain", "service_difference")  # not measured where there is one class or tenant


def measured(run: Run, paths: Sequence[str], objectives: Mapping[str, float]) -> dict[str, float]:
    """Return some metrics of a run by their paths; NaN where there is nothing to measure.

    Args:
        run: the run.
        paths: to the metrics.
        objectives: limits of the system, such as `ttft_slo`, for its metrics.

    Raises:
        BadInput: a path leads nowhere, or there is no such objective.
    """
    if not paths:
        return {}
    unknown = next((name for name in objectives if name not in run.system.objectives), None)
    if unknown is not None:
        raise BadInput(
            f"system {run.system.name!r} has no objective {unknown!r}; {nearest(unknown, run.system.objectives)}"
        )
    module = importlib.import_module(run.system.metrics)
    found = module.measure(run, **objectives)
    late = () if run.done.all() else tuple(module.LATENCIES)
    return {path: np.inf if path.partition(".")[0] in late else _at(found, path) for path in paths}


def _at(found: Row, path: str) -> float:
    """Return the number at the end of a path."""
    first, *rest = path.split(".")
    if first not in found and first not in SOMETIMES:
        raise BadInput(f"no metric {first!r}; {nearest(first, [*found, *SOMETIMES])}")
    value: Any = found.get(first)
    for name in rest:
        rows = {str(row[ROWS[first]]): row for row in value} if isinstance(value, list) else value
        value = None if rows is None else rows.get(name)
    if value is not None and not isinstance(value, (int, float)):
        raise BadInput(f"metric {path!r} is no number; its parts are {', '.join(map(str, value))}")
    return np.nan if value is None else float(value)


def kept(by_seed: Mapping[str, list[float]], paths: Sequence[str]) -> dict[str, list[float]]:
    """Return numbers by seed without those of the paths that were not measured."""
    return {name: values for name, values in by_seed.items() if name not in paths or not np.isnan(values).any()}


def heads(on: Board) -> dict[str, tuple[str, bool]]:
    """Return what is shown by its heading: the path to the metric, and whether it is shown over that of the base."""
    ratios = {f"{name} / {on.base}": (path, True) for name, path in on.ratios.items()}
    return {**ratios, **{name: (path, False) for name, path in on.shares.items()}}


def shown(on: Board, results: Mapping[str, Row], name: str) -> dict[str, list[float]]:
    """Return what is shown of a policy by heading, for each scenario the mean over seeds; NaN where there is none."""
    return {
        head: [_in_scenario(results[name], results[on.base], scenario, path, over) for scenario in on.fields]
        for head, (path, over) in heads(on).items()
    }


def _in_scenario(result: Row, base: Row, scenario: str, path: str, over: bool) -> float:
    own, other = (np.array(row["scenarios"][scenario].get(path, [np.nan]), float) for row in (result, base))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.mean(own / other if over else own))
