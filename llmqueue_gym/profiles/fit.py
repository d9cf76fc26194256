"""Fit a roofline to measured iterations: max(floor, base + token * tokens) + pair * pairs + context * context.

The floor is base + token * knee, so that for a given knee the times are linear in four coefficients that are not
negative; the knee is searched for. What is minimised is the sum of squared relative errors. Iterations that take far
more or less than the others lead one to expect are left out before, with a word, as one of 0.03 ms among thousands of
10 ms would weigh more than all of them. Every second iteration is fitted, the others are held out: their errors are
those of the very numbers in the profile. Both halves come from one run, so that a load unlike it can fare worse.
"""

import os
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar, nnls

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.iterations import Iterations, read_iterations
from llmqueue_gym.profiles.models import MODELS

LEAST_ROWS = 20
KNEES = 40  # knees tried before the best of them is refined
ALIKE = 0.999  # of the variation of a column that the others explain: from here on its slope is not to be trusted
SAME = 1e-9  # share of the times by which errors of fits may differ from rounding
NOTHING = 1e-4  # share of the time, in the iteration where it is largest, below which a cost counts as none
SCREENED = 10_000  # iterations by which is seen what is usual
STARTS, FEW, MANY = 30, 8, 100  # fits, of which the best is taken, with each number of iterations
ROUNDS = 30  # of weighting anew
APART = 2.0  # times as long or as short as expected at least, and ...
SPREADS = 6.0  # ... so many standard deviations away on a log scale, or ...
ANYWAY = 5.0  # ... times as long or short, however they scatter: then an iteration is left out
TOO_MANY = 0.1  # share of them from which on the table is refused
ROUGH = 15.0  # percent; mean error from which on there is a warning
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
        left_out: those of them that take far more or less than the others lead one to expect.
        coefficients: floor, base s; token, pair, context s for each.
        fitted: errors on the half that was fitted.
        held_out: errors on the other half.
        by_kind: mean absolute error of the held-out iterations that decode, read prompts, or do both, percent.
        warnings: what the measurements cannot tell, and what was assumed.
    """

    rows: int
    left_out: int
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
            known to `profiles.models`.

    Raises:
        BadInput: a file that cannot be read, too few iterations, or too many that have nothing in common.
    """
    if not isinstance(table, Iterations):
        table = read_iterations(table, kv_tokens)
    if len(table) < LEAST_ROWS:
        raise BadInput(f"{table.source} has {len(table)} iterations; a fit needs at least {LEAST_ROWS}")
    rows, expected = len(table), _expected(table)
    strays, far = _strays(table, expected)
    table = table.rows(np.delete(np.arange(rows), far))
    fitted, held_out = table.rows(slice(0, None, 2)), table.rows(slice(1, None, 2))
    numbers = roofline(fitted)
    report = FitReport(
        rows=rows,
        left_out=len(far),
        coefficients=dict(zip(COEFFICIENTS, numbers.tolist(), strict=True)),
        fitted=_errors(fitted, numbers),
        held_out=_errors(held_out, numbers),
        by_kind={kind: _errors(held_out.rows(mask), numbers).mape for kind, mask in held_out.kinds().items()},
        warnings=(*table.notes, *strays, *_warnings(fitted, numbers), *_rough(held_out, numbers)),
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
        source=f"roofline fitted to {len(fitted)} of {rows} iterations in {table.source}",
        error=f"mean absolute error {told.mape:.3g} %, 95th percentile {told.p95:.3g} %, bias {told.bias:.2g} %"
        " on the held-out half",
        estimated="; ".join(report.warnings),
    )
    return made, report


