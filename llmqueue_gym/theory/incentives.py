"""Do users tell the truth about their jobs? Exact response times by estimate and report, and what follows from them.

A user knows the class of an estimate of his job's size and reports a class. When all others keep to a strategy, SOAP
gives the mean response time of one who reports something else: he is one job among infinitely many.

Source: Grosof, Mitzenmacher, "Incentive Compatible Queues Without Money", 2022 (arXiv 2202.05747), who find for which
probabilities of a punishment truth is best; the classes, the noise and the formulas are this project's.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.soap import soap

SLIP = 1e-9  # share of the jobs that report anything, so that every report is analysed at every size
CELLS = 600  # of sizes
GAIN = 1e-6  # relative: who gains less by a lie does not lie


def response_times(policy: Any, size: Any, reports: Any, load: float) -> np.ndarray:
    """Return E[T | estimate in class e, report r] `(k, k)`, s, when all others do as `reports.say` says.

    Args:
        policy: one of `blind-trust` and `measured-trust`, or another of the reports.
        size: law of the sizes.
        reports: how users report, and who is punished; see `predictors.reports`.
        load: lambda E[S], in (0, 1).
    """
    if not 0 < load < 1:
        raise BadInput(f"load={load:g} must lie in (0, 1)")
    told = replace(reports, slip=max(reports.slip, SLIP)).bind(size)
    joint = JointLaw(size, told, CELLS)
    times = np.zeros((2, told.k, len(joint.x)))
    for row, found in zip(joint.rows, soap(policy, policy.params_for(size, told), joint, load), strict=True):
        report = int(row.y)
        first = np.searchsorted(joint.x, found.x[0])
        times[int(row.y > report), report - 1, first : first + len(found.x)] = found.response
    p = told.punished
    mixed = (1 - p) * times[0] + p * times[1]
    weights = joint.p[:, None] * told.shares(joint.x)
    return np.asarray((weights.T @ mixed.T) / weights.sum(axis=0)[:, None])


def best_reports(times: np.ndarray) -> np.ndarray:
    """Return the report from 1 with the least mean response time for each estimate `(k,)`; the truth where it ties."""
    own = np.arange(len(times))
    best = times.argmin(axis=1)
    keeps = times[own, own] <= times.min(axis=1) * (1 + GAIN)
    return np.where(keeps, own, best) + 1


def truthful(policy: Any, size: Any, reports: Any, load: float) -> bool:
    """Return whether nobody gains by a lie while all others tell the truth."""
    best = best_reports(response_times(policy, size, replace(reports, say=""), load))
    return bool(np.array_equal(best, np.arange(1, reports.k + 1)))


def truthful_range(policy: Any, size: Any, reports: Any, load: float, points: int = 21) -> tuple[float, float] | None:
    """Return the least and the greatest probability of punishment for which truth is best, or None if there is none.

    It looks at evenly spaced probabilities and closes in on both ends of those that will do by bisection.
    """

    def holds(p: float) -> bool:
        return truthful(policy, size, replace(reports, punished=p), load)

    grid = np.linspace(0, 1, points)
    good = np.array([holds(p) for p in grid])
    if not good.any():
        return None
    first, last = np.flatnonzero(good)[[0, -1]]
    ends = []
    for inside, outside in ((first, first - 1), (last, last + 1)):
        near = float(grid[inside])
        if 0 <= outside < points:
            far = float(grid[outside])
            for _ in range(12):
                middle = 0.5 * (near + far)
                near, far = (middle, far) if holds(middle) else (near, middle)
        ends.append(near)
    return ends[0], ends[1]


def equilibrium(policy: Any, size: Any, reports: Any, load: float, most: int = 50) -> tuple[np.ndarray, float, bool]:
    """Let all users change to their best reports again and again, from `reports.say` on.

    Returns:
        the reports in the end `(k,)`, the mean response time of all jobs there, s, and whether nobody wants to change;
        where it is False they go round and round, which happens as all move at once.
    """
    told = reports.bind(size)
    said, stable, own = told.reported, False, np.arange(told.k)
    for _ in range(most):
        times = response_times(policy, size, replace(reports, say=_words(said)), load)
        best = best_reports(times)
        best = np.where(times[own, said - 1] <= times[own, best - 1] * (1 + GAIN), said, best)
        stable = np.array_equal(best, said)
        if stable:
            break
        said = best
    else:
        times = response_times(policy, size, replace(reports, say=_words(said)), load)
    joint = JointLaw(size, told, CELLS)
    shares = joint.p @ told.shares(joint.x)
    return said, float(shares @ times[own, said - 1] / shares.sum()), stable


def _words(said: np.ndarray) -> str:
    return ";".join(map(str, said))
