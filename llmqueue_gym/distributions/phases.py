"""Laws made of exponential phases: their sum, Erlang's or with a shape that is not whole, and a choice of two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from llmqueue_gym.distributions.base import Distribution


class _GammaForm(Distribution):
    """What both laws share: density proportional to x^(a - 1) exp(-x / theta), a theta = mean."""

    @property
    def _a(self) -> float:
        raise NotImplementedError

    @property
    def _theta(self) -> float:
        return self.mean / self._a

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return special.gammaincc(self._a, x / self._theta)

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return special.gammainc(self._a, x / self._theta)

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        phase = x / self._theta
        return np.exp(special.xlogy(self._a - 1, phase) - phase - special.gammaln(self._a)) / self._theta

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return self._theta * special.gammaincinv(self._a, q)

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return self._theta * special.gammainccinv(self._a, p)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return rng.standard_gamma(self._a, n) * self._theta

    def _moment(self, k: float) -> float:
        return self._theta**k * float(special.poch(self._a, k))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.gammainc(self._a + k, x / self._theta)

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return self._moment(k) * special.gammaincc(self._a + k, x / self._theta)


@dataclass(frozen=True)
class Gamma(_GammaForm):
    """Gamma law.

    Attributes:
        shape: at least 0.05, as below it sizes vanish in float64; the squared coefficient of variation is 1 / shape.
    """

    name: ClassVar[str] = "gamma"
    shape: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("shape", 0.05 <= self.shape < np.inf, "at least 0.05 and finite")

    @property
    def _a(self) -> float:
        return self.shape

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the maximum-likelihood law: the sample mean, and log a - digamma(a) = log E[S] - E[log S]."""
        x = cls._positive(samples)
        gap = float(np.log(x.mean()) - np.log(x).mean())
        shape = cls._likely("shape", lambda a: float(np.log(a) - special.digamma(a)) - gap, 0.05, 1e6)
        return cls(shape, mean=float(x.mean()))


@dataclass(frozen=True)
class Erlang(_GammaForm):
    """Sum of k exponential phases of equal mean.

    Attributes:
        k: number of phases, a whole number from 1.
    """

    name: ClassVar[str] = "erlang"
    k: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("k", 1 <= self.k < np.inf and self.k == int(self.k), "a whole number from 1")

    @property
    def _a(self) -> float:
        return float(self.k)

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of the sample mean, with the number of phases nearest to the sample's variation."""
        x = cls._positive(samples)
        mean = float(x.mean())
        scv = max(float(x.var()) / mean**2, 1e-6)  # a million phases are as good as one size
        return cls(max(1, round(1 / scv)), mean=mean)


@dataclass(frozen=True)
class Hyperexponential(Distribution):
    """Exponential with mean m with probability p, else exponential with mean ratio * m; m follows from the mean.

    Attributes:
        p: probability of the short branch, in (0, 1).
        ratio: mean of the long branch over mean of the short one, at least 1.
    """

    name: ClassVar[str] = "hyperexponential"
    p: float = 0.9
    ratio: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("p", 0 < self.p < 1, "between 0 and 1")
        self._check("ratio", 1 <= self.ratio < np.inf, "at least 1 and finite")

    @property
    def branches(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The (probability, mean) of the short and of the long branch."""
        short = self.mean / (self.p + (1 - self.p) * self.ratio)
        return (self.p, short), (1 - self.p, short * self.ratio)

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of the sample mean with the most likely p and ratio."""
        x = cls._positive(samples)
        mean = float(x.mean())

        def shape(free: np.ndarray) -> tuple[float, float]:  # any two numbers give a legal p and ratio
            inner = np.clip(free, -30.0, 30.0)
            return float(special.expit(inner[0])), float(1 + np.exp(inner[1]))

        def loss(free: np.ndarray) -> float:
            return -float(np.log(np.maximum(cls(*shape(free), mean=mean).pdf(x), 1e-300)).mean())

        best = optimize.minimize(loss, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-9})
        return cls(*shape(best.x), mean=mean)

    def _mix(self, part: Callable[[float], Any]) -> Any:
        """Return the mixture of `part(branch mean)` over the two branches."""
        (p, short), (rest, long) = self.branches
        return p * part(short) + rest * part(long)

    def _sf(self, x: np.ndarray) -> np.ndarray:
        return self._mix(lambda m: np.exp(-x / m))

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return self._mix(lambda m: -np.expm1(-x / m))

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        return self._mix(lambda m: np.exp(-x / m) / m)

    def _moment(self, k: float) -> float:
        return float(special.gamma(k + 1) * self._mix(lambda m: m**k))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return special.gamma(k + 1) * self._mix(lambda m: m**k * special.gammainc(k + 1, x / m))

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        return special.gamma(k + 1) * self._mix(lambda m: m**k * special.gammaincc(k + 1, x / m))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        (p, short), (_, long) = self.branches
        return rng.standard_exponential(n) * np.where(rng.random(n) < p, short, long)
