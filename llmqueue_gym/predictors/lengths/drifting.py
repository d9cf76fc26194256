"""A predictor that goes stale: trained on the traffic of the first requests, it is wrong by a growing factor.

The law of the drift is this library's, made for tests of policies that watch their predictor; it is not measured.
(Measured: the Kendall tau of the ranking predictor of Fu et al., "Efficient LLM Scheduling by Learning to Rank",
NeurIPS 2024, falls from 0.54 to 0.45 on another data set. Use `ranking:tau=` for that.)
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, one_number


@dataclass(frozen=True)
class Drifting(LengthPredictor):
    """Log-normal predictions times a factor that goes from 1, first request, straight to `drift`, last request.

    Attributes:
        drift: factor at the end of the run; below 1 lengths are more and more underestimated.
        sigma: standard deviation of the logarithm of the noise.
    """

    name: ClassVar[str] = "drifting"
    drift: float = 2.0
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.drift < np.inf:
            raise BadInput(f"drifting: drift={self.drift:g} must be positive and finite")
        if not 0 <= self.sigma < np.inf:
            raise BadInput(f"drifting: sigma={self.sigma:g} must be finite and not negative")

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the biased lengths, one normal number of `rng` for each request."""
        bias = np.linspace(1.0, self.drift, len(outputs))
        return one_number(outputs * bias * np.exp(self.sigma * rng.standard_normal(len(outputs))))
