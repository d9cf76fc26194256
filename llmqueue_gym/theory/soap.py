"""SOAP: exact mean response times of the M/G/1 under any rank function of prediction and age.

For a job of prediction y and size x let r be the worst rank it will ever have, and w(a) the worst from age a on. Then

    E[T(y, x)] = (lambda / 2) sum_i E[X_i^old(r)^2] / ((1 - rho_0^old(r)) (1 - rho^new(r)))
                 + int_0^x da / (1 - rho^new(w(a)))

where X_0^old(r) is the service that a job receives until its rank first exceeds r, X_i^old(r) that of its i-th later
visit to ranks at most r, and rho^new(r) the load of service before the rank first reaches r. Where ties go to the last
come, "exceeds" and "reaches" change places.

Source: Scully, Harchol-Balter, Scheller-Wolf, "SOAP: One Clean Analysis of All Age-Based Scheduling Policies",
SIGMETRICS 2018, theorem 5.5.
"""

from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.distributions.integration import sums_from_above
from llmqueue_gym.theory.joint import JointLaw, Row, cubic
from llmqueue_gym.theory.ranks import Ranks

MAX_WORK = 5_000_000  # levels times rows
MOST_STEPS = 200_000  # start ranks times rows
between = kernel(cubic)


class Conditional(NamedTuple):
    """Mean response time of the jobs of one row, by size.

    Attributes:
        x, p: sizes and probabilities `(k,)`.
        response: E[T | row, S = x] `(k,)`, s.
    """

    x: np.ndarray
    p: np.ndarray
    response: np.ndarray


@kernel
def first_level(levels, rank, strict):
    """Index of the first level that a rank is at most, or below where strict."""
    return np.searchsorted(levels, rank, side="right") if strict else np.searchsorted(levels, rank, side="left")


@kernel
def visits(ages, ranks, above, reached, served, served2, levels, strict, later, squares):
    """Add one row's service while its rank is at most each level (below it where strict).

    The rank is a straight line between the ages `(n,)`, and the law is that of a `Row`. To `later` is added E of the
    service after the first visit, which begins at age 0, and to `squares` the sum over visits of E[service^2], both
    `(m,)` as are the ascending levels.
    """
    m, n = levels.shape[0], ages.shape[0]
    begin = np.full(m, -1.0)  # age at which the visit under way began, or -1
    begun1, begun2 = np.zeros(m), np.zeros(m)
    from_start = np.zeros(m, np.bool_)
    at_start = first_level(levels, ranks[0], strict)
    for k in range(m):
        if k >= at_start:
            begin[k], from_start[k] = 0.0, True
        else:
            later[k] += served[n - 1]
    for i in range(n - 1):
        a, b = ranks[i], ranks[i + 1]
        if a == b:
            continue
        # The levels whose visit the rank leaves or enters between the two ages.
        for k in range(first_level(levels, min(a, b), strict), first_level(levels, max(a, b), strict)):
            t, s1, s2 = ages[i], served[i], served2[i]
            if ages[i + 1] > t:
                t += min(max((levels[k] - a) / (b - a), 0.0), 1.0) * (ages[i + 1] - t)
                s1, s2 = between(ages, above, reached, served, served2, i, t)
            if b < a:
                begin[k], begun1[k], begun2[k] = t, s1, s2
            elif begin[k] >= 0.0:
                squares[k] += 2.0 * ((s2 - begun2[k]) - begin[k] * (s1 - begun1[k]))
                if from_start[k]:
                    later[k] += served[n - 1] - s1
                begin[k], from_start[k] = -1.0, False
    for k in range(m):
        if begin[k] >= 0.0:
            squares[k] += 2.0 * ((served2[n - 1] - begun2[k]) - begin[k] * (served[n - 1] - begun1[k]))


@kernel
def residence(ages, slowness):
    """Time from first service to completion for each size ages[i]: int_0^x max over [a, x) of slowness da `(n,)`.

    The maximum to come is constant on runs of cells, which lie on a stack and are merged as larger sizes see further.
    In a cell whose own start is the worst, it falls along a straight line.
    """
    n = ages.shape[0]
    total = np.zeros(n)
    start, level, before = np.empty(n, np.int64), np.empty(n), np.empty(n)  # of each run; time spent before it
    top, time = 0, 0.0
    for i in range(1, n):
        first, worst = i - 1, slowness[i]
        while top > 0 and level[top - 1] <= worst:
            top -= 1
            first, time = start[top], before[top]
        start[top], level[top], before[top] = first, worst, time
        top += 1
        time += (ages[i] - ages[first]) * worst
        time += 0.5 * (ages[first + 1] - ages[first]) * max(slowness[first] - worst, 0.0)
        total[i] = time
    return total


