"""Laws with a largest size: the uniform law, and the bounded Pareto law, a power tail that is cut there."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llmqueue_gym.distributions.base import Distribution


class _Bounded(Distribution):
    """A law between two sizes, which states E[S^k; low < S <= high] for two points of its support."""

    @property
    def _support(self) -> tuple[float, float]:
        raise NotImplementedError

    def _between(self, k: float, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return np.minimum(self._tail_moment(0, x), 1.0)

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return np.minimum(self._partial_moment(0, x), 1.0)

    def _moment(self, k: float) -> float:
        return float(self._between(k, *self._support))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._between(k, self._support[0], np.clip(x, *self._support))

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._between(k, np.clip(x, *self._support), self._support[1])

    def breakpoints(self) -> tuple[float, ...]:
        """Return both ends of the support."""
        return self._support


@dataclass(frozen=True)
class Uniform(_Bounded):
    """Uniform on [low * mean, (2 - low) * mean].

    Attributes:
        low: least size over the mean, in [0, 1).
    """

    name: ClassVar[str] = "uniform"
    low: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("low", 0 <= self.low < 1, "at least 0 and below 1")

    @cached_property
    def _support(self) -> tuple[float, float]:
        return self.low * self.mean, (2 - self.low) * self.mean

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: the ends are the extreme samples."""
        x = cls._positive(samples)
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

    def _between(self, k: float, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        least, largest = self._support
        return (np.power(high, k + 1.0) - np.power(low, k + 1.0)) / ((k + 1) * (largest - least))


@dataclass(frozen=True)
class BoundedPareto(_Bounded):
    """Density proportional to x^(-alpha - 1) on [low, high * low], where low follows from the mean.

    Attributes:
        alpha: exponent of the tail, positive.
        high: the largest size over the least one, above 1; a ratio, not a size.
    """

    name: ClassVar[str] = "bounded-pareto"
    alpha: float = 1.5
    high: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("high", 1 < self.high < np.inf, "above 1 and finite: it is the largest size over the least")
        most = 700 / np.log(self.high)  # beyond it high^-alpha is zero in float64
        self._check("alpha", 0 < self.alpha < most, f"positive and below {most:.6g}")

    @cached_property
    def low(self) -> float:
        """The least size."""
        return self.mean * float(_power(-self.alpha, 1.0, self.high) / _power(1 - self.alpha, 1.0, self.high))

    @cached_property
    def _support(self) -> tuple[float, float]:
        return self.low, self.high * self.low

    @cached_property
    def _floor(self) -> float:
        """P(X > high) of the Pareto law before the cut, with least size 1."""
        return self.high**-self.alpha

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law (Aban, Meerschaert and Panorska 2006): the ends are the extreme samples."""
        x = cls._positive(samples)
        high = float(x.max() / x.min())
        log_mean = float(np.log(x / x.min()).mean())
        cls(high=high)  # samples that are all equal fail here

        def score(alpha: float) -> float:
            return 1 / alpha - np.log(high) / np.expm1(alpha * np.log(high)) - log_mean

        alpha = cls._likely("alpha", score, 1e-3, float(500 / np.log(high)))
        law = cls(alpha, high)
        return law.scaled(float(x.min()) / law.low)

    def _between(self, k: float, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        least = self.low
        return least**k * _power(k - self.alpha, low / least, high / least) / _power(-self.alpha, 1.0, self.high)

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        low, high = self._support
        density = self.alpha / low / (1 - self._floor) * (np.clip(x, low, high) / low) ** (-self.alpha - 1)
        return np.where((x >= low) & (x <= high), density, 0.0)

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        lower = self.low * np.exp(-np.log1p(-q * (1 - self._floor)) / self.alpha)
        return np.where(q < 0.5, lower, self._isf(1 - q))

    def _isf(self, p: np.ndarray) -> np.ndarray:
        above = p * (1 - self._floor) / self._floor
        return self._support[1] * np.exp(-np.log1p(above) / self.alpha)  # from the upper end: exact far in the tail

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return self.low * (1 - rng.random(n) * (1 - self._floor)) ** (-1 / self.alpha)


def _power(d: float, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Return the integral of t^(d - 1) from low to high, with no loss where d or the interval is near zero."""
    length = np.log(high / low)
    return low**d * length * special.exprel(d * length)
