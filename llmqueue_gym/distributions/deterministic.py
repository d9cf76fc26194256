"""The law of one size."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.distributions.discrete import Discrete
from llmqueue_gym.distributions.samples import positive_samples


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
