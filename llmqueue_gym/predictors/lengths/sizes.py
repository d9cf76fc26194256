"""Models of continuous sizes as models of output lengths: a size is a number of tokens."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.empirical import Empirical
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample, one_number


@dataclass(frozen=True)
class OfSizes(LengthPredictor):
    """What a model of M/G/1 predicts of a job whose size is the output length; at least 1 token.

    Attributes:
        inner: the model.
    """

    name: ClassVar[str] = "sizes"
    inner: Predictor

    def __str__(self) -> str:
        """Return the form that `length_predictor` reads, the model's own."""
        return str(self.inner)

    @property
    def informative(self) -> bool:  # type: ignore[override]
        """Whether the model says anything about the job."""
        return self.inner.informative

    def bind(self, outputs: np.ndarray) -> "OfSizes":
        """Return the model bound to the law of a sample."""
        return replace(self, inner=self.inner.bind(Empirical.fit(length_sample(outputs, self.inner.name))))

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return what the model predicts of the lengths."""
        return one_number(self.inner.predict(np.asarray(outputs, float), rng))
