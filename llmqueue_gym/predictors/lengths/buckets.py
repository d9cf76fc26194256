"""Length classes: a classifier names one of k equal ranges of output lengths.

Source: Jin et al., "S3: Increasing GPU Utilization during Generative Inference for Higher Throughput", NeurIPS 2023:
10 buckets of a tenth of the longest output each, and memory is reserved for the upper edge.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample
from llmqueue_gym.requests import never_refreshed

POINTS = {"upper": 1.0, "middle": 0.5}  # where in the bucket the one number lies


@dataclass(frozen=True)
class Buckets(LengthPredictor):
    """The bucket of the true length, or a wrong one next to it.

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
        if self.k < 1:
            raise BadInput(f"buckets: k={self.k} must be at least 1")
        if self.longest is not None and not 1 <= self.longest < np.inf:
            raise BadInput(f"buckets: longest={self.longest:g} must be finite and at least 1 token")
        if not 0 <= self.accuracy <= 1:
            raise BadInput(f"buckets: accuracy={self.accuracy:g} must lie between 0 and 1")
        if self.k == 1 and self.accuracy < 1:
            raise BadInput(f"buckets: accuracy={self.accuracy:g} cannot be had with k=1, a single bucket; use 1")
        if self.point not in POINTS:
            raise BadInput(f"buckets: point={self.point!r}; {nearest(self.point, POINTS)}")
        object.__setattr__(self, "_longest", self.longest or 0.0)

    def bind(self, outputs: np.ndarray) -> "Buckets":
        """Return this model with buckets up to `longest`, or to the longest of a sample."""
        bound = replace(self)
        object.__setattr__(bound, "_longest", self.longest or length_sample(outputs, self.name)[-1])
        return bound

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
        told = edges[bucket] + POINTS[self.point] * (edges[bucket + 1] - edges[bucket])
        return Forecast(np.maximum(told, 1.0), lower, upper, never_refreshed(len(outputs)))
