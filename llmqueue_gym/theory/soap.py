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

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.jobs import JOB
from llmqueue_gym.theory.joint import JointLaw, Row

MAX_LEVELS = 6000


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
def ranks_along(rank, params, row, ages, out):
    """Write the rank of a job at each age, left limits where it jumps at an age."""
    for i in range(ages.shape[0]):
        row.age = ages[i]
        out[i] = rank(row, params)


@kernel
def find_jumps(rank, params, row, lows, highs):
    """Close in, in place, on the age at which the rank jumps between each lows[i] and highs[i]."""
    for i in range(lows.shape[0]):
        low, high = lows[i], highs[i]
        row.age = low
        value_low = rank(row, params)
        row.age = high
        value_high = rank(row, params)
        for _ in range(60):
            middle = 0.5 * (low + high)
            row.age = middle
            value = rank(row, params)
            if abs(value - value_low) > abs(value_high - value) or (np.isinf(value) and np.isfinite(value_low)):
                high, value_high = middle, value
            else:
                low, value_low = middle, value
        lows[i], highs[i] = low, high


@kernel
def starts(rank, params, row, predictions, out):
    """Write the rank of a new job of each prediction."""
    for i in range(predictions.shape[0]):
        row.predicted = predictions[i]
        out[i] = rank(row, params)


@kernel
def _between(ages, above, reached, served, served2, i, t):
    """E[min(S, t)] and E[min(S, t)^2] / 2 at an age t in the cell that starts at ages[i], by cubic Hermite."""
    h = ages[i + 1] - ages[i]
    u = (t - ages[i]) / h
    v = 1.0 - u
    h00, h10, h01, h11 = (1 + 2 * u) * v * v, u * v * v, u * u * (3 - 2 * u), -u * u * v
    first = h00 * served[i] + h01 * served[i + 1] + h * (h10 * above[i] + h11 * reached[i + 1])
    second = h00 * served2[i] + h01 * served2[i + 1]
    second += h * (h10 * ages[i] * above[i] + h11 * ages[i + 1] * reached[i + 1])
    return first, second


@kernel
def served_at(ages, above, reached, served, served2, times):
    """E[min(S, t)] and E[min(S, t)^2] / 2 at each of some ages `(k,)`."""
    first, second = np.empty(times.shape[0]), np.empty(times.shape[0])
    for k in range(times.shape[0]):
        i = min(np.searchsorted(ages, times[k], side="right") - 1, ages.shape[0] - 2)
        first[k], second[k] = _between(ages, above, reached, served, served2, i, times[k])
    return first, second


@kernel
def first_level(levels, rank, strict):
    """Index of the first level that a rank is at most, or below where strict."""
    return np.searchsorted(levels, rank, side="right") if strict else np.searchsorted(levels, rank, side="left")


@kernel
def visits(ages, ranks, above, reached, served, served2, levels, strict, first, squares):
    """Add one row's service while its rank is at most each level (below it where strict).

    Args:
        ages: ages `(n,)` between which the rank is a straight line.
        ranks: rank at each age `(n,)`.
        above: law of S on the row, as in `Row`, as are the next three.
        reached: P(S >= age).
        served: E[min(S, age)].
        served2: E[min(S, age)^2] / 2.
        levels: ascending `(m,)`.
        strict: whether "at most" means "below".
        first: E of the service of the first visit, from age 0 on `(m,)`, added to.
        squares: sum over visits of E[service^2] `(m,)`, added to.
    """
    m, n = levels.shape[0], ages.shape[0]
    begin = np.full(m, -1.0)  # age at which the visit under way began, or -1
    begun1, begun2 = np.zeros(m), np.zeros(m)
    from_start = np.zeros(m, np.bool_)
    for k in range(first_level(levels, ranks[0], strict), m):
        begin[k], from_start[k] = 0.0, True
    for i in range(n - 1):
        a, b = ranks[i], ranks[i + 1]
        if a == b:
            continue
        # The levels whose visit the rank leaves or enters between the two ages.
        for k in range(first_level(levels, min(a, b), strict), first_level(levels, max(a, b), strict)):
            share = (levels[k] - a) / (b - a) if np.isfinite(a) and np.isfinite(b) else 0.0
            t = ages[i] + min(max(share, 0.0), 1.0) * (ages[i + 1] - ages[i])
            s1, s2 = _between(ages, above, reached, served, served2, i, t)
            if b < a:
                begin[k], begun1[k], begun2[k] = t, s1, s2
            elif begin[k] >= 0.0:
                squares[k] += 2.0 * ((s2 - begun2[k]) - begin[k] * (s1 - begun1[k]))
                if from_start[k]:
                    first[k] += s1
                begin[k], from_start[k] = -1.0, False
    for k in range(m):
        if begin[k] >= 0.0:
            squares[k] += 2.0 * ((served2[n - 1] - begun2[k]) - begin[k] * (served[n - 1] - begun1[k]))
            if from_start[k]:
                first[k] += served[n - 1]


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


