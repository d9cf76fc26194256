"""Classes of predicted size, the smaller first, first come first served in each: mean response times, the best edges.

A class holds the predictions above one edge and up to the next. With sigma_i the load of classes 1 to i, p_i the share
of jobs in class i, and S their size,

    without preemption  E[T] = E[S] + sum_i p_i lambda E[S^2] / 2 / ((1 - sigma_(i-1)) (1 - sigma_i))
    preemptive          E[T] = sum_i E[S; i] / (1 - sigma_(i-1))
                               + p_i lambda E[S^2; 1 to i] / 2 / ((1 - sigma_(i-1)) (1 - sigma_i)).

Both are sums over classes of a cost that depends on the two ends of a class alone. So the best edges among given ones
are a shortest path, which dynamic programming finds whatever the shape of E[T]; it is then asked again on a finer grid
around them.

Sources: Cobham, "Priority Assignment in Waiting Line Problems", Operations Research 1954; Harchol-Balter,
"Performance Modeling", 2013, chapters 31 and 32; the best edges are ours.
"""

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.erlang import stable_load
from llmqueue_gym.theory.joint import JointLaw

GRID = 600  # edges that the first search chooses from
FINER = 32  # places in the span of an edge, from two below it on the grid to two above it, in every later search
SEARCHES = 4


def mean_response_time(joint: JointLaw, load: float, *edges: float, preemptive: bool) -> float:
    """Return E[T], s, of classes between ascending edges; first come first served where there are none.

    Raises:
        NotApplicable: there are no predictions.
    """
    ends = _Ends(joint, load, np.array(edges, float))
    cells = np.arange(len(edges) + 1)
    return ends.base(preemptive) + float(np.sum(ends.cost(cells, cells + 1, preemptive)))


def best_edges(joint: JointLaw, load: float, k: int, preemptive: bool) -> np.ndarray:
    """Return ascending edges `(k - 1,)`, s, of the least E[T]; fewer where more classes would not lower it.

    Raises:
        BadInput: k is no count, or the load is none.
        NotApplicable: there are no predictions.
    """
    _check(k)
    stable_load(load)
    values = _values(joint)
    grid = _thinned(joint.levels[1:] if values is None else values, GRID)
    chosen = _cheapest(joint, load, grid, k, preemptive)
    for _ in range(SEARCHES - 1):
        grid = _around(grid, chosen, values)
        chosen = _cheapest(joint, load, grid, k, preemptive)
    return grid[chosen]


def even_edges(joint: JointLaw, k: int, order: int) -> np.ndarray:
    """Return ascending edges `(k - 1,)`, s, between classes of equal shares of the jobs (order 0) or the load (1).

    Where predictions are discrete a class ends at the value that reaches its share, so there may be fewer edges.

    Raises:
        BadInput: k is no count.
        NotApplicable: there are no predictions.
    """
    _check(k)
    wanted = joint.size.moment(order) * np.arange(1, k) / k
    values = _values(joint)
    if values is not None:
        below = _parted(joint, (order,), values)[0, 0]
        return values[np.unique(np.searchsorted(below[:-1], wanted * (1 - 1e-12)))][: k - 1]
    below = _parted(joint, (order,), joint.levels)[0, 0]
    after = np.clip(np.searchsorted(below, wanted), 1, len(below) - 1)
    low, high = joint.levels[after - 1], joint.levels[after]
    for _ in range(25):
        middle = 0.5 * (low + high)
        short = _parted(joint, (order,), middle)[0, 0] < wanted
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


class _Ends:
    """Sums over the predictions on either side of each end of a class: minus infinity, the edges, infinity.

    Args:
        joint: law of size and prediction.
        load: lambda E[S].
        edges: ascending `(m,)`.
    """

    def __init__(self, joint: JointLaw, load: float, edges: np.ndarray):
        whole = np.array([1.0, joint.size.mean, joint.size.moment(2)])[:, None]
        below, above = _parted(joint, (0, 1, 2), edges)
        self._below = np.hstack([0 * whole, below, whole])
        self._above = np.hstack([whole, above, 0 * whole])
        self._lam = load / joint.size.mean
        self._idle = 1 - load + self._lam * self._above[1]
        self._mean = joint.size.mean

    def base(self, preemptive: bool) -> float:
        """Return the part of E[T] that no edge changes, s."""
        return 0.0 if preemptive else self._mean

    def cost(self, i: np.ndarray, j: np.ndarray, preemptive: bool) -> np.ndarray:
        """Return what the jobs between ends i and j, broadcast against each other, add to E[T], s."""
        share, work = self._between(0, i, j), self._between(1, i, j)
        behind = self._below[2][j] if preemptive else self._below[2][-1]  # squares of the work that may be found
        wait = share * 0.5 * self._lam * behind / (self._idle[i] * self._idle[j])
        return wait + work / self._idle[i] if preemptive else wait

    def _between(self, order: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return E[S^order] over the predictions between two ends, from the side on which sums are small."""
        below, above = self._below[order], self._above[order]
        return np.where(below[j] < above[i], below[j] - below[i], above[i] - above[j])


def _cheapest(joint: JointLaw, load: float, grid: np.ndarray, k: int, preemptive: bool) -> np.ndarray:
    """Return the places on the grid `(m,)` of the best edges, at most k - 1 of them."""
    ends = _Ends(joint, load, grid)
    n = len(grid) + 2
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    cost = np.where(i <= j, ends.cost(i, j, preemptive), np.inf)
    cost[np.arange(n), np.arange(n)] = 0.0  # an empty class
    least, came = cost[0], []
    for _ in range(k - 1):
        through = least[:, None] + cost
        came.append(through.argmin(axis=0))
        least = through.min(axis=0)
    at, chosen = n - 1, []
    for before in reversed(came):
        at = int(before[at])
        chosen.append(at)
    inner = np.unique(chosen) if chosen else np.empty(0, int)
    return inner[(inner > 0) & (inner < n - 1)] - 1


def _around(grid: np.ndarray, chosen: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    """Return a finer grid between the neighbours of the chosen places; of the predictions that there are, if few."""
    spans = list(zip(grid[np.maximum(chosen - 2, 0)], grid[np.minimum(chosen + 2, len(grid) - 1)], strict=True))
    if values is None:
        fine = [np.linspace(low, high, FINER + 1) for low, high in spans]
    else:
        fine = [_thinned(values[(values >= low) & (values <= high)], FINER) for low, high in spans]
    return np.unique(np.concatenate([grid[chosen], *fine]))


def _thinned(points: np.ndarray, count: int) -> np.ndarray:
    """Return about so many of the points `(n,)`, evenly by place; all of them where they are fewer."""
    return points[np.unique(np.linspace(0, len(points) - 1, min(count, len(points))).round().astype(int))]


def _values(joint: JointLaw) -> np.ndarray | None:
    """Return all values of a discrete prediction `(m,)`, or None where it is continuous."""
    if joint.blind:
        raise NotApplicable("classes of predicted size need a predictor that predicts something")
    return joint.size.atoms() if joint.exact else joint.predictor.atoms()


def _parted(joint: JointLaw, orders: tuple[int, ...], y: np.ndarray) -> np.ndarray:
    if joint.blind:
        raise NotApplicable("classes of predicted size need a predictor that predicts something")
    return joint.parted(orders, y) if len(y) else np.zeros((2, len(orders), 0))


def _check(k: int) -> None:
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise BadInput(f"k={k!r} classes: it must be a whole number from 1, for example 4")
