"""The joint law of true size S and prediction Y, discretised once, in the form that all of the theory integrates.

Y is cut into rows (its own values where it is discrete, else narrow cells), S into points. Any predictor that states
`cdf(y, x)` is turned into this form, so a new prediction model needs no new theory.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

_BLOCK = 1 << 22  # entries of a cdf table that are evaluated at a time


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

    def refined(self, ages: np.ndarray) -> "Row":
        """Return the row on a finer grid `(k,)` that contains its own."""
        i, above = self.reached_at(ages)
        served, served2 = cubic(self.ages, self.above, self.reached, self.served, self.served2, i, ages)
        own = np.searchsorted(ages, self.ages)
        reached = above.copy()
        above[own], reached[own], served[own], served2[own] = self.above, self.reached, self.served, self.served2
        return replace(self, ages=ages, above=above, reached=reached, served=served, served2=served2)


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
        self.exact = not self.blind and _is_exact(predictor, self.x)
        self._y_cells, self._cuts = y_cells, cuts

    # Moments over predictions, for the closed forms.

    @cached_property
    def levels(self) -> np.ndarray:
        """Ascending predictions `(m,)`, four to a cell, at which closed forms are evaluated."""
        edges = self.y_edges
        return np.unique(np.concatenate([edges[:-1] + q * np.diff(edges) for q in (0, 0.25, 0.5, 0.75)] + [edges[-1:]]))

    def tail_moments(self, orders: tuple[int, ...], y: np.ndarray) -> np.ndarray:
        """Return E[S^k; Y > y] `(len(orders), m)` for each order k and each y `(m,)`."""
        if self.exact:
            return np.array([self.size.tail_moment(k, y) for k in orders])
        return self._sum(np.array([self.p * self.x**k for k in orders]), y)

    @cached_property
    def level_tails(self) -> np.ndarray:
        """E[S^k; Y > y] for k = 0, 1, 2 at each level `(3, m)`."""
        return self.tail_moments((0, 1, 2), self.levels)

    @property
    def continuous(self) -> bool:
        """Whether no prediction has a probability of its own, so that ties play no part."""
        return not self.blind and (not self.discrete if self.exact else self.predictor.atoms() is None)

    @cached_property
    def y_edges(self) -> np.ndarray:
        """Ascending edges of the cells of predictions; the values themselves where Y is discrete."""
        if self.exact:
            return self.edges
        atoms = self.predictor.atoms()
        if atoms is not None:
            return np.concatenate([[-np.inf], atoms])
        wide = np.geomspace(self.x[0] * 1e-4, self.x[-1] * 1e4, 3000)
        below = 1 - self._sum(self.p[None, :], wide)[0]
        low = wide[np.searchsorted(below, 1e-7)]
        high = wide[min(int(np.searchsorted(below, 1 - 1e-12)), len(wide) - 1)]
        inside = (wide >= low) & (wide <= high)
        quantiles = np.interp(
            np.concatenate(
                [np.geomspace(1e-7, 0.5, self._y_cells // 3), 1 - np.geomspace(1e-12, 0.5, self._y_cells // 3)]
            ),
            below[inside],
            wide[inside],
        )
        return np.unique(np.concatenate([[0.0], np.geomspace(low, high, self._y_cells // 3), quantiles, self._cuts]))

    # Rows, for SOAP and Gittins.

    @cached_property
    def rows(self) -> list[Row]:
        """Return the law of S on each cell of predictions."""
        if self.blind:
            return [self._row(0.0, self.p)]
        if self.exact:
            return self._exact_rows()
        edges = self.y_edges
        below = self._cdf_points(edges)
        below[:, -1] = 1.0
        mass = np.diff(below, axis=1) * self.p[:, None]
        discrete = self.predictor.atoms() is not None
        middle = edges[1:] if discrete else 0.5 * (edges[1:] + edges[:-1])
        total = mass.sum(axis=0)
        return [self._row(y, mass[:, j]) for j, y in enumerate(middle) if total[j] > 1e-15]

    def _row(self, y: float, p: np.ndarray) -> Row:
        ages, x = self.edges, self.x
        sums = [np.concatenate([[0.0], np.cumsum(p * x**k)]) for k in range(3)]
        right = np.searchsorted(x, ages, side="right")
        left = np.searchsorted(x, ages, side="left")
        tail = np.concatenate([np.cumsum(p[::-1])[::-1], [0.0]])
        above, reached = tail[right], tail[left]
        served = sums[1][right] + ages * above
        served2 = 0.5 * (sums[2][right] + ages**2 * above)
        return Row(y, ages, above, reached, served, served2, x, p)

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

    def _sum(self, weights: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the sums over x of weight(x) P(Y > y | S = x) for each row of weights and each y."""
        step = max(1, _BLOCK // len(self.x))
        blocks = [weights @ (1 - self._cdf_points(y[i : i + step])) for i in range(0, len(y), step)]
        return np.concatenate(blocks, axis=1)


def _edges(size: Any, breakpoints: tuple[float, ...], cells: int) -> np.ndarray:
    """Return ascending edges from 0 that are dense in size, in probability and in the tail."""
    low, high = float(size.ppf(1e-7)), float(size.isf(1e-14))
    parts: list[Any] = [[0.0], breakpoints, size.breakpoints(), np.geomspace(low, high, cells // 3)]
    if low > 1e-3 * size.mean:  # ages below the smallest size: no job ends there, but ranks move
        parts.append(np.linspace(0, low, cells // 6))
    atoms = size.atoms()
    if atoms is not None:
        parts += [atoms, np.linspace(0, high, cells // 3)]
    else:
        parts += [size.ppf(np.geomspace(1e-7, 0.5, cells // 3)), size.isf(np.geomspace(1e-14, 0.5, cells // 3))]
    edges = np.unique(np.concatenate([np.asarray(part, float) for part in parts]))
    return edges[(edges >= 0) & (edges <= high)]


def _is_exact(predictor: Any, x: np.ndarray) -> bool:
    """Whether Y equals S, whatever the predictor is called."""
    some = x[:: max(1, len(x) // 50)]
    return bool(
        np.all(predictor.cdf(some * (1 + 1e-9), some) == 1) and np.all(predictor.cdf(some * (1 - 1e-9), some) == 0)
    )
