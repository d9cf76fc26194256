"""Log-normal predictions: errors by factors, over- and underestimates equally likely.

Source: Dell'Amico, Carra, Pastorelli, Michiardi, "Revisiting Size-Based Scheduling with Estimated Job Sizes",
MASCOTS 2014, whose sizes are here output lengths.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, one_number


@dataclass(frozen=True)
class Lognormal(LengthPredictor):
    """Output length times exp(sigma N), N standard normal: the median of the predictions is the truth.

    Attributes:
        sigma: standard deviation of log(predicted / true); 0 is exact.
    """

    name: ClassVar[str] = "lognormal"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf:
            raise BadInput(f"lognormal: sigma={self.sigma:g} must be finite and not negative")

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the noisy lengths, one normal number of `rng` for each request."""
        return one_number(outputs * np.exp(self.sigma * rng.standard_normal(len(outputs))))
