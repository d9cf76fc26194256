"""Intervals for noisy means: batch means, paired differences, control variates, and scores over many seeds and tasks.

Response times of successive jobs depend on one another, so their plain standard error is far too small. Means over
long batches hardly do; every interval here is Student's t over such batches or over seeds, save the bootstrap's.

Sources: Law, "Simulation Modeling and Analysis", chapters 9 and 11 (batch means, control variates); Agarwal et al.,
"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021 (rliable: interquartile mean,
stratified bootstrap, probability of improvement).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from llmqueue_gym.errors import BadInput

BATCHES = 30
WARMUP = 0.1  # share of the jobs that is dropped at the start
_SHORTEST = 10  # jobs in a batch; a shorter run has fewer batches


class Estimate(NamedTuple):
    """A mean and the interval that covers the true one with probability `level`.

    Attributes:
        mean: the point estimate.
        low: lower end; NaN, as `high`, where there are too few values to tell.
        high: upper end.
        level: confidence level, in (0, 1).
        n: number of batches or seeds behind it.
    """

    mean: float
    low: float
    high: float
    level: float
    n: int

    def at(self, level: float) -> "Estimate":
        """Return the interval at another level, from the same Student's t; not for bootstrap intervals."""
        half = (self.high - self.mean) * student(level, self.n - 1) / student(self.level, self.n - 1)
        return Estimate(self.mean, self.mean - half, self.mean + half, level, self.n)


def batches(values: ArrayLike, warmup: float = WARMUP, count: int = BATCHES) -> np.ndarray:
    """Return the means `(count,)` of successive batches of equal length, or one more, the warm-up removed.

    Args:
        values: one number per job `(n,)`, in order of arrival.
        warmup: share of the values that is dropped at the start.
        count: number of batches; fewer where a batch would have less than 10 values.
    """
    values = np.asarray(values, float)
    kept = values[int(warmup * len(values)) :]
    count = max(1, min(count, len(kept) // _SHORTEST))
    return np.array([batch.mean() for batch in np.array_split(kept, count)])


def batch_means(values: ArrayLike, level: float = 0.95, warmup: float = WARMUP, count: int = BATCHES) -> Estimate:
    """Return the steady-state mean of values `(n,)` that depend on their neighbours, such as response times."""
    return across_seeds(batches(values, warmup, count), level)


def cautious_batch_means(values: ArrayLike, level: float = 0.95, warmup: float = WARMUP) -> Estimate:
    """Return the mean with the widest of the intervals by 10, 20, 30 and 60 batches.

    Few batches tell little of their own spread, many are not independent, and under heavy-tailed sizes a batch without
    a giant looks calmer than it is. `experiments/do_the_intervals_cover.py` counts how often it holds the exact mean.
    """
    return max((batch_means(values, level, warmup, count) for count in (10, 20, 30, 60)), key=_width)


def _width(estimate: Estimate) -> float:
    return -np.inf if np.isnan(estimate.high) else estimate.high - estimate.low


def across_seeds(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the mean of independent values `(n,)`: one number per seed, or per long batch."""
    values = np.asarray(values, float)
    n = len(values)
    half = student(level, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    mean = float(values.mean())
    return Estimate(mean, float(mean - half), float(mean + half), level, n)


def paired_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the mean of a - b, each `(n,)`, by seed or by batch, with common random numbers behind both.

    Raises:
        BadInput: the two are not of one length.
    """
    return across_seeds(np.subtract(*_pair(a, b)), level)


def control_variate(values: ArrayLike, control: ArrayLike, exact: float, level: float = 0.95) -> Estimate:
    """Return the mean of values `(n,)`, corrected by a control whose exact mean is known, such as FCFS's.

    The correction is the regression of the values on the control, at its exact mean. The control's own interval is
    not needed; the slope that is estimated costs one degree of freedom.

    Args:
        values: by seed or by batch `(n,)`.
        control: from the same seeds or batches `(n,)`.
        exact: its exact mean.
        level: confidence level.

    Raises:
        BadInput: lengths differ, there are fewer than three, or the control does not vary.
    """
    values, control = _pair(values, control)
    n, spread = len(values), float(np.sum((control - control.mean()) ** 2))
    if n < 3 or spread == 0:
        raise BadInput(f"a control variate needs three or more values that differ, not {n}")
    slope = float(np.sum((control - control.mean()) * (values - values.mean()))) / spread
    offset = float(control.mean()) - exact
    mean = float(values.mean()) - slope * offset
    residuals = values - values.mean() - slope * (control - control.mean())
    variance = float(np.sum(residuals**2)) / (n - 2) * (1 / n + offset**2 / spread)
    half = student(level, n - 2) * np.sqrt(variance)
    return Estimate(mean, float(mean - half), float(mean + half), level, n - 1)


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half of all scores, of any shape: rliable's aggregate."""
    ordered = np.sort(scores, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def stratified_bootstrap(
    scores: ArrayLike,
    statistic: Callable[[np.ndarray], float] = interquartile_mean,
    level: float = 0.95,
    repetitions: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return a statistic of scores with its percentile interval; runs are resampled within each task.

    Args:
        scores: `(runs, tasks)`.
        statistic: takes an array of that shape.
        level: confidence level.
        repetitions: number of resamples.
        seed: of the resampling.
    """
    scores, rng = _table(scores), np.random.default_rng(seed)
    runs, tasks = scores.shape
    values = [statistic(scores[rng.integers(runs, size=(runs, tasks)), np.arange(tasks)]) for _ in range(repetitions)]
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(statistic(scores), float(low), float(high), level, runs)


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """Return P(a run of a beats one of b on the same task), ties counting half, averaged over tasks.

    Args:
        a: scores `(runs_a, tasks)`, higher is better (so negate response times).
        b: scores `(runs_b, tasks)`.
    """
    a, b = _table(a), _table(b)
    if a.shape[1] != b.shape[1]:
        raise BadInput(f"scores of {a.shape[1]} and {b.shape[1]} tasks cannot be compared")
    return float((np.sign(a[:, None] - b[None]) + 1).mean() / 2)


def student(level: float, freedom: int) -> float:
    """Return the half-width of a two-sided interval of Student's t, in standard errors."""
    if not 0 < level < 1:
        raise BadInput(f"level={level:g} must lie between 0 and 1, for example 0.95")
    return float(stdtrit(freedom, (1 + level) / 2)) if freedom > 0 else np.nan


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise BadInput(f"paired values must be of one length, not {a.shape} and {b.shape}")
    return a, b


def _table(scores: ArrayLike) -> np.ndarray:
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or not scores.size:
        raise BadInput(f"scores must be a table (runs, tasks), not of shape {scores.shape}")
    return scores
