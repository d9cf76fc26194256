"""The mean of a steady state from one run, with an interval that knows how slowly work in system settles.

Near saturation the batches of a run are neither many nor independent, and a run with few of the largest sizes does not
show how much they vary: intervals from batches alone are too short, the more so the shorter the run. Of the work in
system the error is known (`theory.work`); how closely response times follow the work can be read from the batches.
"""

import numpy as np

from llmqueue_gym.evaluation.statistics import Estimate, batches, cautious_batch_means, student
from llmqueue_gym.systems import Run, Scenario
from llmqueue_gym.theory.work import variance_of_mean_work

WIDE = 0.5  # half-width over mean, from which on a run is called short
AIM = 0.05  # and what it is told how to reach
ALIKE = 0.4  # correlation of neighbours among 30 batches, from which on they are not independent (one in 70 by chance)
LEAST = 300  # values that make 30 batches
GROWN = 2.0  # mean of the last third over that of the first, from which on a run has not settled
RARE = 0.05  # E[S^4] / (n E[S^2]^2): the squared relative error of the second moment of n sizes


def steady_state_mean(values: np.ndarray, run: Run, scenario: Scenario, level: float = 0.95) -> Estimate:
    """Return the mean of values `(n,)` of the jobs of a run, such as response times, and its interval.

    The means of 30 batches are regressed on the work that their jobs met. The variance of the mean work is that of
    theory, or what the batches show if that is more; the rest is from the residuals.

    Args:
        values: one for each job of the run, in order of arrival.
        run: the warm-up removed.
        scenario: of the run. Where its work is not known, the interval is `cautious_batch_means`.
        level: confidence level.
    """
    sizes = _sizes(scenario)
    work = batches(_work_met(run) if sizes else values, 0)
    n, spread = len(work), float(work.var())
    least = 0.0 if np.min(values) >= 0 else -np.inf
    if sizes is None or len(values) != len(run) or n < 3 or not spread > 0:
        found = cautious_batch_means(values, level, warmup=0)
        return found._replace(low=least) if found.low < least else found
    means, off = batches(values, 0), work - work.mean()
    slope = float(off @ means) / (n * spread)
    left = float(np.sum((means - means.mean() - slope * off) ** 2)) / (n - 2) / n
    known = variance_of_mean_work(sizes, scenario.source.rate, len(run))
    half = student(level, n - 2) * np.sqrt(slope**2 * max(known, spread / (n - 1)) + left)
    mean = float(np.mean(values))
    return Estimate(mean, max(mean - half, least), mean + half, level, n - 1)


def steady_state_quantile(values: np.ndarray, q: float, run: Run, scenario: Scenario, level: float = 0.95) -> Estimate:
    """Return a quantile of values `(n,)` of the jobs of a run, and its interval.

    It holds every value that the share of those below it does not tell apart from q: the interval of that share, as of
    a mean, says which. An end is inf where the run is too short to have seen such values.

    Args:
        values: one for each job of the run, in order of arrival.
        q: share that is below the quantile.
        run: the warm-up removed.
        scenario: of the run.
        level: confidence level.
    """
    found = float(np.percentile(values, 100 * q))
    share = steady_state_mean((values <= found).astype(float), run, scenario, level)
    half = share.high - share.mean
    if not np.isfinite(half):
        return Estimate(found, np.nan, np.nan, level, share.n)
    low = float(np.quantile(values, q - half)) if q > half else 0.0
    high = float(np.quantile(values, q + half)) if q + half < 1 - 1 / len(values) else np.inf
    return Estimate(found, low, high, level, share.n)


def shortness(values: np.ndarray, estimate: Estimate, run: Run, scenario: Scenario) -> list[str]:
    """Return what to beware of: a run that has not settled, is short for its load, or holds few of the largest sizes.

    Args:
        values: one for each job of the run, in order of arrival.
        estimate: of their mean.
        run: the warm-up removed.
        scenario: of the run.
    """
    told, n, sizes = [], len(run), _sizes(scenario)
    thirds = batches(values, 0, 3)
    first, last = thirds[0], thirds[-1]
    if last > GROWN * first > 0:
        told.append(f"GROWING: the last third of the jobs takes {last / first:.2g} times as long as the first")
    if sizes is None and len(values) >= LEAST:
        means = batches(values, 0)
        like = float(np.corrcoef(means[1:], means[:-1])[0, 1])
        if like > ALIKE:
            told.append(f"SHORT: neighbouring batches of this run are alike ({like:.2f}), so its interval is too short")
    if sizes is not None and sizes[3] > RARE * n * sizes[1] ** 2:
        fourth = sizes[3] / sizes[1] ** 2 / RARE
        more = f"take {fourth:,.2g} or more" if np.isfinite(fourth) else "no number of jobs is enough"
        told.append(f"SHORT: {n:,} jobs hold too few of the largest sizes for this interval to be trusted; {more}")
    half = estimate.high - estimate.mean
    if half > WIDE * estimate.mean > 0:
        wide = half / estimate.mean
        more = f"; {n * (wide / AIM) ** 2:,.2g} jobs would tell it to {AIM:.0%}" if np.isfinite(wide) else ""
        told.append(f"SHORT: {n:,} jobs tell the mean to {wide:.0%}{more}")
    return told


def _sizes(scenario: Scenario) -> tuple[float, ...] | None:
    """Return E[S] to E[S^4] for one server as fast as all together, or None where that is not how jobs are served."""
    system = scenario.system
    moments = None if system.lossy or scenario.workload is not None else system.work_moments(scenario)
    return moments if moments and scenario.source.rate * moments[0] < 1 else None


def _work_met(run: Run) -> np.ndarray:
    """Return the work in system before each arrival `(n,)`, in s of all servers together: Lindley's recursion."""
    walk = np.concatenate([[0.0], np.cumsum(run.system.work(run)[:-1] - np.diff(run.jobs["arrival"]))])
    return walk - np.minimum.accumulate(walk)
