"""The exponential law, the memoryless one."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.samples import positive_samples


@dataclass(frozen=True)
class Exponential(Distribution):
    """P(S > x) = exp(-x / mean)."""

    name: ClassVar[str] = "exponential"
    mean: float = 1.0  # stated again as the only parameter may come without its name

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: the sample mean."""
        return cls(mean=float(positive_samples(samples, cls.name).mean()))

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-x / self.mean)

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return -np.expm1(-x / self.mean)

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-x / self.mean) / self.mean

    def _hazard(self, x: np.ndarray) -> np.ndarray:
        return np.full(np.shape(x), 1 / self.mean)

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return -np.log1p(-q) * self.mean

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return -np.log(p) * self.mean

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return rng.standard_exponential(n) * self.mean

    def _moment(self, k: float) -> float:
        return self.mean**k * special.gamma(k + 1)

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.gammainc(k + 1, x / self.mean)

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.gammaincc(k + 1, x / self.mean)
