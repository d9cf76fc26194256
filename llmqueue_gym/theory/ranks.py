"""The rank function of a policy over the rows of a joint law: ranks at all ages, and where they jump."""

from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.jobs import JOB
from llmqueue_gym.theory.joint import JointLaw, Row


@kernel
def ranks_at(rank, params, row, predictions, ages, out):
    """Write the rank of a job of each prediction at each age `(n,)`, left limits where it jumps at an age."""
    for i in range(ages.shape[0]):
        row.predicted, row.age = predictions[i], ages[i]
        out[i] = rank(row, params)


@kernel
def find_jumps(rank, params, row, by_age, lows, highs):
    """Close in, in place, on the age, or else the prediction, at which the rank jumps from each lows[i] to highs[i]."""
    for i in range(lows.shape[0]):
        low, high = lows[i], highs[i]
        value_low = value_high = 0.0
        for step in range(62):  # the two ends, then halves
            at = low if step == 0 else high if step == 1 else 0.5 * (low + high)
            if by_age:
                row.age = at
            else:
                row.predicted = at
            value = rank(row, params)
            if step == 0:
                value_low = value
            elif step == 1:
                value_high = value
            elif abs(value - value_low) > abs(value_high - value) or (np.isinf(value) and np.isfinite(value_low)):
                high, value_high = at, value
            else:
                low, value_low = at, value
        lows[i], highs[i] = low, high


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
        ranks_at(self._rank, self._params, _job(arrival=arrival), y, a, out)
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
        """Return the row and its ranks; where the rank jumps, the ages before and after the jump are put in."""
        ranks = self._at(row.y, row.ages)
        middles = self._at(row.y, 0.5 * (row.ages[1:] + row.ages[:-1]))
        jumps = _jumps(ranks[:-1], middles, ranks[1:])
        if not len(jumps):
            return row, ranks
        lows, highs = row.ages[jumps], row.ages[jumps + 1]
        find_jumps(self._rank, self._params, _job(predicted=row.y), True, lows, highs)
        ages = np.unique(np.concatenate([row.ages, lows, highs]))
        return row.refined(ages), self._at(row.y, ages)

    def cuts(self, joint: JointLaw) -> tuple[float, ...]:
        """Return the predictions at which the rank of a new job jumps, such as the threshold of one bit of advice.

        Cells of predictions must end there, or the jobs of one cell would be ranked alike on both sides.
        """
        if not joint.continuous or self._policy.prepare is not None:  # tabulated ranks are continuous in the prediction
            return ()
        low, high = joint.y_edges[:-1], joint.y_edges[1:]
        jumps = _jumps(*(self._at(y, 0.0) for y in (low, 0.5 * (low + high), high)))
        lows, highs = low[jumps], high[jumps]
        find_jumps(self._rank, self._params, _job(), False, lows, highs)
        return tuple(lows.tolist())


def _job(**columns: float) -> Any:
    job = records(np.zeros(1, JOB))
    for name, value in {"weight": 1.0, **columns}.items():
        job[name] = value
    return job[0]


def _jumps(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the cells in which a function jumps: its middle is then as high as one of the ends."""
    with np.errstate(invalid="ignore"):
        change = np.abs(high - low)
        bend = np.abs(middle - 0.5 * (high + low))
        return np.flatnonzero((bend > 0.4 * change) & (change > 1e-9 * np.abs(low)) | np.isinf(change))
