"""Measured predictors: what they really said of requests with about the same output length."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, one_number
from llmqueue_gym.predictors.pairs import Pairs as SizePairs


@dataclass(frozen=True, eq=False)
class Pairs(LengthPredictor):
    """The prediction of a pair drawn from those with the true length, or from the 64 nearest to it in rank.

    Made for the published outputs of real predictors:

    * SSJF (Qiu et al., 2024, five classes, Vicuna-13B on LMSYS-Chat-1M prompts),
      James-QiuHaoran/LLM-serving-with-proxy-models.
    * Block (2025, ShareGPT), `sharegpt-val-10k-predicted-len.csv`. Caution: 91.5 % of its predictions lie within 50
      tokens of the truth, which no predictor reaches on responses that it has not seen; its training data leaked into
      it. Take it for a nearly exact predictor with outliers, not for what can be had.

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


@dataclass(frozen=True)
class Ssjf(LengthPredictor):
    """A class drawn as SSJF's predictor gave it to requests in the same tenth of lengths; told as its mean length.

    The tables stand in `ssjf.toml`, so that no file is needed. Lengths are not scaled to the workload: outputs of more
    than 395 tokens are all predicted like the longest tenth.
    """

    name: ClassVar[str] = "ssjf"

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the mean length of a class, one uniform number of `rng` for each request."""
        told = ssjf_tables()
        cumulative = np.cumsum(told["counts"], axis=1) / np.sum(told["counts"], axis=1, keepdims=True)  # (10, 5)
        upto = cumulative[np.searchsorted(told["edges"], outputs)]
        label = (rng.random(len(outputs))[:, None] >= upto).sum(axis=1)
        return one_number(told["tokens"][label])


@cache
def ssjf_tables() -> dict[str, np.ndarray]:
    """Return `edges` `(9,)`, `counts` `(10, 5)` and `tokens` `(5,)` of `ssjf.toml`."""
    told = tomllib.loads(Path(__file__).with_name("ssjf.toml").read_text(encoding="utf-8"))
    return {name: np.array(numbers) for name, numbers in told.items()}