def soap(policy: Any, params: np.ndarray, joint: JointLaw, load: float) -> list[Conditional]:
    """Return the mean response time of each job type in the M/G/1 under a policy.

    Args:
        policy: a Policy; its rank may depend on prediction, age and constants.
        params: parameters of its rank function for these laws `(k,)`.
        joint: law of size and prediction.
        load: lambda E[S], below 1.

    Raises:
        NotApplicable: the rank depends on more than the job's type and age, so the theorem does not hold.
    """
    ranks_of = Ranks(policy, params)
    ranks_of.check()
    rows = [ranks_of.along(row) for row in joint.rows]
    lam = load / joint.size.mean
    if not policy.preemptive:
        return _without_preemption(rows, joint, load)

    alike = [ranks[0] for row, ranks in rows if not joint.continuous or row.y in joint.lumps]
    steps = np.unique(alike)
    if 0 < len(steps) * len(rows) <= MOST_STEPS:
        rows = [_stepped(plain, row.ages, ranks, steps) for plain, (row, ranks) in zip(joint.rows, rows, strict=True)]
    elif not joint.continuous:
        steps = steps[:0]
    levels = _levels([ranks for _, ranks in rows], joint.continuous, steps)
    times = responses(rows, lam, load, levels, policy.lcfs_up_to)
    return [Conditional(row.x, row.p, time) for (row, _), time in zip(rows, times, strict=True)]


def responses(
    rows: list[tuple[Row, np.ndarray]], lam: float, load: float, levels: np.ndarray, lcfs_up_to: float = -np.inf
) -> list[np.ndarray]:
    """Return the mean response time of each size of each job type, by the theorem.

    Args:
        rows: the law of each type, and its ranks at the ages of the row; an age at which they jump stands twice.
        lam: arrival rate, 1/s.
        load: lambda times the mean work of a job.
        levels: ascending ranks `(m,)` at which waiting and load are evaluated; between them both are lines.
        lcfs_up_to: ties are last come first served where the rank is at most this.
    """
    lcfs = levels <= lcfs_up_to
    at_most, below = np.zeros((2, len(levels))), np.zeros((2, len(levels)))
    for row, ranks in rows:
        law = (row.ages, ranks, row.above, row.reached, row.served, row.served2, levels)
        visits(*law, False, *at_most)
        visits(*law, True, *below)
    old_later, old_squares = np.where(lcfs, below, at_most)
    new_later = np.where(lcfs, at_most[0], below[0])
    idle = 1 - load + lam * new_later
    waiting = 0.5 * lam * old_squares / ((1 - load + lam * old_later) * idle)
    slowness = 1 / idle

    result = []
    for row, ranks in rows:
        response = _at(np.maximum.accumulate(ranks), levels, waiting)
        response += residence(row.ages, _at(ranks, levels, slowness))
        end = np.searchsorted(row.ages, row.x)  # of a jump at this very age, the side before it
        share = (row.x - row.ages[end - 1]) / (row.ages[end] - row.ages[end - 1])
        result.append((1 - share) * response[end - 1] + share * response[end])
    return result


def _without_preemption(rows: list[Any], joint: JointLaw, load: float) -> list[Conditional]:
    """The same theorem where the rank falls to minus infinity as soon as a job runs."""
    at_start = np.array([ranks[0] for _, ranks in rows])
    lam = load / joint.size.mean
    work = lam * np.array([float(np.sum(row.p * row.x)) for row, _ in rows])
    levels = np.unique(at_start)
    group = np.searchsorted(levels, at_start)
    idle = 1 - load + sums_from_above(np.bincount(group, work))
    wait = 0.5 * lam * joint.size.moment(2) / (idle[1:] * idle[:-1])
    return [Conditional(row.x, row.p, wait[g] + row.x) for (row, _), g in zip(rows, group, strict=True)]


