"""Two aims at a time, such as little money and many right answers: who is not dominated, and the hypervolume.

The hypervolume of some points is the area that they dominate, up to a reference point that is worse than all that
counts. It is the one measure of a front known that grows whenever the front gains, and in two dimensions it is a sum of
rectangles, so it is exact.

Source: Zitzler, Thiele, "Multiobjective Optimization Using Evolutionary Algorithms", PPSN 1998; Zitzler, Thiele,
Laumanns, Fonseca, Grunert da Fonseca, IEEE Trans. Evolutionary Computation 7, 2003.
"""

import numpy as np

from llmqueue_gym.errors import BadInput


def undominated(costs: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Return the rows of a front, by ascending cost: no other point costs no more and gains no less, and one differs.

    Args:
        costs: `(n,)`, less is better.
        gains: `(n,)`, more is better.
    """
    costs, gains = _points(costs, gains)
    order = np.lexsort((-gains, costs))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], gains[order][:-1]]))
    return order[gains[order] > best]


def hypervolume(costs: np.ndarray, gains: np.ndarray, cost: float, gain: float) -> float:
    """Return the area that points dominate up to a reference point; those that are not better than it in both add none.

    Args:
        costs: `(n,)`, less is better.
        gains: `(n,)`, more is better.
        cost: of the reference point.
        gain: likewise.
    """
    costs, gains = _points(costs, gains)
    inside = (costs < cost) & (gains > gain)
    rows = undominated(costs[inside], gains[inside])
    x, y = costs[inside][rows], gains[inside][rows]
    return float(np.sum((np.append(x[1:], cost) - x) * (y - gain)))


def gain_at(costs: np.ndarray, gains: np.ndarray, cost: float) -> float:
    """Return the most that is gained at no more than a cost, by choosing between two points at random; NaN for none.

    It lies on the upper hull of the points, as shares of the calls can go by either.
    """
    return _on_hull(*_points(costs, gains), cost)


def cost_at(costs: np.ndarray, gains: np.ndarray, gain: float) -> float:
    """Return the least cost of no less than a gain, by choosing between two points at random; NaN where none has it."""
    costs, gains = _points(costs, gains)
    return -_on_hull(-gains, -costs, -gain)


def _on_hull(costs: np.ndarray, gains: np.ndarray, cost: float) -> float:
    rows = undominated(costs, gains)
    hull: list[tuple[float, float]] = []
    for x, y in zip(costs[rows].tolist(), gains[rows].tolist(), strict=True):
        while len(hull) > 1 and _above(hull[-2], (x, y), hull[-1]):
            hull.pop()
        hull.append((x, y))
    if not hull or cost < hull[0][0]:
        return float("nan")
    at = np.array(hull)
    return float(np.interp(cost, at[:, 0], at[:, 1]))


def _above(first: tuple[float, float], last: tuple[float, float], middle: tuple[float, float]) -> bool:
    """Whether the line between two points passes above a third, or through it."""
    rise = (last[1] - first[1]) * (middle[0] - first[0])
    return rise >= (middle[1] - first[1]) * (last[0] - first[0])


def _points(costs: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    costs, gains = np.asarray(costs, float), np.asarray(gains, float)
    if costs.ndim != 1 or costs.shape != gains.shape or np.isnan(costs).any() or np.isnan(gains).any():
        raise BadInput(f"costs {costs.shape} and gains {gains.shape} must be (n,), without NaN")
    return costs, gains
