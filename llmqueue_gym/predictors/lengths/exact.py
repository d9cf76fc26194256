"""The exact prediction: clairvoyant policies are the predicted ones with this model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, one_number


@dataclass(frozen=True)
class Exact(LengthPredictor):
    """The true output length."""

    name: ClassVar[str] = "exact"

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return a copy, because the truth itself must not reach a policy."""
        return one_number(np.array(outputs, dtype=float))
