"""A continuous law from a table of quantiles, such as the percentiles that a trace's paper reports."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.integration import few, sums_from_above
from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import ByData


@dataclass(frozen=True, eq=False)
class QuantileTable(ByData, Distribution):
    """The law whose quantile function runs straight between the points of a table, scaled to the mean.

    Attributes:
        q: probabilities `(n_knots,)`, strictly ascending from 0 to 1.
        values: their quantiles `(n_knots,)` in any unit, strictly ascending from at least 0.
    """

    name: ClassVar[str] = "quantile table"
    q: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("q", "values"):
            array = np.array(getattr(self, field), float)
            object.__setattr__(self, field, array)
            if array.ndim != 1 or array.size < 2:
                raise BadInput(f"a quantile table needs two or more {field}, not an array of shape {array.shape}")
            wrong = np.flatnonzero(~(np.diff(array) > 0) | ~np.isfinite(array[1:]))
            if wrong.size:  # a flat step would be an atom
                before, after = array[wrong[0] : wrong[0] + 2]
                raise BadInput(f"a quantile table needs {field} that ascend strictly: {after!s} follows {before!s}")
        if self.q.shape != self.values.shape:
            raise BadInput(f"a quantile table has {self.q.size} probabilities but {self.values.size} values")
        if (self.q[0], self.q[-1]) != (0.0, 1.0):
            raise BadInput(f"a quantile table runs from q=0 to q=1, not from {self.q[0]!s} to {self.q[-1]!s}")
        if not self.values[0] >= 0:
            raise BadInput(f"a quantile table holds sizes from 0 upwards, not {self.values[0]!s}")

    def _data(self) -> tuple[float | bytes, ...]:
        return self.mean, self.q.tobytes(), self.values.tobytes()

    def __str__(self) -> str:
        return f"quantile table of {self.q.size} knots, mean {self.mean:g}"

    @cached_property
    def _knots(self) -> np.ndarray:
        raw_mean = np.diff(self.q) @ (self.values[1:] + self.values[:-1]) / 2
        return self.values * (self.mean / raw_mean)

    @cached_property
    def _density(self) -> np.ndarray:
        """The density between two knots, with a zero on each side, `(n_knots + 1,)`."""
        return np.concatenate([[0.0], np.diff(self.q) / np.diff(self._knots), [0.0]])

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return np.interp(x, self._knots, 1 - self.q)

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return np.interp(x, self._knots, self.q)

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        return self._density[np.searchsorted(self._knots, x)]

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return np.interp(q, self.q, self._knots)

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return np.interp(p, 1 - self.q[::-1], self._knots[::-1])

    def breakpoints(self) -> tuple[float, ...]:
        """Return the knots; none where they are many."""
        return few(self._knots)

    def _kinks(self) -> np.ndarray:
        return self._knots

    def _split(self, k: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return E[S^k; S in step] of all steps, the step of each x, and that step's parts below and above x."""
        knots, density = self._knots, self._density[1:-1]
        powers = knots ** (k + 1) / (k + 1)
        x = np.clip(x, knots[0], knots[-1])
        step = np.clip(np.searchsorted(knots, x) - 1, 0, density.size - 1)
        at = x ** (k + 1) / (k + 1)
        below, above = density[step] * (at - powers[step]), density[step] * (powers[step + 1] - at)
        return density * np.diff(powers), step, below, above

    def _moment(self, k: float) -> float:
        return float(self._split(k, np.zeros(()))[0].sum())

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        steps, step, below, _ = self._split(k, x)
        return np.concatenate([[0.0], np.cumsum(steps)])[step] + below

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        steps, step, _, above = self._split(k, x)
        return sums_from_above(steps)[step + 1] + above
