"""Metrics of runs: one table from a name to a function of a run. To add one: add its line.

Times are of those who were served, the others have none; `served` says how many that are. What serving adds for a
language model is in `evaluation.serving`.
"""

from collections.abc import Callable

import numpy as np

from llmqueue_gym.systems import Run

Latency = Callable[[Run], np.ndarray]  # (n,), NaN where there is none


def _of_served(statistic: Callable[[np.ndarray], float], slowdown: bool = False) -> Callable[[Run], float]:
    def value(run: Run) -> float:
        times = (run.slowdowns if slowdown else run.response_times)[run.done]
        return float(statistic(times)) if len(times) else float("nan")

    return value


def _percentile(q: float) -> Callable[[Run], float]:
    return _of_served(lambda times: float(np.percentile(times, q)))


def _weighted(run: Run) -> float:
    done = run.done
    return float(np.average(run.response_times[done], weights=run.jobs["weight"][done])) if done.any() else float("nan")


def _span(run: Run) -> float:
    """Return the time from the first arrival to the last completion, s; NaN where nobody was served."""
    done = run.done
    last = run.outcome["completion"][done].max() if done.any() else np.nan
    return float(last - run.jobs["arrival"].min()) or float("nan")


def _mean_wait(run: Run) -> float:
    return float(np.nanmean(run.waits)) if run.done.any() else float("nan")


def _preemptions(run: Run) -> float:
    table = run.outcome if "preemptions" in (run.outcome.dtype.names or ()) else run.jobs
    return float(table["preemptions"].mean())


METRICS: dict[str, Callable[[Run], float]] = {
    "mean_response_time": _of_served(np.mean),  # s, as all times here
    "p50": _percentile(50),
    "p99": _percentile(99),
    "p99.9": _percentile(99.9),
    "max_response_time": _of_served(np.max),
    "weighted_mean_response_time": _weighted,
    "mean_slowdown": _of_served(np.mean, slowdown=True),
    "mean_wait": _mean_wait,  # until it first ran
    "preemptions_per_job": _preemptions,
    "served": lambda run: float(run.done.mean()),  # share of the jobs
    "throughput": lambda run: float(run.done.sum()) / _span(run),  # jobs served per s
    "work_served": lambda run: float(run.sizes[run.done].sum() / run.sizes.sum()),  # share of the work
    "utilisation": lambda run: float(run.sizes[run.done].sum()) / _span(run),  # servers at work, if of speed 1
}

# Of each job; what can be compared, see `System.metrics`.
LATENCIES: dict[str, Latency] = {
    "response_time": lambda run: run.response_times,
    "slowdown": lambda run: run.slowdowns,
    "wait": lambda run: run.outcome["start"] - run.jobs["arrival"],
}
LOSSES: dict[str, Latency] = {"lost": lambda run: (~run.done).astype(float)}

WORDS = {  # of what is compared; the first that a system has is taken where nothing is told
    "e2e": "end-to-end time",
    "response_time": "response time",
    "lost": "share of jobs lost",
    "slowdown": "slowdown",
    "wait": "wait",
    "ttft": "time to first token",
    "tpot": "time per output token",
    "away": "time at tools and people",
    "longest_gap": "longest gap between tokens",
    "normalised_latency": "time per token end to end",
}
_PURE = ("lost", "slowdown")  # numbers without a unit


def measure(run: Run, warmup: float = 0.0) -> dict[str, float]:
    """Return every metric of a run by name, the first share of the jobs left out."""
    run = run.after_warmup(warmup) if warmup else run
    return {name: metric(run) for name, metric in METRICS.items()}


def amount(metric: str, value: float) -> str:
    """Return a value of a metric in words, in its unit."""
    return f"{value:.3g}" if metric in _PURE else seconds(value)


def seconds(value: float) -> str:
    """Return a time in s with three digits, in ms where it is short."""
    if abs(value) >= 100:
        return f"{value:,.0f} s"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{1e3 * value:.3g} ms"
