"""What every model of predicted output lengths offers."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Model
from llmqueue_gym.requests import Refreshed, never_refreshed


class Forecast(NamedTuple):
    """What is predicted of a run, in tokens; nothing is below 1 token.

    Attributes:
        predicted: output tokens `(n,)`, float64, as told on arrival.
        lower: least output tokens `(n,)`, float64; `predicted` again where the model tells one number.
        upper: most output tokens `(n,)`, float64; likewise.
        refreshed: predictions to come, empty where the model predicts once.
    """

    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    refreshed: Refreshed


@dataclass(frozen=True)
class LengthPredictor(Model):
    """A model of what is predicted of requests whose output lengths are known to the simulator alone."""

    name: ClassVar[str] = "length predictor"

    def bind(self, outputs: np.ndarray) -> "LengthPredictor":
        """Return this model fitted to a sample of a workload's output lengths `(m,)`, tokens.

        Most models need no fitting and return themselves.
        """
        return self

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return what is predicted of each request.

        Args:
            requests: `REQUEST` rows `(n,)`, sorted by arrival.
            outputs: true output tokens `(n,)`.
            rng: the stream that belongs to predictions alone.

        Raises:
            BadInput: the model needs `bind` first.
        """
        raise NotImplementedError

    def unbound(self) -> BadInput:
        """Return the error of a model that was not fitted."""
        return BadInput(f"length predictor {self.name!r} knows no lengths before bind(outputs), a sample of them")


def one_number(predicted: np.ndarray) -> Forecast:
    """Return the forecast of a model that tells one number `(n,)`, tokens, once."""
    predicted = np.maximum(np.asarray(predicted, float), 1.0)
    return Forecast(predicted, predicted.copy(), predicted.copy(), never_refreshed(len(predicted)))


def length_sample(outputs: np.ndarray, name: str) -> np.ndarray:
    """Return a sample of output lengths, sorted, float64; BadInput where it is empty or has a length below 1."""
    sample = np.sort(np.asarray(outputs, float).ravel())
    if not len(sample):
        raise BadInput(f"{name}: cannot be fitted to a sample of no output lengths")
    if not (sample[0] >= 1 and np.isfinite(sample[-1])):
        raise BadInput(f"{name}: output lengths from {sample[0]:g} to {sample[-1]:g}; each must be at least 1 token")
    return sample