def _expected(table: Iterations) -> np.ndarray:
    """Return the times `(n,)`, s, that most iterations agree on: by Tukey's M-estimator of relative errors.

    Errors are relative to what is expected, not to what was measured, so that a far too short time weighs no more than
    others. It starts from the best of many fits to a few iterations each, most of which have met no slip.
    """
    some = table.rows(slice(None, None, 1 + len(table) // SCREENED))
    rng = np.random.default_rng(0)
    sizes = [FEW, min(max(FEW, len(some) // 20), MANY)] * STARTS  # few are clean more often, more tell slopes better
    starts = [roofline(some.rows(rng.choice(len(some), size, replace=False))) for size in sizes]
    numbers = min(starts, key=lambda start: float(np.median(_error(some, start))))
    for _ in range(ROUNDS):
        expected = _positive(some.predict(numbers))
        off = np.abs(some.seconds / expected - 1)
        usual = max(4.685 * 1.4826 * float(np.median(off)), 1e-9)
        before, weights = numbers, np.maximum(1 - (off / usual) ** 2, 0) / expected
        numbers = roofline(some, weights)
        if np.allclose(numbers, before, rtol=1e-3, atol=0):
            break
    return _positive(table.predict(numbers))


def _positive(times: np.ndarray) -> np.ndarray:
    return np.maximum(times, 1e-9)


def _error(table: Iterations, numbers: np.ndarray) -> np.ndarray:
    """Return by how much the logarithms of predicted and measured times differ `(n,)`."""
    return np.abs(np.log(table.seconds / _positive(table.predict(numbers))))


def _strays(table: Iterations, expected: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return a warning of the iterations that take far more or less than expected, if there are any, and their rows.

    Raises:
        BadInput: there are too many.
    """
    apart = np.abs(np.log(table.seconds / expected))
    usual = SPREADS * 1.4826 * float(np.median(apart))
    far = np.flatnonzero(apart > max(np.log(APART), min(usual, np.log(ANYWAY))))
    if not len(far):
        return [], far
    example = f"row {far[0] + 1} takes {1e3 * table.seconds[far[0]]:.3g} ms for {1e3 * expected[far[0]]:.3g}"
    told = f"{len(far):,} of {len(table):,} iterations take far more or less than the others would: {example}"
    if len(far) > TOO_MANY * len(table):
        raise BadInput(
            f"{table.source}: {told}; nothing is fitted to that (of the model a token costs the same wherever it is; "
            "vLLM times iterations wholly only with --no-async-scheduling; leave out those in which it compiles)"
        )
    return [f"left out, {told}"], far


def _rough(table: Iterations, numbers: np.ndarray) -> list[str]:
    """Return a warning where the profile is off by much on the held-out iterations."""
    error = _errors(table, numbers).mape
    return [f"the fit is rough, {error:.3g} % off on average"] if error > ROUGH else []


def roofline(table: Iterations, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the five coefficients of the roofline with the least squared relative errors, s.

    Args:
        table: iterations.
        weights: of errors `(n,)`, 1/s, in place of one over the times.
    """
    weights = 1 / table.seconds if weights is None else weights
    low, high = table.tokens.min(), table.tokens.max()
    knees = np.unique(np.append(np.geomspace(low, high, KNEES), 0.0))
    losses = np.array([_solve(table, knee, weights)[1] for knee in knees])
    same = SAME * float(np.linalg.norm(table.seconds * weights))
    best = int(np.flatnonzero(losses <= losses.min() + same)[0])  # the simplest, where rounding alone tells them apart
    ends = knees[max(best - 1, 0)], knees[min(best + 1, len(knees) - 1)]
    knee = knees[best]
    if ends[0] < ends[1]:
        precise = {"xatol": 1e-7 * ends[1]}
        found = minimize_scalar(lambda x: _solve(table, x, weights)[1], bounds=ends, method="bounded", options=precise)
        knee = found.x if found.fun < losses[best] - same else knee
    base, token, pair, context = _solve(table, knee, weights)[0]
    return np.array([base + token * knee, base, token, pair, context])


def _solve(table: Iterations, knee: float, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the coefficients other than the floor for a given knee, and the root of the sum of squared errors."""
    columns = (np.ones(len(table)), np.maximum(table.tokens, knee), table.pairs, table.context)
    relative = np.stack(columns, axis=1) * weights[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-300)
    reduced = np.asarray(np.linalg.qr(np.column_stack([relative / scale, table.seconds * weights]), mode="r"))
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
