"""Laws with a tail of any weight: Weibull, the exponential among them, and lognormal."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llmqueue_gym.distributions.base import Distribution


class _WeibullForm(Distribution):
    """What both laws share: P(S > x) = exp(-(x / scale)^c), so (S / scale)^c is a standard exponential."""

    @property
    def _c(self) -> float:
        raise NotImplementedError

    @cached_property
    def scale(self) -> float:
        """The size that a share 1 / e of all sizes exceed."""
        return self.mean / float(special.gamma(1 + 1 / self._c))

    def _exponent(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # inf serves
            return (x / self.scale) ** self._c

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-self._exponent(x))

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return -np.expm1(-self._exponent(x))

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        return self._hazard(x) * self._sf(x)

    def _hazard(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):  # inf at zero for shape < 1
            return self._c / self.scale * (x / self.scale) ** (self._c - 1)

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return self.scale * (-np.log1p(-q)) ** (1 / self._c)

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return self.scale * (-np.log(p)) ** (1 / self._c)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return self.scale * rng.standard_exponential(n) ** (1 / self._c)

    def _moment(self, k: float) -> float:
        return self.scale**k * float(special.gamma(1 + k / self._c))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.gammainc(1 + k / self._c, self._exponent(x))

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.gammaincc(1 + k / self._c, self._exponent(x))


@dataclass(frozen=True)
class Weibull(_WeibullForm):
    """P(S > x) = exp(-(x / scale)^shape), so (S / scale)^shape is a standard exponential.

    Attributes:
        shape: at least 0.05, as below it sizes vanish in float64; 0.5 with mean 1 is P(S > x) = exp(-sqrt(2 x)).
    """

    name: ClassVar[str] = "weibull"
    shape: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("shape", 0.05 <= self.shape < np.inf, "at least 0.05 and finite")

    @property
    def _c(self) -> float:
        return self.shape

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: the root of the profile score in the shape."""
        x = cls._positive(samples)
        log_x = np.log(x / x.max())  # the shape has no unit, and powers of numbers up to one do not overflow

        def score(shape: float) -> float:
            powers = np.exp(shape * log_x)
            return float(powers @ log_x / powers.sum() - 1 / shape - log_x.mean())

        shape = cls._likely("shape", score, 0.05, 1000.0)
        scale = x.max() * np.exp(shape * log_x).mean() ** (1 / shape)
        return cls(shape, mean=float(scale * special.gamma(1 + 1 / shape)))


@dataclass(frozen=True)
class Exponential(_WeibullForm):
    """P(S > x) = exp(-x / mean), the memoryless law."""

    name: ClassVar[str] = "exponential"
    mean: float = 1.0  # stated again as the only parameter may come without its name

    @property
    def _c(self) -> float:
        return 1.0

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: the sample mean."""
        return cls(mean=float(cls._positive(samples).mean()))

    # No powers: the same numbers, sooner.

    def _exponent(self, x: np.ndarray) -> np.ndarray:
        return x / self.mean

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-x / self.mean) / self.mean

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return rng.standard_exponential(n) * self.mean


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
        logs = np.log(cls._positive(samples))
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
