"""Length classes: a classifier names one of k size ranges that are equally likely.

Source: the bucket predictors of LLM serving, such as S3 (Jin et al., NeurIPS 2023) and SSJF (Qiu et al., 2024).
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.coarse import Coarse


@dataclass(frozen=True)
class Buckets(Coarse):
    """The bucket of a noisy prediction Y', given out as the mean size of the jobs that belong in that bucket.

    The buckets need a size law: `bind(size)` makes them. A discrete law may give fewer than k, because edges that
    fall on the same atom are merged.

    Attributes:
        k: number of buckets, equally likely under the size law.
        noise: the model of Y', or its spec; "exact" gives the true bucket.
    """

    name: ClassVar[str] = "buckets"
    k: int = 8
    noise: str | Predictor = "exact"
    _edges: tuple[float, ...] = field(default=(), init=False)
    _values: tuple[float, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise BadInput(f"buckets: k={self.k} must be at least 1")

    def bind(self, size: Distribution) -> "Buckets":
        """Return this model with the buckets of a size law; needs a finite mean."""
        if not np.isfinite(size.mean):
            raise BadInput(f"buckets: the size law has mean {size.mean:g}, so its last bucket has no mean size")
        edges = np.unique(size.ppf(np.arange(1, self.k) / self.k))
        edges = edges[size.sf(edges) > 1e-12]  # nothing lies above the greatest atom
        mass = np.diff(size.cdf(edges), prepend=0.0, append=1.0)
        work = np.diff(size.partial_moment(1, edges), prepend=0.0, append=size.mean)
        bound = replace(self, noise=predictor(self.noise).bind(size))
        object.__setattr__(bound, "_edges", tuple(map(float, edges)))
        object.__setattr__(bound, "_values", tuple(map(float, work / mass)))
        return bound

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return edges and values; BadInput before `bind`."""
        if not self._values:
            raise BadInput("buckets: there are none before bind(size), which cuts the size law into them")
        return np.array(self._edges), np.array(self._values)