def _at(ranks: np.ndarray, levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values at ranks `(n,)`: those of the level itself, be the next one as near as can be, or on a line."""
    i = np.minimum(np.searchsorted(levels, ranks), len(levels) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(levels[i] == ranks, values[i], np.interp(ranks, levels, values))


def _stepped(row: Row, ages: np.ndarray, ranks: np.ndarray, steps: np.ndarray) -> tuple[Row, np.ndarray]:
    """Return the row on ages `(n,)` and those where the rank passes some ascending ranks `(m,)`, and its ranks there.

    The load that comes before a job jumps there, as a class of jobs that start with that rank overtakes it or no more.
    """
    low, high = np.minimum(ranks[:-1], ranks[1:]), np.maximum(ranks[:-1], ranks[1:])
    first, last = np.searchsorted(steps, low, side="left"), np.searchsorted(steps, high, side="right")
    counts = np.where((low < high) & (np.diff(ages) > 0), last - first, 0)
    cell = np.repeat(np.arange(len(counts)), counts)
    if not len(cell):
        return row.refined(ages), ranks
    step = steps[first[cell] + np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)]
    change = ranks[cell + 1] - ranks[cell]
    at = ages[cell] + (step - ranks[cell]) / change * (ages[cell + 1] - ages[cell])
    order = np.lexsort((at, cell))
    cell, step, at, side = cell[order], step[order], at[order], np.sign(change[order])
    where = np.repeat(cell + 1, 2)
    both = np.stack([np.nextafter(step, -side * np.inf), np.nextafter(step, side * np.inf)], axis=1)
    # A step at an end of the cell is on one side of it.
    within = np.stack([step != ranks[cell], step != ranks[cell + 1]], axis=1).ravel()
    twice, found = np.repeat(at, 2)[within], both.ravel()[within]
    return row.refined(np.insert(ages, where[within], twice)), np.insert(ranks, where[within], found)


def _levels(ranks: list[np.ndarray], continuous: bool, steps: np.ndarray) -> np.ndarray:
    """Return ascending ranks at which to evaluate waiting and load, and those just beside steps `(k,)` and turns.

    Rows of a continuous prediction stand for cells. A rank that only one row starts with is no tie, and one that
    several rows share is a real one, as is one that a lump starts with, which is among the steps.
    """
    start, rows = np.unique([r[0] for r in ranks], return_counts=True)
    if continuous and len(start) > 1:
        tied = (rows > 1) | np.isin(start, steps)
        return np.union1d(levels_between(ranks, start[~tied], start[tied]), _beside(steps))
    return np.union1d(levels_at(ranks, start, not continuous), _beside(steps))


def levels_between(ranks: list[np.ndarray], alone: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return ascending levels for rows that stand for cells of predictions.

    Sums over rows are right half-way between two ranks at which single rows begin, where no cell is cut.

    Args:
        ranks: of each row.
        alone: ascending ranks with which one row alone begins.
        ties: ascending ranks that many jobs share.
    """
    begun = np.union1d(alone, ties)
    everywhere = np.unique(np.concatenate(ranks))
    between = 0.5 * (alone[1:] + alone[:-1])
    if len(between) > len(begun) / 2:
        everywhere = everywhere[(everywhere < alone[0]) | (everywhere > alone[-1])]
    ends = [np.nextafter(begun[0], -np.inf), np.nextafter(begun[-1], np.inf)]
    return np.unique(np.concatenate([ties, between, ends, _thinned(everywhere, len(ranks))]))


def levels_at(ranks: list[np.ndarray], begun: np.ndarray, turning: bool = True) -> np.ndarray:
    """Return ascending levels for rows that are the jobs themselves: where they begin, and where their ranks turn."""
    everywhere = np.unique(np.concatenate(ranks))
    turns = np.unique(np.concatenate([_turns(r) for r in ranks])) if turning else everywhere[:0]
    return np.unique(np.concatenate([begun, _beside(turns), _thinned(everywhere, len(ranks))]))


def _beside(ranks: np.ndarray) -> np.ndarray:
    """Return ranks and the numbers next to them."""
    return np.concatenate([ranks, np.nextafter(ranks, -np.inf), np.nextafter(ranks, np.inf)])


def _thinned(everywhere: np.ndarray, rows: int) -> np.ndarray:
    """Return as many of the ascending ranks as there is time for, the last one among them."""
    return np.append(everywhere[:: max(1, len(everywhere) * rows // MAX_WORK)], everywhere[-1:])


def _turns(ranks: np.ndarray) -> np.ndarray:
    """Return the ranks at which a row turns from rising to falling or back.

    Waiting jumps there, as longer visits begin, and all jobs that have seen the peak have it as their worst rank, so a
    line between two levels on either side of it tells nothing.
    """
    slope = np.sign(np.diff(ranks))
    return ranks[1:-1][slope[1:] != slope[:-1]]
