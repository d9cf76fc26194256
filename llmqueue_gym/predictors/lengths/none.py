"""No prediction: what a scheduler knows of a request that it has never seen."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample, one_number


@dataclass(frozen=True)
class Uninformed(LengthPredictor):
    """The workload's mean output length for every request; `bind` finds it."""

    name: ClassVar[str] = "none"
    informative: ClassVar[bool] = False
    _mean: float = field(default=0.0, init=False)

    def bind(self, outputs: np.ndarray) -> "Uninformed":
        """Return this model with the mean of a sample."""
        bound = replace(self)
        object.__setattr__(bound, "_mean", float(length_sample(outputs, self.name).mean()))
        return bound

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the mean; BadInput before `bind`."""
        if not self._mean:
            raise self.unbound()
        return one_number(np.full(len(outputs), self._mean))
