"""Models that tell one number, which follows from the true length alone or from what the workload is like."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.empirical import Empirical
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample, one_number


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
        self._check("sigma", 0 <= self.sigma < np.inf, "be finite and not negative")

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
        self._check("sigma", 0 <= self.sigma < np.inf, "be finite and not negative")

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
