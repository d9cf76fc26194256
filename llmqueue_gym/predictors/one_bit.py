"""One bit of advice: is the job short or long?

Source: Mitzenmacher, "Queues with Small Advice", ACDA 2021.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.coarse import Coarse


@dataclass(frozen=True)
class OneBit(Coarse):
    """Short where a noisy prediction Y' is at most the threshold; given out as threshold / 2, or 2 threshold for long.

    A one-bit policy with the same threshold reads these two numbers right.

    Attributes:
        threshold: s.
        noise: the model of Y', or its spec; "exact" gives the true bit.
    """

    name: ClassVar[str] = "one-bit"
    threshold: float = 1.0
    noise: str | Predictor = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold < np.inf:
            raise BadInput(f"one-bit: threshold={self.threshold:g} must be positive and finite")

    def bind(self, size: Distribution) -> "OneBit":
        """Return this model with its noise fitted to a size law."""
        return replace(self, noise=predictor(self.noise).bind(size))

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the threshold and the two numbers given out."""
        return np.array([self.threshold]), np.array([self.threshold / 2, self.threshold * 2])
