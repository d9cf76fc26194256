"""Discrete laws, of one size and of measured ones: every expectation is a sum over the atoms."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.columns import read_columns
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.integration import few, sums_from_above
from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.registry import ByData, text_of


class Discrete(Distribution):
    """A law on finitely many sizes."""

    @cached_property
    def _law(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms `(n_atoms,)`, ascending, and how often each occurs `(n_atoms,)`: counts, so that sums are exact."""
        raise NotImplementedError

    @cached_property
    def _sf_after(self) -> np.ndarray:
        """P(S > x) for x with i atoms at most x, i = 0 to n_atoms, `(n_atoms + 1,)`."""
        return sums_from_above(self._law[1]) / self._law[1].sum()

    @cached_property
    def _cdf_at(self) -> np.ndarray:
        """P(S <= atom i), `(n_atoms,)`."""
        return np.cumsum(self._law[1]) / self._law[1].sum()

    @cached_property
    def _masses(self) -> np.ndarray:
        return self._law[1] / self._law[1].sum()

    def atoms(self) -> np.ndarray:
        """Return the support `(n_atoms,)`, ascending."""
        return self._law[0].copy()

    def breakpoints(self) -> tuple[float, ...]:
        """Return the atoms; none where they are many."""
        return few(self._law[0])

    def _kinks(self) -> np.ndarray:
        return self._law[0]

    def _rank(self, x: float | np.ndarray) -> np.ndarray:
        """Return how many atoms are at most x."""
        return np.searchsorted(self._law[0], x, side="right")

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return self._sf_after[self._rank(x)]

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], self._cdf_at])[self._rank(x)]

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        raise NotApplicable(f"size law {self.name!r} is discrete: it has atoms, not a density")

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return self._law[0][np.minimum(np.searchsorted(self._cdf_at, q), self._cdf_at.size - 1)]

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return self._law[0][np.minimum(np.searchsorted(-self._sf_after[1:], -p), self._cdf_at.size - 1)]

    def _moment(self, k: float) -> float:
        return float(self._masses @ self._law[0] ** k)

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(self._masses * self._law[0] ** k)])[self._rank(x)]

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return sums_from_above(self._masses * self._law[0] ** k)[self._rank(x)]

    def quadrature(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the atoms in (edges[0], edges[-1]] and their masses: exact for every g."""
        inside = slice(int(self._rank(edges[0])), int(self._rank(edges[-1])))
        return self._law[0][inside].copy(), self._masses[inside].copy()


@dataclass(frozen=True)
class Deterministic(Discrete):
    """Every size is the mean."""

    name: ClassVar[str] = "deterministic"
    mean: float = 1.0  # stated again as the only parameter may come without its name

    @cached_property
    def _law(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([float(self.mean)]), np.ones(1, int)

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of the sample mean."""
        return cls(mean=float(cls._positive(samples).mean()))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return np.full(n, float(self.mean))


@dataclass(frozen=True, eq=False)
class Empirical(ByData, Discrete):
    """The discrete law that gives each sample the same weight, scaled to the mean.

    Attributes:
        samples: measured sizes `(n,)` in any unit, positive.
        source: what stands after `empirical:` in the printed form.
    """

    name: ClassVar[str] = "empirical"
    samples: np.ndarray
    source: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "samples", self._positive(self.samples).copy())

    def _data(self) -> tuple[float | bytes, ...]:
        return self.mean, self.samples.tobytes()

    def __str__(self) -> str:
        mean = "" if self.mean == 1 else f",mean={text_of(self.mean)}"
        return f"{self.name}:{self.source or f'{self.samples.size} samples'}{mean}"

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of the samples as they are, unscaled."""
        array = cls._positive(samples)
        return cls(array, mean=float(array.mean()))

    @cached_property
    def _sizes(self) -> np.ndarray:
        return self.samples * (self.mean / self.samples.mean())

    @cached_property
    def _law(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self._sizes, return_counts=True)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return self._sizes[rng.integers(self._sizes.size, size=n)]


def from_file(file: str, column: str = "output_tokens", mean: float = 1.0) -> Empirical:
    """Return the law of one column of a CSV file, which may be compressed (`.csv.gz`).

    Args:
        file: path of a file whose first line names the columns.
        column: the column that holds the sizes.
        mean: the mean that the sizes are scaled to.

    Raises:
        BadInput: no such file or column, no rows, or a cell that is no positive finite number; the message names the
            file, the data row, counted from 1, and the column.
    """
    (sizes,) = read_columns(file, [column])
    return Empirical(sizes.positive(), f"{file},column={column}", mean=mean)
