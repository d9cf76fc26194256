"""Predictions that are right only about the order, to a wanted degree.

Source: Fu et al., "Efficient LLM Scheduling by Learning to Rank", NeurIPS 2024, table 3: Kendall's tau between the
predicted order and the true one, with Llama-3-70B on ShareGPT / LMSYS-Chat-1M: learning to rank 0.54 / 0.62,
classification into 10 buckets 0.24 / 0.17, the oracle that samples another response 0.74 / 0.84. The law of the noise
is this library's; only its strength is fitted.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import ndtri
from scipy.stats import kendalltau

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample, one_number

CALIBRATION = 20_000  # requests that the noise is fitted on: the tau of so many strays by about 0.005
STEPS = 24  # of the bisection


@dataclass(frozen=True, eq=False)
class Ranking(LengthPredictor):
    """A score whose order agrees with that of the true lengths to Kendall's tau (tau-b, which allows for ties).

    The score is `cos(a) z + sin(a) N`: z the normal score of the length's rank in the bound sample, N noise; `bind`
    finds the angle a by bisection, on the sample repeated to at least 20,000 requests, with noise from a fixed seed.
    The prediction is the sample's quantile at the rank of the score, so it is in tokens, predictions follow the law of
    the true lengths, and their order is the score's.

    Attributes:
        tau: wanted Kendall's tau, in [0, 1]; 1 is exact for lengths of the sample.
    """

    name: ClassVar[str] = "ranking"
    tau: float = 0.54
    _sample: np.ndarray = field(default_factory=lambda: np.zeros(0), init=False, repr=False)  # (m,), sorted
    _scores: np.ndarray = field(default_factory=lambda: np.zeros(0), init=False, repr=False)  # (m',), sorted
    _angle: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._check("tau", 0 <= self.tau <= 1, "lie between 0 and 1")

    def bind(self, outputs: np.ndarray) -> "Ranking":
        """Return this model with its noise fitted to a sample of at least two different lengths.

        Raises:
            BadInput: all lengths are equal, so that there is no order.
        """
        sample = length_sample(outputs, self.name)
        if sample[0] == sample[-1]:
            raise BadInput(
                f"ranking: every output has {sample[0]:g} tokens, so there is no order to predict; use exact"
            )
        truth = np.tile(sample, -(-CALIBRATION // len(sample)))
        signal = _normal_scores(truth, sample)
        noise = np.random.default_rng(0).standard_normal(len(truth))
        low, high = 0.0, np.pi / 2 if self.tau < 1 else 0.0
        for _ in range(STEPS if self.tau < 1 else 1):
            angle = (low + high) / 2
            scores = np.cos(angle) * signal + np.sin(angle) * noise
            bound = self._fitted(_sample=sample, _angle=angle, _scores=np.sort(scores))
            if kendalltau(truth, bound._tokens(scores)).statistic > self.tau:
                low = angle
            else:
                high = angle
        return bound

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the tokens of the score's rank, one normal number of `rng` for each request."""
        if not len(self._sample):
            raise self.unbound()
        noise = rng.standard_normal(len(outputs))
        scores = np.cos(self._angle) * _normal_scores(outputs, self._sample) + np.sin(self._angle) * noise
        return one_number(self._tokens(scores))

    def _tokens(self, scores: np.ndarray) -> np.ndarray:
        """Return the sample's quantile at the rank that scores `(n,)` have among those of the sample."""
        levels = (np.arange(len(self._scores)) + 0.5) / len(self._scores)
        rank = np.interp(scores, self._scores, levels)
        return np.interp(rank, (np.arange(len(self._sample)) + 0.5) / len(self._sample), self._sample)


def _normal_scores(outputs: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return the standard normal quantile of the mid-rank `(n,)` of lengths in a sorted sample `(m,)`."""
    rank = (np.searchsorted(sample, outputs, "left") + np.searchsorted(sample, outputs, "right")) / 2
    return ndtri(np.clip(rank / len(sample), 0.5 / len(sample), 1 - 0.5 / len(sample)))
