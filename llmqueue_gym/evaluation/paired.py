"""Where policies stand that had the very same work, with intervals for means, 99th percentiles, ratios and ranks."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmqueue_gym.evaluation.bootstrap import Resamples, interval, rank_interval
from llmqueue_gym.evaluation.metrics import WORDS, amount
from llmqueue_gym.evaluation.statistics import Estimate

Row = dict[str, Any]
MeanOf = Callable[[np.ndarray], Estimate]  # of values `(n,)` of the jobs of a run


def place(name: str, values: Mapping[str, np.ndarray], resampled: Resamples, mean_of: MeanOf) -> Row:
    """Return where a policy stands: mean, p99, ratios and differences to the base, and ranks, all with intervals."""
    k, base = list(values).index(name), next(iter(values))
    latency, plain = values[name], values[base]
    row: Row = {"mean": _ends(mean_of(latency)), f"difference_to_{base}": _ends(mean_of(latency - plain))}
    row[f"mean_over_{base}"] = ratio_of_means(latency, plain, mean_of)
    row["p99"] = _between(_p99(latency), resampled.p99[..., k], resampled)
    with np.errstate(invalid="ignore", divide="ignore"):  # of shares of lost jobs, which have no percentiles
        ratios = resampled.p99[..., k] / resampled.p99[..., 0]
        row[f"p99_over_{base}"] = _between(float(np.float64(_p99(latency)) / _p99(plain)), ratios, resampled)
    for kind in KINDS:
        points = [_POINT[kind](latency) for latency in values.values()]
        low, high = rank_interval(getattr(resampled, kind), k, resampled.counts)
        row[f"{kind}_rank"] = {"rank": 1 + sum(p < points[k] for p in points), "low": low, "high": high}
    return row


def winner(
    kind: str,
    contenders: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
    resampled: Resamples,
    mean_of: MeanOf,
) -> dict[str, Any]:
    """Return the best contender by mean or by p99, and whether it is ahead of all others beyond its interval.

    Args:
        kind: "mean" or "p99".
        contenders: latencies by policy, those that may win.
        values: latencies by policy, in the order of `resampled`.
        resampled: see `resample`.
        mean_of: gives a mean its interval.
    """
    order, names = sorted(contenders, key=lambda name: _POINT[kind](contenders[name])), list(values)
    first = order[0]
    same = [name for name in order[1:] if np.allclose(values[name], values[first], rtol=1e-9)]
    others = [name for name in order[1:] if name not in same]
    over = {}
    for name in others:
        if kind == "mean":
            over[name] = ratio_of_means(values[first], values[name], mean_of)
        else:
            redone = resampled.p99[..., names.index(first)] / resampled.p99[..., names.index(name)]
            over[name] = _between(_p99(values[first]) / _p99(values[name]), redone, resampled)
    ties = [name for name in others if not over[name]["high"] < 1]
    points = {name: _POINT[kind](values[name]) for name in order}
    clear = bool(others) and not ties
    return {"policy": first, "clear": clear, "same": same, "ties": ties, "values": points, "over": over}


def sentence(kind: str, metric: str, found: Mapping[str, Any]) -> str:
    """Say who wins by how much, or that nobody clearly does."""
    first, values, what = found["policy"], found["values"], f"{kind} {WORDS[metric]}"
    name = " = ".join([first, *found["same"]])
    if not found["over"]:
        return f"{what}: {name} with {amount(metric, values[first])}, and nothing that differs to compare with"
    other = (found["ties"] or list(found["over"]))[0]
    less, most, least = (100 * (1 - found["over"][other][key]) for key in ("mean", "low", "high"))
    ends = f"95 % interval {least:.3g} to {most:.3g} %" if np.isfinite(least) else "too few requests for an interval"
    lead = f"{name} wins with" if found["clear"] else f"no clear winner, {name} is least with"
    words = f"{what}: {lead} {amount(metric, values[first])}, {less:.3g} % below {other} ({ends})"
    rest = len(found["ties"]) - 1
    return words + (f", and {rest} more cannot be told from it" if rest > 0 else "")


def ratio_of_means(a: np.ndarray, b: np.ndarray, mean_of: MeanOf) -> dict[str, float]:
    """Return mean(a) / mean(b) of latencies of the same requests, each `(n,)`, with its interval.

    The logarithm of the ratio has, to first order, the error of the mean of a / mean(a) - b / mean(b), so the interval
    is that of its mean and never goes below 0.
    """
    if not (a.mean() > 0 and b.mean() > 0):  # where no job is lost
        return dict.fromkeys(("mean", "low", "high"), float("nan"))
    ratio = float(a.mean() / b.mean())
    error = mean_of(a / a.mean() - b / b.mean())
    half = (error.high - error.low) / 2
    return {"mean": ratio, "low": ratio * float(np.exp(-half)), "high": ratio * float(np.exp(half))}


KINDS = ("mean", "p99")


def _p99(latency: np.ndarray) -> float:
    return float(np.percentile(latency, 99))


_POINT = {"mean": lambda latency: float(latency.mean()), "p99": _p99}


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def _between(point: float, table: np.ndarray, resampled: Resamples) -> dict[str, float]:
    low, high = interval(table, resampled.counts)
    return {"mean": point, "low": low, "high": high}
