"""The lognormal law."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.samples import positive_samples


@dataclass(frozen=True)
class Lognormal(Distribution):
    """log S is normal with standard deviation sigma and mean mu = log(mean) - sigma^2 / 2.

    Attributes:
        sigma: standard deviation of log S, positive.
    """

    name: ClassVar[str] = "lognormal"
    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("sigma", 0 < self.sigma < np.inf, "positive and finite")

    @cached_property
    def mu(self) -> float:
        """The mean of log S."""
        return float(np.log(self.mean)) - self.sigma**2 / 2

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: mean and standard deviation of the logarithms."""
        logs = np.log(positive_samples(samples, cls.name))
        return cls(float(logs.std()), mean=float(np.exp(logs.mean() + logs.var() / 2)))

    def _z(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return (np.log(x) - self.mu) / self.sigma

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return special.ndtr(-self._z(x))

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return special.ndtr(self._z(x))

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        inside = np.where(x > 0, x, np.inf)  # the density is zero at zero, as it is at infinity
        return np.exp(-(self._z(inside) ** 2) / 2) / (inside * self.sigma * np.sqrt(2 * np.pi))

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return np.exp(self.mu + self.sigma * special.ndtri(q))

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return np.exp(self.mu - self.sigma * special.ndtri(p))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return np.exp(self.mu + self.sigma * rng.standard_normal(n))

    def _moment(self, k: float) -> float:
        return float(np.exp(k * self.mu + (k * self.sigma) ** 2 / 2))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.ndtr(self._z(x) - k * self.sigma)

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.ndtr(k * self.sigma - self._z(x))
