"""Models that tell one number, which follows from the true length alone; by a law, or as was measured."""

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample, one_number
from llmqueue_gym.predictors.pairs import Pairs as SizePairs


@dataclass(frozen=True)
class Uninformed(LengthPredictor):
    """The workload's mean output length for every request; `bind` finds it."""

    name: ClassVar[str] = "none"
    informative: ClassVar[bool] = False
    _mean: float = field(default=0.0, init=False)

    def bind(self, outputs: np.ndarray) -> "Uninformed":
        """Return this model with the mean of a sample."""
        return self._fitted(_mean=float(length_sample(outputs, self.name).mean()))

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the mean; BadInput before `bind`."""
        if not self._mean:
            raise self.unbound()
        return one_number(np.full(len(outputs), self._mean))


@dataclass(frozen=True)
class Exact(LengthPredictor):
    """The true output length: clairvoyant policies are the predicted ones with this model."""

    name: ClassVar[str] = "exact"

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return a copy, because the truth itself must not reach a policy."""
        return one_number(np.array(outputs, dtype=float))


@dataclass(frozen=True)
class Lognormal(LengthPredictor):
    """Output length times exp(sigma N), N standard normal: the median of the predictions is the truth.

    Source: Dell'Amico, Carra, Pastorelli, Michiardi, "Revisiting Size-Based Scheduling with Estimated Job Sizes",
    MASCOTS 2014, whose sizes are here output lengths.

    Attributes:
        sigma: standard deviation of log(predicted / true); 0 is exact.
    """

    name: ClassVar[str] = "lognormal"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        self._check("sigma", 0 <= self.sigma <= 100, "be from 0 to 100")

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the noisy lengths, one normal number of `rng` for each request."""
        return one_number(outputs * np.exp(self.sigma * rng.standard_normal(len(outputs))))


@dataclass(frozen=True)
class Drifting(LengthPredictor):
    """Log-normal predictions times a factor that goes from 1, first request, straight to `drift`, last request.

    As of a predictor that was trained on the traffic of the first requests and goes stale. The law of the drift is this
    library's, made for tests of policies that watch their predictor; it is not measured. (Measured: the Kendall tau of
    the ranking predictor of Fu et al., "Efficient LLM Scheduling by Learning to Rank", NeurIPS 2024, falls from 0.54 to
    0.45 on another data set. Use `ranking:tau=` for that.)

    Attributes:
        drift: factor at the end of the run; below 1 lengths are more and more underestimated.
        sigma: standard deviation of the logarithm of the noise.
    """

    name: ClassVar[str] = "drifting"
    drift: float = 2.0
    sigma: float = 0.5

    def __post_init__(self) -> None:
        self._check("drift", 0 < self.drift < np.inf, "be positive and finite")
        self._check("sigma", 0 <= self.sigma <= 100, "be from 0 to 100")

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the biased lengths, one normal number of `rng` for each request."""
        bias = np.linspace(1.0, self.drift, len(outputs))
        return one_number(outputs * bias * np.exp(self.sigma * rng.standard_normal(len(outputs))))


@dataclass(frozen=True)
class OfSizes(LengthPredictor):
    """What a model of M/G/1 predicts of a job whose size is the output length in tokens; at least 1 token.

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
