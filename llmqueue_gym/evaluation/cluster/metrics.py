"""Metrics of runs on several servers, where jobs may give up: one table from a name to a function of a run."""

from collections.abc import Callable

import numpy as np

from llmqueue_gym.evaluation.run import Run


def _served(run: Run) -> np.ndarray:
    return ~np.isnan(run.outcome["completion"])


def _of_served(statistic: Callable[[np.ndarray], float]) -> Callable[[Run], float]:
    def value(run: Run) -> float:
        times = run.response_times[_served(run)]
        return float(statistic(times)) if len(times) else float("nan")

    return value


def _span(run: Run) -> float:
    """Return the time from the first to the last arrival, s; NaN where there is one alone."""
    return float(run.jobs["arrival"].max() - run.jobs["arrival"].min()) or float("nan")


CLUSTER_METRICS: dict[str, Callable[[Run], float]] = {
    "mean_response_time": _of_served(np.mean),  # s, of jobs that were served, as all times here
    "p50": _of_served(lambda times: np.percentile(times, 50)),
    "p99": _of_served(lambda times: np.percentile(times, 99)),
    "mean_wait": lambda run: float(np.nanmean(run.outcome["start"] - run.jobs["arrival"])),  # until it first ran
    "served": lambda run: float(_served(run).mean()),  # share of the jobs
    "throughput": lambda run: float(_served(run).sum()) / _span(run),  # jobs served per s
    "work_served": lambda run: float(run.sizes[_served(run)].sum() / run.sizes.sum()),  # share of the work
    "preemptions_per_job": lambda run: float(run.outcome["preemptions"].mean()),
}


def measure_cluster(run: Run) -> dict[str, float]:
    """Return every metric of a run by name."""
    return {name: metric(run) for name, metric in CLUSTER_METRICS.items()}