def soap(policy: Any, params: np.ndarray, joint: JointLaw, lam: float) -> list[Conditional]:
    """Return the mean response time of each job type in the M/G/1 under a policy.

    Args:
        policy: a Policy; its rank may depend on prediction, age and constants.
        params: parameters of its rank function for these laws `(k,)`.
        joint: law of size and prediction.
        lam: arrival rate, 1/s, with lam E[S] < 1.

    Raises:
        NotApplicable: the rank depends on more than the job's type and age, so the theorem does not hold.
    """
    rank = _compiled(policy)
    _check_type_and_age_only(policy, rank, params)
    rows = [_with_ranks(row, rank, params) for row in joint.rows]
    if not policy.preemptive:
        return _without_preemption(policy, rows, joint, lam)

    levels = _levels([ranks for _, ranks in rows], joint.continuous)
    lcfs = levels <= policy.lcfs_up_to
    at_most, below = np.zeros((2, len(levels))), np.zeros((2, len(levels)))
    for row, ranks in rows:
        law = (row.ages, ranks, row.above, row.reached, row.served, row.served2, levels)
        visits(*law, False, *at_most)
        visits(*law, True, *below)
    old_first, old_squares = np.where(lcfs, below, at_most)
    new_first = np.where(lcfs, at_most[0], below[0])
    waiting = 0.5 * lam * old_squares / ((1 - lam * old_first) * (1 - lam * new_first))
    slowness = 1 / (1 - lam * new_first)

    result = []
    for row, ranks in rows:
        worst = np.interp(np.maximum.accumulate(ranks), levels, waiting)
        response = worst + residence(row.ages, np.interp(ranks, levels, slowness))
        result.append(Conditional(row.x, row.p, np.interp(row.x, row.ages, response)))
    return result


def cuts(policy: Any, params: np.ndarray, joint: JointLaw) -> tuple[float, ...]:
    """Return the predictions at which the rank of a new job jumps, such as the threshold of one bit of advice.

    Cells of predictions must end there, or the jobs of one cell would be ranked alike on both sides.
    """
    if not joint.continuous or policy.prepare is not None:  # tabulated ranks are continuous in the prediction
        return ()
    rank, job = _compiled(policy), records(np.zeros(1, JOB))
    low, high = joint.y_edges[:-1].copy(), joint.y_edges[1:].copy()
    ranks = [np.empty(len(low)) for _ in range(3)]
    for y, out in zip((low, 0.5 * (low + high), high), ranks, strict=True):
        starts(rank, params, job[0], y, out)
    jumps = _jumps(*ranks)
    found = []
    for a, b in zip(low[jumps], high[jumps], strict=True):
        for _ in range(60):
            y = np.array([a, 0.5 * (a + b), b])
            out = np.empty(3)
            starts(rank, params, job[0], y, out)
            a, b = (a, y[1]) if abs(out[1] - out[0]) > abs(out[2] - out[1]) else (y[1], b)
        found.append(float(a))
    return tuple(found)


