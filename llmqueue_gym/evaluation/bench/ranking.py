"""From the scores of runs to a ranking. Pure functions of numbers; nothing is played here.

The score of a run is (FCFS - x) / (FCFS - bound), the share of what is to be gained over first come first served that
a policy gains: 0 is FCFS, 1 is the bound of the track, which is told the true sizes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmqueue_gym.evaluation.statistics import Estimate, interquartile_mean, stratified_bootstrap

BASE = "fcfs"
Row = dict[str, Any]


def scores(fcfs: np.ndarray, policy: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Return the scores of runs from their mean response times, all of one shape."""
    return (fcfs - policy) / (fcfs - bound)


def ranking(score: Mapping[str, np.ndarray], p99_ratio: Mapping[str, np.ndarray]) -> list[Row]:
    """Return a row for each policy, best first: interquartile means over all cases with bootstrap intervals.

    Args:
        score: policy -> `(runs, cases)`.
        p99_ratio: likewise, 99th percentile over that of FCFS.
    """
    rows = [
        {
            "policy": name,
            "score": interval(stratified_bootstrap(score[name])),
            "p99_ratio": interval(stratified_bootstrap(p99_ratio[name])),
        }
        for name in score
    ]
    return sorted(rows, key=lambda row: -row["score"]["mean"])


def middle(score: np.ndarray) -> float:
    """Return the interquartile mean of scores `(runs, cases)`."""
    return interquartile_mean(score)


def interval(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as it is stored."""
    return {"mean": float(estimate.mean), "low": float(estimate.low), "high": float(estimate.high)}
