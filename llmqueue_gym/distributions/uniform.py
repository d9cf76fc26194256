"""The uniform law."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.samples import positive_samples


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform on [low * mean, (2 - low) * mean].

    Attributes:
        low: least size over the mean, in [0, 1).
    """

    name: ClassVar[str] = "uniform"
    low: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("low", 0 <= self.low < 1, "at least 0 and below 1")

    @property
    def _support(self) -> tuple[float, float]:
        return self.low * self.mean, (2 - self.low) * self.mean

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: the ends are the extreme samples."""
        x = positive_samples(samples, cls.name)
        mean = float(x.min() / 2 + x.max() / 2)
        return cls(float(x.min()) / mean, mean=mean)

    def _sf(self, x: np.ndarray) -> np.ndarray:
        low, high = self._support
        return (high - np.clip(x, low, high)) / (high - low)

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        low, high = self._support
        return (np.clip(x, low, high) - low) / (high - low)

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        low, high = self._support
        return np.where((x >= low) & (x <= high), 1 / (high - low), 0.0)

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        low, high = self._support
        return low + q * (high - low)

    def _isf(self, p: np.ndarray) -> np.ndarray:
        low, high = self._support
        return high - p * (high - low)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return self.isf(rng.random(n))  # down from the upper end, so that a size is never zero

    def breakpoints(self) -> tuple[float, ...]:
        """Return both ends of the support."""
        return self._support

    def _between(self, k: float, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        least, largest = self._support
        return (np.power(high, k + 1.0) - np.power(low, k + 1.0)) / ((k + 1) * (largest - least))

    def _moment(self, k: float) -> float:
        return float(self._between(k, *self._support))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._between(k, self._support[0], np.clip(x, *self._support))

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._between(k, np.clip(x, *self._support), self._support[1])
