"""Log-normal predictions: errors by factors, over- and underestimates equally likely.

Source: Dell'Amico, Carra, Pastorelli, Michiardi, "Revisiting Size-Based Scheduling with Estimated Job Sizes",
MASCOTS 2014, and the simulator schedsim (sigma from 0.125 to 2, 0.5 by default).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.ratio import Ratio, step_cdf


@dataclass(frozen=True)
class Lognormal(Ratio):
    """Y = x exp(sigma N), N standard normal.

    Attributes:
        sigma: standard deviation of log(Y/x); 0 is exact.
    """

    name: ClassVar[str] = "lognormal"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf:
            raise BadInput(f"lognormal: sigma={self.sigma:g} must be finite and not negative")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        if self.sigma == 0:
            return step_cdf(r, 1.0)
        with np.errstate(divide="ignore"):
            return ndtr(np.log(np.maximum(r, 0.0)) / self.sigma)

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return np.exp(self.sigma * ndtri(u)) if self.sigma > 0 else np.ones_like(u)

    def _ratio_edges(self) -> tuple[float, ...]:
        return (1.0,) if self.sigma == 0 else ()
