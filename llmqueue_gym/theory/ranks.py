"""The rank function of a policy over the rows of a joint law: ranks at all ages, and where they jump."""

from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.jobs import JOB
from llmqueue_gym.theory.joint import JointLaw, Row

MOST = 1e300  # stands for an infinite rank: above all others, and numbers can be drawn through it
BESIDE = 1e-8  # relative: just before and after an age, but further than rounding or a guard against it moves a jump
STILL = 1e-3  # of the change in the cells beside: less than this at one age is no jump
SOME = 32  # predictions
ROUNDING = 2e-15  # relative: a rank that moves by less is on a plateau
CURVED = 0.01  # of the change in a cell: a rank that is off the line by more is no line
HALVINGS = 6  # of a cell in which the rank is no line
_EMITTED = 2 * (1 << HALVINGS) + 2  # ages that one cell gives at most


@kernel
def ranks_at(rank, told, row, predictions, ages, out):
    """Write the rank of a job of each prediction at each age `(n,)`."""
    for i in range(ages.shape[0]):
        row.predicted, row.age = predictions[i], ages[i]
        out[i] = min(max(rank(row, *told), -MOST), MOST)


@kernel
def limits_at(rank, told, row, low, high, value_low, value_high, by_age):
    """Close in on where the rank jumps between two ages or else predictions; return that place and both limits."""
    for _ in range(60):
        at = 0.5 * (low + high)
        if by_age:
            row.age = at
        else:
            row.predicted = at
        value = min(max(rank(row, *told), -MOST), MOST)
        if abs(value - value_low) > abs(value_high - value):
            high, value_high = at, value
        else:
            low, value_low = at, value
    return low, value_low, value_high


def jumps(low, middle, high):
    """Whether a function jumps in a cell: its middle is then as high as one of the ends."""
    change = abs(high - low)
    return (abs(middle - 0.5 * (high + low)) > 0.4 * change) & (change > 1e-9 * abs(low))


jumped = kernel(jumps)


@kernel
def trace(rank, told, row, ages):
    """Return ages and ranks on which the rank is a line from each to the next; an age at which it jumps stands twice.

    Jobs whose size is such an age are gone before the jump, be the rank of the age itself that before or after it. So
    the rank is looked at just before and just after each of the given ages `(n,)`, and not at it; and a cell in which
    it is no line is halved until it is, or until all that is left is a jump, whose place is then found.
    """
    n = ages.shape[0]
    where, found = np.empty(2 * n + _EMITTED), np.empty(2 * n + _EMITTED)
    before, at, after, middle = np.empty(n), np.empty(n), np.empty(n), np.empty((n, 3))
    for i in range(n):
        for out, age in ((before, ages[i] * (1 - BESIDE)), (at, ages[i]), (after, ages[i] * (1 + BESIDE))):
            row.age = age
            out[i] = min(max(rank(row, *told), -MOST), MOST)
        if i < n - 1:
            for q in range(3):
                row.age = ages[i] + 0.25 * (q + 1) * (ages[i + 1] - ages[i])
                middle[i, q] = min(max(rank(row, *told), -MOST), MOST)
    row.age = ages[0] + 1e-6 * (ages[1] - ages[0])
    after[0], before[0] = min(max(rank(row, *told), -MOST), MOST), at[0]
    # Without a jump the three are one.
    for i in range(n):
        moves = 1e-300
        if i > 0:
            moves += abs(middle[i - 1, 2] - before[i])
        if i < n - 1:
            moves += abs(middle[i, 0] - after[i])
        if abs(after[i] - before[i]) <= STILL * moves or i == n - 1:
            before[i] = after[i] = at[i] if i < n - 1 or abs(at[i] - before[i]) <= STILL * moves else before[i]
        else:
            if abs(at[i] - before[i]) <= STILL * moves:
                before[i] = at[i]
            if abs(at[i] - after[i]) <= STILL * moves:
                after[i] = at[i]

    count = 0
    stack, depth = np.empty((HALVINGS + 2, 7)), np.empty(HALVINGS + 2, np.int64)
    for i in range(n):
        if count + _EMITTED > where.shape[0]:
            where, found = np.append(where, np.empty(where.shape[0])), np.append(found, np.empty(found.shape[0]))
        where[count], found[count] = ages[i], before[i]
        count += 1
        if after[i] != before[i]:
            where[count], found[count] = ages[i], after[i]
            count += 1
        if i == n - 1:
            break
        top = 1
        stack[0] = (ages[i], ages[i + 1], after[i], middle[i, 0], middle[i, 1], middle[i, 2], before[i + 1])
        depth[0] = 0
        while top > 0:
            top -= 1
            low, high, r0, r1, r2, r3, r4 = stack[top]
            deep = depth[top]
            change = max(r0, r1, r2, r3, r4) - min(r0, r1, r2, r3, r4)
            bend = max(
                abs(r1 - (0.75 * r0 + 0.25 * r4)), abs(r2 - (0.5 * r0 + 0.5 * r4)), abs(r3 - (0.25 * r0 + 0.75 * r4))
            )
            if deep < HALVINGS and bend > CURVED * change and change > 1e-9 * abs(r2):
                half = 0.5 * (low + high)
                new = np.empty(4)
                for q in range(4):
                    row.age = low + (0.125 + 0.25 * q) * (high - low)
                    new[q] = min(max(rank(row, *told), -MOST), MOST)
                stack[top] = (half, high, r2, new[2], r3, new[3], r4)
                stack[top + 1] = (low, half, r0, new[0], r1, new[1], r2)
                depth[top] = depth[top + 1] = deep + 1
                top += 2
                continue
            if jumped(r0, r2, r4):
                place, left, right = limits_at(rank, told, row, low, high, r0, r4, True)
                if abs(right - left) > 0.4 * abs(r4 - r0):  # and no kink
                    where[count], found[count] = place, left
                    where[count + 1], found[count + 1] = place, right
                    count += 2
            if top > 0:
                where[count], found[count] = high, r4
                count += 1
    for i in range(1, count):
        if abs(found[i] - found[i - 1]) <= ROUNDING * abs(found[i]):
            found[i] = found[i - 1]
    return where[:count], found[:count]


