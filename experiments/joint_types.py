"""Joint laws of a few sizes with a few predictions each, which the studies of worst cases search over."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from llmqueue_gym import policy
from llmqueue_gym.distributions.discrete import Discrete
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.soap import soap

CELLS = 60  # of ages between the sizes, beside those at which ranks turn


@dataclass(frozen=True, eq=False)
class FewSizes(Discrete):
    """Sizes of given probabilities."""

    name: ClassVar[str] = "few-sizes"
    sizes: np.ndarray = None  # type: ignore[assignment]  # (n,), ascending
    shares: np.ndarray = None  # type: ignore[assignment]  # (n,)

    @cached_property
    def _law(self) -> tuple[np.ndarray, np.ndarray]:
        return self.sizes, self.shares


@dataclass(frozen=True, eq=False)
class FewPredictions(Predictor):
    """Predictions of given probabilities for each size."""

    name: ClassVar[str] = "few-predictions"
    sizes: np.ndarray = None  # type: ignore[assignment]  # (n,), ascending
    predictions: np.ndarray = None  # type: ignore[assignment]  # (n, k)
    shares: np.ndarray = None  # type: ignore[assignment]  # (n, k), rows sum to 1

    def atoms(self) -> np.ndarray:
        """Return all predictions."""
        return np.unique(self.predictions)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the share of the predictions of a size that are at most y."""
        y, x = np.broadcast_arrays(np.asarray(y, float), np.asarray(x, float))
        row = np.abs(np.log(x[..., None] / self.sizes)).argmin(axis=-1)
        return np.sum((self.predictions[row] <= y[..., None]) * self.shares[row], axis=-1)

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one of the predictions of each size."""
        row = np.abs(np.log(sizes[:, None] / self.sizes)).argmin(axis=-1)
        chosen = (rng.random(len(sizes))[:, None] > np.cumsum(self.shares[row], axis=1)).sum(axis=1)
        return self.predictions[row, np.minimum(chosen, self.shares.shape[1] - 1)]


@dataclass(frozen=True, eq=False)
class JointTypes:
    """A joint law of size and prediction.

    Attributes:
        sizes: `(n,)`, ascending.
        shares: of each size `(n,)`.
        predictions: of each size `(n, k)`.
        weights: of each prediction `(n, k)`; rows sum to 1.
    """

    sizes: np.ndarray
    shares: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray

    @cached_property
    def law(self) -> FewSizes:
        """The law of sizes."""
        return FewSizes(mean=float(self.sizes @ self.shares), sizes=self.sizes, shares=self.shares)

    @cached_property
    def predictor(self) -> FewPredictions:
        """The law of predictions."""
        return FewPredictions(sizes=self.sizes, predictions=self.predictions, shares=self.weights)

    def mean(self, name: str, load: float, exact: bool = False, cells: int = CELLS) -> float:
        """Return the exact mean response time of a policy, by SOAP."""
        from llmqueue_gym.predictors.base import Exact

        told = Exact() if exact else self.predictor
        order = policy(name)
        joint = JointLaw(self.law, told, cells)
        types = soap(order, order.params_for(self.law, told), joint, load)
        return sum(float(t.p @ t.response) for t in types) / sum(float(t.p.sum()) for t in types)

    def to_dict(self) -> dict[str, list]:
        """Return it for the record."""
        return {name: getattr(self, name).tolist() for name in ("sizes", "shares", "predictions", "weights")}
