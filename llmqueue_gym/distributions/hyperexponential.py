"""The hyperexponential law of two branches: many short jobs, a few long ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.samples import positive_samples


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
        x = positive_samples(samples, cls.name)
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
