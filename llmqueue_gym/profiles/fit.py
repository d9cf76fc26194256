"""Fit a roofline to measured iterations: max(floor, base + token * tokens) + pair * pairs + context * context.

The floor is base + token * knee, so that for a given knee the times are linear in four coefficients that are not
negative; the knee is searched for. What is minimised is the sum of squared relative errors. Every second iteration is
fitted, the others are held out: their errors are those of the very numbers in the profile. Both halves come from one
run, so that a load unlike it can fare worse.
"""

import os
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar, nnls

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.hardware import MODELS
from llmqueue_gym.profiles.iterations import Iterations, read_iterations

LEAST_ROWS = 20
KNEES = 40  # knees tried before the best of them is refined
ALIKE = 0.999  # of the variation of a column that the others explain: from here on its slope is not to be trusted
NOTHING = 1e-4  # share of the time, in the iteration where it is largest, below which a cost counts as none
COEFFICIENTS = ("floor", "base", "token", "pair", "context")


@dataclass(frozen=True)
class Errors:
    """Relative errors of predicted times, in percent."""

    mape: float  # mean absolute one
    p95: float  # 95th percentile of the absolute one
    bias: float  # mean one; positive where times are predicted too long


@dataclass(frozen=True)
class FitReport:
    """How well a profile fits.

    Attributes:
        rows: iterations in the table.
        coefficients: floor, base s; token, pair, context s for each.
        fitted: errors on the half that was fitted.
        held_out: errors on the other half.
        by_kind: mean absolute error of the held-out iterations that decode, read prompts, or do both, percent.
        warnings: what the measurements cannot tell, and what was assumed.
    """

    rows: int
    coefficients: dict[str, float]
    fitted: Errors
    held_out: Errors
    by_kind: dict[str, float]
    warnings: tuple[str, ...]


def fit(
    table: Iterations | str | os.PathLike[str],
    kv_tokens: int,
    name: str = "fitted",
    model: str = "not stated",
    gpu: str = "not stated",
    kv_bytes_per_token: float = float("nan"),
) -> tuple[Profile, FitReport]:
    """Return a profile with the form "roofline" for measured iterations, and how well it fits.

    Args:
        table: measured iterations, or a CSV file of them (see `profiles.iterations`).
        kv_tokens: tokens whose keys and values fit in memory; an engine tells it when it starts.
        name: of the profile.
        model: model served.
        gpu: GPUs of the replica.
        kv_bytes_per_token: see `Profile`; used where caches are moved. NaN takes that of the model, if its name is
            known to `profiles.hardware`.

    Raises:
        BadInput: a file that cannot be read, or too few iterations.
    """
    if not isinstance(table, Iterations):
        table = read_iterations(table)
    if len(table) < LEAST_ROWS:
        raise BadInput(f"{table.source} has {len(table)} iterations; a fit needs at least {LEAST_ROWS}")
    fitted, held_out = table.rows(slice(0, None, 2)), table.rows(slice(1, None, 2))
    numbers = roofline(fitted)
    report = FitReport(
        rows=len(table),
        coefficients=dict(zip(COEFFICIENTS, numbers.tolist(), strict=True)),
        fitted=_errors(fitted, numbers),
        held_out=_errors(held_out, numbers),
        by_kind={kind: _errors(held_out.rows(mask), numbers).mape for kind, mask in held_out.kinds().items()},
        warnings=(*table.notes, *_warnings(fitted, numbers)),
    )
    told = report.held_out
    if np.isnan(kv_bytes_per_token) and model in MODELS:
        kv_bytes_per_token = MODELS[model].kv_bytes_per_token
    made = Profile(
        name=name,
        model=model,
        gpu=gpu,
        form="roofline",
        numbers=numbers,
        kv_tokens=kv_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        source=f"roofline fitted to {len(fitted)} of {len(table)} iterations in {table.source}",
        error=f"mean absolute error {told.mape:.3g} %, 95th percentile {told.p95:.3g} %, bias {told.bias:.2g} %"
        " on the held-out half",
        estimated="; ".join(report.warnings),
    )
    return made, report


def roofline(table: Iterations) -> np.ndarray:
    """Return the five coefficients of the roofline with the least squared relative errors, s."""
    low, high = table.tokens.min(), table.tokens.max()
    knees = np.unique(np.append(np.geomspace(low, high, KNEES), 0.0))
    losses = [_solve(table, knee)[1] for knee in knees]
    best = int(np.argmin(losses))
    ends = knees[max(best - 1, 0)], knees[min(best + 1, len(knees) - 1)]
    knee = knees[best]
    if ends[0] < ends[1]:
        precise = {"xatol": 1e-7 * ends[1]}
        found = minimize_scalar(lambda x: _solve(table, x)[1], bounds=ends, method="bounded", options=precise)
        knee = found.x if found.fun < losses[best] else knee
    base, token, pair, context = _solve(table, knee)[0]
    return np.array([base + token * knee, base, token, pair, context])


def _solve(table: Iterations, knee: float) -> tuple[np.ndarray, float]:
    """Return the coefficients other than the floor for a given knee, and the root of the sum of squared errors."""
    columns = (np.ones(len(table)), np.maximum(table.tokens, knee), table.pairs, table.context)
    relative = np.stack(columns, axis=1) / table.seconds[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-300)
    reduced = np.asarray(np.linalg.qr(np.column_stack([relative / scale, np.ones(len(table))]), mode="r"))
    solution, loss = nnls(reduced[:, :-1], reduced[:, -1])
    return solution / scale, float(loss)


def _errors(table: Iterations, numbers: np.ndarray) -> Errors:
    relative = table.predict(numbers) / table.seconds - 1
    absolute = 100 * np.abs(relative)
    return Errors(float(absolute.mean()), float(np.percentile(absolute, 95)), float(100 * relative.mean()))


def _warnings(table: Iterations, numbers: np.ndarray) -> list[str]:
    """Return what the iterations that were fitted cannot tell."""
    warnings = []
    columns = {"tokens": table.tokens, "pairs": table.pairs, "context": table.context}
    varying = {name: column for name, column in columns.items() if np.ptp(column) > 0}
    for name in columns:
        if name not in varying:
            warnings.append(f"column {name} does not vary: its slope is a guess")
    constant = np.ones(len(table))
    for name, column in varying.items():
        others = [other for key, other in varying.items() if key != name]
        alone = _unexplained(table, column, [constant])
        if others and _unexplained(table, column, [constant, *others]) < (1 - ALIKE) * alone:
            warnings.append(f"column {name} goes with the others: how they share their cost is a guess")
    costs = dict(zip(columns, numbers[2:], strict=True))
    idle = [name for name, column in varying.items() if (costs[name] * column / table.seconds).max() < NOTHING]
    for name in idle:
        warnings.append(f"the slope of {name} came out as 0: the measurements show no cost of it")
    floor, base, token = numbers[:3]
    if "tokens" in varying and "tokens" not in idle:
        knee = (floor - base) / token
        if knee <= table.tokens.min():
            warnings.append(f"no floor seen: time grows from the smallest batch on, {table.tokens.min():g} tokens")
        elif knee >= table.tokens.max():
            warnings.append("no batch is larger than the floor reaches: measure larger ones")
    return warnings


def _unexplained(table: Iterations, column: np.ndarray, others: list[np.ndarray]) -> float:
    """Return what other columns leave of the sum of squares of one, all relative to the times."""
    design, aim = np.stack(others, axis=1) / table.seconds[:, None], column / table.seconds
    left = aim - design @ np.linalg.lstsq(design, aim, rcond=None)[0]
    return float(left @ left)
