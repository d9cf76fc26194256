"""A measured predictor: what it really said of requests with about the same output length.

Made for the published outputs of real predictors:

* SSJF (Qiu et al., 2024, five classes, Vicuna-13B on LMSYS-Chat-1M prompts),
  James-QiuHaoran/LLM-serving-with-proxy-models.
* Block (2025, ShareGPT), `sharegpt-val-10k-predicted-len.csv`. Caution: 91.5 % of its predictions lie within 50 tokens
  of the truth, which no predictor reaches on responses that it has not seen; its training data leaked into it. Take it
  for a nearly exact predictor with outliers, not for what can be had.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, one_number
from llmqueue_gym.predictors.pairs import Pairs as SizePairs


@dataclass(frozen=True, eq=False)
class Pairs(LengthPredictor):
    """The prediction of a pair drawn from those with the true length, or from the 64 nearest to it in rank.

    Lengths are the file's tokens, not scaled to the workload: outputs longer than any in the file are predicted like
    its longest. Class labels become the mean true length of their class (see `llmqueue_gym.predictors.pairs`).

    Attributes:
        file: csv or csv.gz with a header.
        true: column of the true length; empty finds it.
        predicted: column of the predicted length or class; empty finds it.
    """

    name: ClassVar[str] = "pairs"
    file: str
    true: str = ""
    predicted: str = ""
    _pairs: SizePairs = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pairs", SizePairs(self.file, self.true, self.predicted))

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return recorded predictions, one uniform number of `rng` for each request."""
        return one_number(self._pairs.predict(np.asarray(outputs, float), rng))
