"""Metrics: one table from a name to a function of a run. To add one: add its line."""

from collections.abc import Callable

import numpy as np

from llmqueue_gym.evaluation.run import Run


def _span(run: Run) -> float:
    """Return the time from the first arrival to the last completion, s."""
    return float(run.outcome["completion"].max() - run.jobs["arrival"].min())


def _percentile(q: float) -> Callable[[Run], float]:
    return lambda run: float(np.percentile(run.response_times, q))


METRICS: dict[str, Callable[[Run], float]] = {
    "mean_response_time": lambda run: float(run.response_times.mean()),  # s, as all times here
    "p50": _percentile(50),
    "p99": _percentile(99),
    "p99.9": _percentile(99.9),
    "max_response_time": lambda run: float(run.response_times.max()),
    "weighted_mean_response_time": lambda run: float(np.average(run.response_times, weights=run.jobs["weight"])),
    "mean_slowdown": lambda run: float(run.slowdowns.mean()),
    "preemptions_per_job": lambda run: float(run.outcome["preemptions"].mean()),
    "throughput": lambda run: len(run) / _span(run),  # jobs per s
    "utilisation": lambda run: float(run.sizes.sum()) / _span(run),  # share of the span that the server works
}


def measure(run: Run) -> dict[str, float]:
    """Return every metric of a run by name."""
    return {name: metric(run) for name, metric in METRICS.items()}
