"""The joint law of true size S and prediction Y, discretised once, in the form that all of the theory integrates.

Y is cut into rows (its own values where it is discrete, else narrow cells), S into points. Any predictor that states
`cdf(y, x)` is turned into this form, so a new prediction model needs no new theory.

Waiting is made of E[S^2], and where tails are heavy most of that is in sizes of next to no probability. So grids reach
as far as the second moment does, and what is small is summed by itself, never the difference of two large sums.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

_BLOCK = 1 << 22  # entries of a cdf table that are evaluated at a time
_SAME = 1e-9  # relative: ages closer than this are one
_CUT = 1e-13  # of E[S^2], beyond the last edge
_BESIDE = 1e-4  # relative width of the cells on both sides of a lump, which tables may mix up with it
_AHEAD = 256  # ages of a row before its least size, where no job ends but ranks move


@dataclass(frozen=True)
class Row:
    """The law of S on one cell of predictions, on a grid of ages.

    Attributes:
        y: the prediction that stands for the cell.
        ages: ascending, from 0, `(n,)`.
        above: P(S > age; cell) `(n,)`.
        reached: P(S >= age; cell) `(n,)`; larger than `above` where the age is an atom.
        served: E[min(S, age); cell] `(n,)`.
        served2: E[min(S, age)^2; cell] / 2 `(n,)`.
        x, p: sizes and probabilities that sum to an expectation over the cell, each `(k,)`.
    """

    y: float
    ages: np.ndarray
    above: np.ndarray
    reached: np.ndarray
    served: np.ndarray
    served2: np.ndarray
    x: np.ndarray
    p: np.ndarray

    def reached_at(self, ages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell of each age, and P(S >= age; cell) on the straight line through it, both `(k,)`."""
        i = np.clip(np.searchsorted(self.ages, ages, side="right") - 1, 0, len(self.ages) - 2)
        share = (ages - self.ages[i]) / (self.ages[i + 1] - self.ages[i])
        return i, self.above[i] + share * (self.reached[i + 1] - self.above[i])

    def kept(self, p: np.ndarray) -> "Row":
        """Return the row of some of its jobs, with probabilities p `(k,)` in place of its own."""
        return _row_of(self.y, self.ages, self.x, p)

    def refined(self, ages: np.ndarray) -> "Row":
        """Return the row on a finer grid `(k,)` that contains its own; an age may stand twice."""
        if len(ages) == len(self.ages):
            return self
        i, above = self.reached_at(ages)
        served, served2 = cubic(self.ages, self.above, self.reached, self.served, self.served2, i, ages)
        reached = above.copy()
        own = np.minimum(np.searchsorted(self.ages, ages), len(self.ages) - 1)
        same = self.ages[own] == ages
        for new, old in ((above, self.above), (reached, self.reached), (served, self.served), (served2, self.served2)):
            new[same] = old[own[same]]
        return replace(self, ages=ages, above=above, reached=reached, served=served, served2=served2)


def _row_of(y: float, ages: np.ndarray, x: np.ndarray, p: np.ndarray) -> Row:
    """Return the row of sizes x with probabilities p `(k,)` on a grid of ages."""
    sums = [np.concatenate([[0.0], np.cumsum(p * x**k)]) for k in range(3)]
    right = np.searchsorted(x, ages, side="right")
    left = np.searchsorted(x, ages, side="left")
    tail = np.concatenate([np.cumsum(p[::-1])[::-1], [0.0]])
    above, reached = tail[right], tail[left]
    served = sums[1][right] + ages * above
    served2 = 0.5 * (sums[2][right] + ages**2 * above)
    return Row(y, ages, above, reached, served, served2, x, p)


def cubic(ages, above, reached, served, served2, i, t):
    """Return E[min(S, t)] and E[min(S, t)^2] / 2 at ages t in cells that start at ages[i], by cubic Hermite."""
    h = ages[i + 1] - ages[i]
    u = (t - ages[i]) / h
    v = 1.0 - u
    h00, h10, h01, h11 = (1 + 2 * u) * v * v, u * v * v, u * u * (3 - 2 * u), -u * u * v
    first = h00 * served[i] + h01 * served[i + 1] + h * (h10 * above[i] + h11 * reached[i + 1])
    second = h00 * served2[i] + h01 * served2[i + 1]
    second += h * (h10 * ages[i] * above[i] + h11 * ages[i + 1] * reached[i + 1])
    return first, second


