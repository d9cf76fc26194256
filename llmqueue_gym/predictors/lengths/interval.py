"""Intervals of output lengths: a least and a most, in which the truth lies, or should.

Source of the setting: Chen, Ye, Zhou, arXiv 2508.14544 (2025), where each request comes with an interval. Where in its
interval the truth lies, and how often outside, is this library's choice.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor
from llmqueue_gym.requests import never_refreshed

POINTS = {"lower": 0.0, "middle": 0.5, "upper": 1.0}  # where in the interval the one number lies


@dataclass(frozen=True)
class Interval(LengthPredictor):
    """An interval as long as `width` times the output length, which lies at a uniformly drawn place in it.

    A miss moves the interval by its own length, up or down with equal chances (up where it would end below 1 token), so
    that the truth lies outside. No interval reaches below 1 token; the one number is taken after that cut.

    Attributes:
        width: length of the interval over the true length; 0 is exact.
        coverage: probability that the interval holds the truth.
        point: the number told, `lower`, `middle` or `upper`.
    """

    name: ClassVar[str] = "interval"
    width: float = 1.0
    coverage: float = 1.0
    point: str = "middle"

    def __post_init__(self) -> None:
        if not 0 <= self.width < np.inf:
            raise BadInput(f"interval: width={self.width:g} must be finite and not negative")
        if not 0 <= self.coverage <= 1:
            raise BadInput(f"interval: coverage={self.coverage:g} must lie between 0 and 1")
        if self.width == 0 and self.coverage < 1:
            raise BadInput(f"interval: coverage={self.coverage:g} cannot be had with width=0, the truth itself; use 1")
        if self.point not in POINTS:
            raise BadInput(f"interval: point={self.point!r}; {nearest(self.point, POINTS)}")

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return an interval for each request, three uniform numbers of `rng` for each."""
        place, miss, side = rng.random((3, len(outputs)))
        place = 1.0 - place  # in (0, 1], so that an interval moved down ends below the truth
        length = self.width * outputs
        missed = miss >= self.coverage
        down = missed & (side < 0.5) & (outputs - place * length >= 1.0)
        place = np.where(down, place + 1.0, np.where(missed, place - 1.0, place))
        lower = np.maximum(outputs - place * length, 1.0)
        upper = np.maximum(outputs + (1.0 - place) * length, lower)
        told = np.minimum(lower + POINTS[self.point] * (upper - lower), upper)  # rounding may lead beyond
        return Forecast(told, lower, upper, never_refreshed(len(outputs)))