class Ranks:
    """The rank function of a policy, for jobs of which prediction and age are known.

    Args:
        policy: a Policy.
        params: of its rank function for the laws at hand `(k,)`.
    """

    def __init__(self, policy: Any, params: np.ndarray):
        self._policy, self._rank, self._params = policy, policy.compiled()[0], params

    def _at(self, predictions: Any, ages: Any, arrival: float = 0.0) -> np.ndarray:
        """Return the ranks `(n,)` at predictions and ages, one of which may be a number."""
        y, a = (np.ascontiguousarray(x, float) for x in np.broadcast_arrays(predictions, ages))
        out = np.empty(len(y))
        ranks_at(self._rank, (self._params,), job(arrival=arrival), y, a, out)
        self._policy.refuse_failure(self._params)
        return out

    def check(self) -> None:
        """Refuse a rank that depends on more than the job's type and age, for which the theorem does not hold."""
        needs = f"SOAP does not apply to policy {self._policy.name!r}: its rank depends on job."
        if "deadline" in self._policy.reads():
            raise NotApplicable(f"{needs}deadline, and the jobs of an M/G/1 have none; use simulate")
        if "arrival" in self._policy.reads():
            some = np.geomspace(1e-3, 1e3, 64)
            if not np.array_equal(self._at(some, 0.0), self._at(some, 0.0, arrival=12345.678)):
                raise NotApplicable(
                    f"{needs}arrival, and the theorem needs a rank of the job's type and age only; use simulate"
                )

    def along(self, row: Row) -> tuple[Row, np.ndarray]:
        """Return the row and its ranks, on ages between which they are lines; where they jump an age stands twice."""
        ages, ranks = self._trace(row.y, row.ages)
        return row.refined(ages), ranks

    def cuts(self, joint: JointLaw) -> tuple[float, ...]:
        """Return where the time of a job jumps: predictions and ages at which the rank does, and ends of its plateaus.

        Cells must end there, or all jobs of one cell would be alike on both sides. Of many predictions the ages are
        those of some, and of continuous ones those that are shared: the others are smeared by the prediction.
        """
        if not joint.continuous:
            y = np.zeros(1) if joint.blind else joint.y_edges[1:]
            ages = [self._trace(one, joint.edges)[0] for one in y[:: max(1, len(y) // SOME)]]
            cuts = np.concatenate([a[1:][a[1:] == a[:-1]] for a in ages])
        elif self._policy.prepare is not None:  # tabulated ranks are continuous in a continuous prediction
            return ()
        else:
            y = joint.y_edges
            ends, middles = self._at(y, 0.0), self._at(0.5 * (y[1:] + y[:-1]), 0.0)
            cells = np.flatnonzero(jumps(ends[:-1], middles, ends[1:]))
            at = [(y[i], y[i + 1], ends[i], ends[i + 1]) for i in cells]
            own = [limits_at(self._rank, (self._params,), job(), *ends, False)[0] for ends in at]
            some = [job(predicted=one) for one in y[:: max(1, len(y) // SOME)]]
            ages = [trace(self._rank, (self._params,), one, joint.edges)[0] for one in some]
            twice, count = np.unique(np.concatenate([a[1:][a[1:] == a[:-1]] for a in ages]), return_counts=True)
            cuts = np.append(twice[count > 1], own)
        return tuple(np.setdiff1d(cuts, joint.edges).tolist())

    def _trace(self, y: float, ages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = trace(self._rank, (self._params,), job(predicted=y), ages)
        self._policy.refuse_failure(self._params)
        return off_plateaus(*found)


def off_plateaus(ages: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ages and ranks that come to a plateau, or leave it, by the smallest of jumps.

    All jobs on a plateau have one rank, and who was there longer goes first. A job that ends as it comes to the plateau
    has not had its rank, and one that ends as soon as it has left had a worse one.
    """
    slope = np.sign(np.diff(ranks))
    if slope.all():
        return ages, ranks
    cell = np.diff(ages) > 0
    flat, sloped = cell & (slope == 0), cell & (slope != 0)
    come, left = np.flatnonzero(sloped[:-1] & flat[1:]), np.flatnonzero(flat[:-1] & sloped[1:])
    point = np.concatenate([left, come]) + 1
    side = np.concatenate([slope[left + 1], -slope[come]])
    where = np.concatenate([left + 2, come + 1])  # after the point, or before it
    return np.insert(ages, where, ages[point]), np.insert(ranks, where, np.nextafter(ranks[point], side * np.inf))


def job(**columns: float) -> Any:
    """Return a row of the job table as kernels take it, of weight 1 unless told otherwise."""
    table = records(np.zeros(1, JOB))
    for name, value in {"weight": 1.0, **columns}.items():
        table[name] = value
    return table[0]