def _jumps(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the cells in which a function jumps: its middle is then as high as one of the ends."""
    with np.errstate(invalid="ignore"):
        change = np.abs(high - low)
        bend = np.abs(middle - 0.5 * (high + low))
        return np.flatnonzero((bend > 0.4 * change) & (change > 1e-9 * np.abs(low)) | np.isinf(change))


def _compiled(policy: Any) -> Any:
    return policy.compiled()[0]


def _check_type_and_age_only(policy: Any, rank: Any, params: np.ndarray) -> None:
    if "deadline" in policy.reads():
        raise NotApplicable(
            f"SOAP does not apply to policy {policy.name!r}: its rank depends on job.deadline, and the jobs of an "
            "M/G/1 have none; use simulate"
        )
    if "arrival" not in policy.reads():
        return
    job = records(np.zeros(1, JOB))
    values = np.empty((2, 64))
    for i, arrival in enumerate((0.0, 12345.678)):
        job["arrival"] = arrival
        starts(rank, params, job[0], np.geomspace(1e-3, 1e3, 64), values[i])
    if not np.array_equal(values[0], values[1]):
        raise NotApplicable(
            f"SOAP does not apply to policy {policy.name!r}: its rank depends on job.arrival, and the theorem needs a "
            "rank of the job's type and age only; use simulate"
        )


def _without_preemption(policy: Any, rows: list[Any], joint: JointLaw, lam: float) -> list[Conditional]:
    """The same theorem where the rank falls to minus infinity as soon as a job runs."""
    at_start = np.array([ranks[0] for _, ranks in rows])
    load = lam * np.array([float(np.sum(row.p * row.x)) for row, _ in rows])
    levels = np.unique(at_start)
    group = np.searchsorted(levels, at_start)
    by_level = np.bincount(group, load)
    at_most = np.cumsum(by_level)
    wait = 0.5 * lam * joint.size.moment(2) / ((1 - at_most) * (1 - (at_most - by_level)))
    return [Conditional(row.x, row.p, wait[g] + row.x) for (row, _), g in zip(rows, group, strict=True)]


def _with_ranks(row: Row, rank: Any, params: np.ndarray) -> tuple[Row, np.ndarray]:
    """Return the row and its ranks; where the rank jumps, the ages before and after the jump are put in."""
    job = records(np.zeros(1, JOB))
    job["predicted"], job["weight"] = row.y, 1.0
    ranks = np.empty(len(row.ages))
    ranks_along(rank, params, job[0], row.ages, ranks)
    if np.isnan(ranks).any():
        raise NotApplicable(f"the rank is not a number at prediction {row.y:g}")
    middles = np.empty(len(row.ages) - 1)
    ranks_along(rank, params, job[0], 0.5 * (row.ages[1:] + row.ages[:-1]), middles)
    jumps = _jumps(ranks[:-1], middles, ranks[1:])
    if not len(jumps):
        return row, ranks
    lows, highs = row.ages[jumps], row.ages[jumps + 1]
    find_jumps(rank, params, job[0], lows, highs)
    ages = np.unique(np.concatenate([row.ages, lows, highs]))
    ranks = np.empty(len(ages))
    ranks_along(rank, params, job[0], ages, ranks)
    return _refined(row, ages), ranks


def _refined(row: Row, ages: np.ndarray) -> Row:
    """Return the row on a finer grid that contains its own."""
    law = (row.ages, row.above, row.reached, row.served, row.served2)
    served, served2 = served_at(*law, ages)
    cell = np.clip(np.searchsorted(row.ages, ages, side="right") - 1, 0, len(row.ages) - 2)
    share = (ages - row.ages[cell]) / (row.ages[cell + 1] - row.ages[cell])
    inner = row.above[cell] + share * (row.reached[cell + 1] - row.above[cell])
    own = np.searchsorted(ages, row.ages)
    above, reached = inner.copy(), inner.copy()
    above[own], reached[own], served[own], served2[own] = row.above, row.reached, row.served, row.served2
    return Row(row.y, ages, above, reached, served, served2, row.x, row.p)


def _levels(ranks: list[np.ndarray], continuous: bool) -> np.ndarray:
    """Return ascending ranks at which to evaluate waiting and load.

    Rows of a continuous prediction stand for cells. A rank that only one row starts with is no tie, and the sums over
    rows are right half-way between two such ranks, where no cell is cut. Ranks that several rows share are real ties.
    """
    start, rows = np.unique([r[0] for r in ranks], return_counts=True)
    inside = np.isfinite(start)
    start, rows = start[inside], rows[inside]
    everywhere = np.unique(np.concatenate(ranks))
    everywhere = everywhere[np.isfinite(everywhere)]
    if continuous and len(start) > 1:
        ties = start[rows > 1]
        alone = start[rows == 1]
        between = 0.5 * (alone[1:] + alone[:-1])
        ends = [np.nextafter(start[0], -np.inf), np.nextafter(start[-1], np.inf)]
        if len(between) > len(start) / 2:
            everywhere = everywhere[(everywhere < start[0]) | (everywhere > start[-1])]
        start = np.concatenate([ties, between, ends])
    step = max(1, len(everywhere) // MAX_LEVELS)
    turns = [] if continuous else [_turns(r) for r in ranks]
    return np.unique(np.concatenate([start, *turns, everywhere[::step], everywhere[-1:]]))


def _turns(ranks: np.ndarray) -> np.ndarray:
    """Return the finite ranks at which a row turns from rising to falling or back.

    Waiting jumps there, as longer visits begin, and all jobs that have seen the peak have it as their worst rank, so a
    line between two levels on either side of it tells nothing.
    """
    with np.errstate(invalid="ignore"):
        slope = np.sign(np.diff(ranks))
    turns = ranks[1:-1][slope[1:] != slope[:-1]]
    return turns[np.isfinite(turns)]
