"""Discrete laws: they state their atoms and how often each occurs, and every expectation is a sum."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.integration import few, sums_from_above
from llmqueue_gym.distributions.samples import positive_samples
from llmqueue_gym.errors import NotApplicable


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
        return cls(mean=float(positive_samples(samples, cls.name).mean()))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return np.full(n, float(self.mean))