class JointLaw:
    """Joint law of a size law and a predictor.

    Args:
        size: law of S.
        predictor: bound prediction model, or None for no prediction.
        x_cells, y_cells: about how fine to cut.
        cuts: predictions at which a cell must end, because a policy tells apart what lies on either side.
    """

    def __init__(
        self, size: Any, predictor: Any = None, x_cells: int = 1200, y_cells: int = 800, cuts: tuple[float, ...] = ()
    ):
        self.size = size
        self.predictor = predictor
        self.blind = predictor is None or not predictor.informative
        self.discrete = size.atoms() is not None
        self.edges = _edges(size, (*cuts, *(() if self.blind else predictor.breakpoints())), x_cells)
        self.x, self.p = size.quadrature(self.edges)
        top = self.edges[-1]
        rest = float(size.sf(top))
        if rest > 0:  # one point stands for all that lies beyond, or the last jobs would look as if they ended soon
            beyond = float(size.tail_moment(1, top)) / rest
            self.edges = np.append(self.edges, 2 * beyond - top)
            self.x, self.p = np.append(self.x, beyond), np.append(self.p, rest)
        self.exact = not self.blind and _is_exact(predictor, self.x)
        self.lumps = np.array([]) if self.blind or self.exact else np.unique(predictor.lumps())
        self._y_cells, self._cuts = y_cells, cuts

    # Moments over predictions, for the closed forms.

    @cached_property
    def levels(self) -> np.ndarray:
        """Ascending predictions `(m,)`, four to a cell, at which closed forms are evaluated."""
        edges = self.y_edges
        return np.unique(np.concatenate([edges[:-1] + q * np.diff(edges) for q in (0, 0.25, 0.5, 0.75)] + [edges[-1:]]))

    def parted(self, orders: tuple[int, ...], y: np.ndarray) -> np.ndarray:
        """Return E[S^k; Y <= y] and E[S^k; Y > y] `(2, len(orders), m)` for each order k and each y `(m,)`."""
        if self.exact:
            law = self.size
            return np.array([[f(k, y) for k in orders] for f in (law.partial_moment, law.tail_moment)])
        return self._parted(np.array([self.p * self.x**k for k in orders]), y)

    @cached_property
    def at_levels(self) -> np.ndarray:
        """E[S^k; Y <= y] and E[S^k; Y > y] for k = 0, 1, 2 at each level `(2, 3, m)`."""
        return self.parted((0, 1, 2), self.levels)

    @property
    def continuous(self) -> bool:
        """Whether no prediction but a lump has a probability of its own, so that ties play no part elsewhere."""
        return not self.blind and (not self.discrete if self.exact else self.predictor.atoms() is None)

    @cached_property
    def y_edges(self) -> np.ndarray:
        """Ascending edges of the cells of predictions; the values themselves where Y is discrete."""
        if self.exact:
            return self.edges
        atoms = self.predictor.atoms()
        if atoms is not None:
            return np.append(min(atoms[0], 0.0) - 1, atoms)
        wide = np.geomspace(self.x[0] * 1e-4, self.x[-1] * 1e4, 1000)
        below, above = self._parted(np.array([self.p, self.p * self.x**2 / (self.p @ self.x**2)]), wide)
        low = wide[np.searchsorted(below[0], 1e-7)]
        far = (above[0] < 1e-12) & (above[1] < _CUT)
        high = wide[np.argmax(far)] if far.any() else wide[-1]
        n = self._y_cells // 3
        # From above, so that the quantiles of a tail are told apart; half as many where the second moment is.
        first = np.exp(np.interp(np.geomspace(1e-7, 0.5, n), below[0], np.log(wide)))
        last = np.exp(np.interp(np.geomspace(1e-12, 0.5, n), above[0][::-1], np.log(wide[::-1])))
        large = np.exp(np.interp(np.geomspace(_CUT, 0.5, n // 2), above[1][::-1], np.log(wide[::-1])))
        large = large[large > last.max()]
        inner = np.concatenate([np.geomspace(low, high, n), first, last, large, self._cuts])
        beside = [self.lumps * (1 - _BESIDE), np.nextafter(self.lumps, 0), self.lumps, self.lumps * (1 + _BESIDE)]
        return np.unique(np.concatenate([[0.0], inner[(inner >= low) & (inner <= high)], *beside]))

    # Rows, for SOAP and Gittins.

    @cached_property
    def whole(self) -> Row:
        """The law of S, of which nothing is predicted."""
        return self._row(0.0, self.p)

    @cached_property
    def rows(self) -> list[Row]:
        """Return the law of S on each cell of predictions."""
        if self.blind:
            return [self.whole]
        if self.exact:
            return self._exact_rows()
        edges = self.y_edges
        discrete = self.predictor.atoms() is not None
        own = discrete | np.isin(edges[1:], self.lumps)
        middle = np.where(own, edges[1:], 0.5 * (edges[1:] + edges[:-1]))
        square = self.x**2 / (self.p @ self.x**2)
        step = max(1, _BLOCK // len(self.x))
        rows = []
        for i in range(0, len(middle), step):
            below = self._cdf_points(edges[i : i + step + 1])
            if i + step >= len(middle):
                below[:, -1] = 1.0
            mass = np.maximum(np.diff(below, axis=1), 0.0).T * self.p
            counts = (mass.sum(axis=1) > 1e-15) | (mass @ square > 1e-15)
            rows += [self._row(y, p) for y, p in zip(middle[i : i + step][counts], mass[counts], strict=True)]
        return rows

    def _row(self, y: float, p: np.ndarray) -> Row:
        """Return the row of a prediction with the probabilities p `(k,)` of all points; it ends at its largest size."""
        first, last = np.flatnonzero(p)[[0, -1]]
        x, p = self.x[first : last + 1], p[first : last + 1].copy()
        least, end = np.searchsorted(self.edges, [x[0], x[-1]])
        ages = self.edges[: end + 1]
        if least > _AHEAD:
            ages = np.concatenate([ages[: least - 1 : least // _AHEAD], ages[least - 1 :]])
        return _row_of(y, ages, x, p)

    def _exact_rows(self) -> list[Row]:
        """S and Y are one: each cell becomes an atom at its mean."""
        cell = np.searchsorted(self.edges, self.x, side="left")
        p = np.bincount(cell, self.p)
        x = np.bincount(cell, self.p * self.x)[p > 0] / p[p > 0]
        rows = []
        for y, q in zip(x, p[p > 0], strict=True):
            ages = np.append(self.edges[self.edges < y], y)
            ones = np.full(len(ages), q)
            above = ones.copy()
            above[-1] = 0.0
            rows.append(Row(y, ages, above, ones, q * ages, q * ages**2 / 2, np.array([y]), np.array([q])))
        return rows

    # Sums over the points of S.

    def _cdf_points(self, y: np.ndarray) -> np.ndarray:
        """Return P(Y <= y | S = x) `(k, m)` for the points x of S."""
        return np.asarray(self.predictor.cdf(y[None, :], self.x[:, None]), float)

    def _parted(self, weights: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the sums over x of weight(x) P(Y <= y | S = x), and P(Y > y | S = x), for each row and each y."""
        step = max(1, _BLOCK // len(self.x))
        parts = []
        for i in range(0, len(y), step):
            below = self._cdf_points(y[i : i + step])
            parts.append([weights @ below, weights @ (1 - below)])
        return np.concatenate(parts, axis=2)


def reach(size: Any) -> float:
    """Return the size beyond which there is less than 1e-14 of the jobs and 1e-13 of E[S^2]."""
    atoms = size.atoms()
    if atoms is not None:
        return float(atoms[-1])
    second = size.moment(2)
    few, many = 14, 300  # decimal digits of the probability beyond it
    while many - few > 1:
        digits = (few + many) // 2
        if size.tail_moment(2, size.isf(10.0**-digits)) > _CUT * second:
            few = digits
        else:
            many = digits
    least = 14 if size.tail_moment(2, size.isf(1e-14)) <= _CUT * second else many
    return float(size.isf(10.0**-least))


def _edges(size: Any, breakpoints: tuple[float, ...], cells: int) -> np.ndarray:
    """Return ascending edges from 0 that are dense in size, in probability and in the tail."""
    low, high = float(size.ppf(1e-7)), reach(size)
    n = cells // 3
    grid = [np.geomspace(low, high, n)]
    if low > 1e-3 * size.mean:  # ages below the smallest size: no job ends there, but ranks move
        grid.append(np.linspace(0, low, n // 2))
    atoms = size.atoms()
    if atoms is not None:
        grid.append(np.linspace(0, high, n))
    else:
        grid += [size.ppf(np.geomspace(1e-7, 0.5, n)), size.isf(np.geomspace(1e-14, 0.5, n))]
        rare = size.sf(high)
        if 0 < rare < 1e-14:
            grid.append(size.isf(np.geomspace(rare, 1e-14, n // 2)))
    edges = _apart([0.0] if atoms is None else np.append(0.0, atoms), (*breakpoints, *size.breakpoints()), *grid)
    return edges[(edges >= 0) & (edges <= high)]


def _apart(exact: Any, *others: Any) -> np.ndarray:
    """Return the points of all groups, ascending, but for those that are the same as one before."""
    kept = np.unique(exact)
    for group in others:
        new = np.unique(group)
        new = new[np.diff(new, prepend=-1.0) > _SAME * new]
        after = np.searchsorted(kept, new)
        gap = np.minimum(np.abs(new - kept[after - 1]), np.abs(kept[np.minimum(after, len(kept) - 1)] - new))
        kept = np.union1d(kept, new[gap > _SAME * new])
    return kept


def _is_exact(predictor: Any, x: np.ndarray) -> bool:
    """Whether Y equals S, whatever the predictor is called."""
    some = x[:: max(1, len(x) // 50)]
    return bool(
        np.all(predictor.cdf(some * (1 + 1e-9), some) == 1) and np.all(predictor.cdf(some * (1 - 1e-9), some) == 0)
    )
