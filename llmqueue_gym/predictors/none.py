"""No prediction at all: every job is given 0, so that a policy cannot tell jobs apart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.base import Predictor


@dataclass(frozen=True)
class Uninformed(Predictor):
    """Y = 0, always."""

    name: ClassVar[str] = "none"
    informative: ClassVar[bool] = False

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return zeros."""
        return np.zeros(len(sizes))

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return 1 where y >= 0, else 0."""
        y, _ = np.broadcast_arrays(y, x)
        return np.where(y >= 0, 1.0, 0.0)

    def atoms(self) -> np.ndarray:
        """Return the one value, 0."""
        return np.zeros(1)
