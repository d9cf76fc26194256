"""Speed-up curves, how much faster a job runs on j servers than on one; and what a scheduler believes of them.

Every curve has one parameter between 0, where more servers do not help, and 1, where they help in full, so that an
error of a predicted curve means the same for all. The time on j servers is the time on one, over the speed-up.

The error of a curve is apart from that of a size: a predicted time on j servers is the predicted time on one over the
predicted speed-up on j. The models are ours; the survey asks for one in section 2.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Model
from llmqueue_gym.registry import Named, Registry


class Speedup(Named):
    """A speed-up curve; its dataclass states the one parameter and `_curve`."""

    name: ClassVar[str] = "speed-up"

    @property
    def level(self) -> float:
        """The parameter of the curve, in [0, 1]."""
        (parameter,) = fields(self)  # type: ignore[arg-type]  # each curve is a dataclass
        return getattr(self, parameter.name)

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise BadInput(f"speed-up {self.name!r}: {self.level:g} must lie in [0, 1], for example 0.5")

    def factors(self, servers: int, error: np.ndarray | float = 0.0) -> np.ndarray:
        """Return the speed-up on 1, 2, ... servers, 1 on the first.

        Args:
            servers: k.
            error: added to the parameter `(n_jobs,)`; what leaves [0, 1] is taken to the nearer end.

        Returns:
            speed-ups `(n_jobs, k)`, or `(k,)` for one error.
        """
        level = np.clip(self.level + np.asarray(error, float), 0.0, 1.0)[..., None]
        return self._curve(np.arange(1, servers + 1, dtype=float), level)

    def _curve(self, j: np.ndarray, level: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Power(Speedup):
    """j to the power of `exponent`, the curve of heSRPT (Berg, Vesilo, Harchol-Balter, 2020)."""

    name: ClassVar[str] = "power"
    exponent: float = 0.5

    def _curve(self, j: np.ndarray, level: np.ndarray) -> np.ndarray:
        return j**level


@dataclass(frozen=True)
class Amdahl(Speedup):
    """1 / (1 - f + f / j), where the share f of the work runs on all servers alike (Amdahl, 1967)."""

    name: ClassVar[str] = "amdahl"
    parallel: float = 0.9

    def _curve(self, j: np.ndarray, level: np.ndarray) -> np.ndarray:
        return 1 / (1 - level + level / j)


Curves = Sequence[Speedup]
Floats = Sequence[float]


@dataclass(frozen=True)
class SpeedupPredictor(Model):
    """What is believed of the curves of jobs."""

    name: ClassVar[str] = "speed-up predictor"

    def predict(self, curves: Curves, shares: Floats, klass: np.ndarray, servers: int, rng: Generator) -> np.ndarray:
        """Return the predicted speed-ups `(n_jobs, servers)` on 1, 2, ... servers.

        Each class has a curve and a share, its probability; `klass` `(n_jobs,)` is the class of each job, and `rng` the
        stream that belongs to these predictions alone.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ExactSpeedup(SpeedupPredictor):
    """The truth."""

    name: ClassVar[str] = "exact"

    def predict(self, curves: Curves, shares: Floats, klass: np.ndarray, servers: int, rng: Generator) -> np.ndarray:
        """Return the curve of the class of each job."""
        return np.array([curve.factors(servers) for curve in curves])[klass]


@dataclass(frozen=True)
class NormalSpeedup(SpeedupPredictor):
    """The parameter of a job's curve plus a normal error; what leaves [0, 1] is taken to the nearer end.

    Attributes:
        error: standard deviation; every job takes one normal number, so that errors of all sizes are alike.

    Raises:
        BadInput: the error is negative or not finite.
    """

    name: ClassVar[str] = "normal"
    error: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.error < np.inf:
            raise BadInput(f"error={self.error:g} of a speed-up must be finite and not negative, for example 0.1")

    def predict(self, curves: Curves, shares: Floats, klass: np.ndarray, servers: int, rng: Generator) -> np.ndarray:
        """Return a curve of its own for each job."""
        error = self.error * rng.standard_normal(len(klass))
        found = np.empty((len(klass), servers))
        for c, curve in enumerate(curves):
            found[klass == c] = curve.factors(servers, error[klass == c])
        return found


@dataclass(frozen=True)
class MeanSpeedup(SpeedupPredictor):
    """Nothing of a single job: its time on j servers is the share of its time on one that it is on average over all."""

    name: ClassVar[str] = "mean"

    def predict(self, curves: Curves, shares: Floats, klass: np.ndarray, servers: int, rng: Generator) -> np.ndarray:
        """Return the same curve for every job."""
        mean_time = np.asarray(shares) @ np.array([1 / curve.factors(servers) for curve in curves])
        return np.broadcast_to(1 / mean_time, (len(klass), servers))


_HERE = "llmqueue_gym.predictors.speedup"
SPEEDUPS = Registry(Speedup.name, {"power": f"{_HERE}:Power", "amdahl": f"{_HERE}:Amdahl"}, Speedup)
speedup = SPEEDUPS.__call__  # a curve from a spec such as `power:exponent=0.5`, or the curve itself
SPEEDUP_PREDICTORS = Registry(
    SpeedupPredictor.name,
    {"exact": f"{_HERE}:ExactSpeedup", "normal": f"{_HERE}:NormalSpeedup", "mean": f"{_HERE}:MeanSpeedup"},
    SpeedupPredictor,
)
speedup_predictor = SPEEDUP_PREDICTORS.__call__  # a model from a spec such as `normal:error=0.1`, or the model itself
