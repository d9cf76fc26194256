"""Speed-up curves: how much faster a job runs on j servers than on one.

Every curve has one parameter between 0, where more servers do not help, and 1, where they help in full, so that an
error of a predicted curve means the same for all. The time on j servers is the time on one, over the speed-up.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
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


_HERE = "llmqueue_gym.profiles.speedup"
SPEEDUPS = Registry(Speedup.name, {"power": f"{_HERE}:Power", "amdahl": f"{_HERE}:Amdahl"}, Speedup)
speedup = SPEEDUPS.__call__  # a curve from a spec such as `power:exponent=0.5`, or the curve itself
