"""The gamma law, and the Erlang law as its case of a whole shape."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.samples import likely, positive_samples


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
        x = positive_samples(samples, cls.name)
        gap = float(np.log(x.mean()) - np.log(x).mean())
        shape = likely(lambda a: float(np.log(a) - special.digamma(a)) - gap, 0.05, 1e6, cls.name, "shape")
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
        x = positive_samples(samples, cls.name)
        mean = float(x.mean())
        scv = max(float(x.var()) / mean**2, 1e-6)  # a million phases are as good as one size
        return cls(max(1, round(1 / scv)), mean=mean)
