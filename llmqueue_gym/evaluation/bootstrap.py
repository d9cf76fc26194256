"""Block bootstrap: intervals of percentiles and ranks, which have no plain standard error.

Requests that are neighbours depend on one another, so whole windows are drawn with replacement, the same ones for every
policy. Nobody knows how long the dependence lasts: of several numbers of windows the widest interval is taken. With few
windows plain percentiles of the resampled statistics are too narrow; they are taken further out, as Student's t asks.

Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015 (expanded
percentile interval).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

LEVEL = 0.95
COUNTS = (10, 20, 30)  # windows of a run; numbers for which windows would be shorter than 10 requests are left out
SHORTEST = 10
REPETITIONS = 600  # for each number of windows


class Resamples(NamedTuple):
    """Statistics of runs made of windows that were drawn anew, policy by policy.

    Attributes:
        counts: numbers of windows `(counts,)`; empty where there are fewer than 100 requests, which tell nothing.
        mean: `(counts, repetitions, policies)`.
        p99: `(counts, repetitions, policies)`.
    """

    counts: tuple[int, ...]
    mean: np.ndarray
    p99: np.ndarray


def resample(values: Mapping[str, np.ndarray], seed: int = 0) -> Resamples:
    """Return means and 99th percentiles of resampled runs.

    Args:
        values: latencies of the same requests by policy, each `(n,)`.
        seed: of the drawing.
    """
    n = len(next(iter(values.values())))
    counts = tuple(count for count in COUNTS if n >= SHORTEST * count)
    rng = np.random.default_rng(seed)
    means, p99s = np.empty((2, len(counts), REPETITIONS, len(values)))
    for c, count in enumerate(counts):
        window = np.arange(n) * count // n
        times = np.array([np.bincount(row, minlength=count) for row in rng.integers(count, size=(REPETITIONS, count))])
        sizes = np.bincount(window, minlength=count)
        for k, latency in enumerate(values.values()):
            means[c, :, k] = times @ np.bincount(window, latency, count) / (times @ sizes)
            order = np.argsort(latency)
            ordered, home = latency[order], window[order]
            for b in range(REPETITIONS):
                below = np.cumsum(times[b, home])
                p99s[c, b, k] = ordered[np.searchsorted(below, 0.99 * below[-1])]
    return Resamples(counts, means, p99s)


def interval(table: np.ndarray, counts: tuple[int, ...]) -> tuple[float, float]:
    """Return the widest of the intervals for a statistic `(counts, repetitions)`; NaN where there is none."""
    if not counts:
        return np.nan, np.nan
    ends = np.array([np.percentile(row, _ends(count)) for row, count in zip(table, counts, strict=True)])
    return float(ends[:, 0].min()), float(ends[:, 1].max())


def rank_interval(table: np.ndarray, k: int, counts: tuple[int, ...]) -> tuple[int, int]:
    """Return the ranks, from 1, that policy k has in resampled runs `(counts, repetitions, policies)`."""
    if not counts:
        return 1, table.shape[-1]
    low, high = interval(1.0 + (table < table[..., [k]]).sum(axis=-1), counts)
    return int(np.floor(low)), int(np.ceil(high))


def _ends(count: int) -> tuple[float, float]:
    """Return the two percentiles between which the interval lies."""
    low = 100 * float(ndtr(stdtrit(count - 1, (1 - LEVEL) / 2) * np.sqrt(count / (count - 1))))
    return low, 100 - low
