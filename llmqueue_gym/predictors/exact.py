"""The exact prediction: clairvoyant policies are the predicted ones with this model, so SRPT is SPRPT here."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.base import Predictor


@dataclass(frozen=True)
class Exact(Predictor):
    """Y = x."""

    name: ClassVar[str] = "exact"

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a copy, because the truth itself must not reach a policy."""
        return np.array(sizes, dtype=float)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return 1 where x <= y, else 0."""
        return np.where(np.asarray(x) <= np.asarray(y), 1.0, 0.0)

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return y itself."""
        return (y,)
