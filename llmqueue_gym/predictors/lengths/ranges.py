"""Predictions of a range in which the output length lies, or should: one of k buckets, or an interval of its own."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample
from llmqueue_gym.requests import never_refreshed

TOP = {"upper": 1.0, "middle": 0.5}  # where in a bucket the one number lies
POINTS = {"lower": 0.0, "middle": 0.5, "upper": 1.0}  # where in an interval


@dataclass(frozen=True)
class Buckets(LengthPredictor):
    """The bucket of the true length, or a wrong one next to it, of k equal ranges of output lengths.

    Source: Jin et al., "S3: Increasing GPU Utilization during Generative Inference for Higher Throughput", NeurIPS
    2023: 10 buckets of a tenth of the longest output each, and memory is reserved for the upper edge.

    Bucket i holds the lengths in (i w, (i + 1) w], w = longest / k; longer ones count to the last. The forecast is the
    bucket's edges (1 for the lower edge of the first) and one number in it.

    Attributes:
        k: number of buckets.
        longest: tokens; `none` takes the longest output of the sample that the model is bound to.
        accuracy: probability of the right bucket. Otherwise it is a neighbour, either one equally likely; the first and
            the last bucket have only one.
        point: the number told, `upper` (what S3 reserves) or `middle`.
    """

    name: ClassVar[str] = "buckets"
    k: int = 10
    longest: float | None = None
    accuracy: float = 1.0
    point: str = "upper"
    _longest: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._check("k", self.k >= 1, "be at least 1")
        self._check("longest", self.longest is None or 1 <= self.longest < np.inf, "be finite and at least 1 token")
        self._check("accuracy", 0 <= self.accuracy <= 1, "lie between 0 and 1")
        if self.k == 1 and self.accuracy < 1:
            raise BadInput(f"buckets: accuracy={self.accuracy:g} cannot be had with k=1, a single bucket; use 1")
        if self.point not in TOP:
            raise BadInput(f"buckets: point={self.point!r}; {nearest(self.point, TOP)}")
        object.__setattr__(self, "_longest", self.longest or 0.0)

    def bind(self, outputs: np.ndarray) -> "Buckets":
        """Return this model with buckets up to `longest`, or to the longest of a sample."""
        return self._fitted(_longest=self.longest or length_sample(outputs, self.name)[-1])

    def edges(self) -> np.ndarray:
        """Return the edges of the buckets `(k + 1,)`, tokens, the first of them 0; BadInput before `bind`."""
        if not self._longest:
            raise self.unbound()
        return np.linspace(0.0, self._longest, self.k + 1)

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return a bucket for each request, two uniform numbers of `rng` for each."""
        edges = self.edges()
        bucket = np.minimum(np.searchsorted(edges[1:], outputs), self.k - 1)
        wrong, side = rng.random((2, len(outputs)))
        step = np.where(side < 0.5, -1, 1)
        step = np.where(bucket == 0, 1, np.where(bucket == self.k - 1, -1, step))
        bucket = np.where(wrong < self.accuracy, bucket, bucket + step)
        lower, upper = np.maximum(edges[bucket], 1.0), np.maximum(edges[bucket + 1], 1.0)
        told = edges[bucket] + TOP[self.point] * (edges[bucket + 1] - edges[bucket])
        return Forecast(np.maximum(told, 1.0), lower, upper, never_refreshed(len(outputs)))


@dataclass(frozen=True)
class Interval(LengthPredictor):
    """An interval as long as `width` times the output length, which lies at a uniformly drawn place in it.

    Source of the setting: Chen, Ye, Zhou, arXiv 2508.14544 (2025), where each request comes with an interval. Where in
    its interval the truth lies, and how often outside, is this library's choice.

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
        self._check("width", 0 <= self.width < np.inf, "be finite and not negative")
        self._check("coverage", 0 <= self.coverage <= 1, "lie between 0 and 1")
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
