"""The arrival times of a recorded trace, stretched to a wanted rate: real bursts, with sizes of your own."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.traces import load_trace


@dataclass(frozen=True)
class Replay(ArrivalProcess):
    """The gaps of a trace in their order, from a random one on, wrapping round at the end.

    Attributes:
        file: a trace in any known format.
        format: name of the format; "auto" looks at the header.
    """

    name: ClassVar[str] = "replay"
    file: str
    format: str = "auto"
    _gaps: np.ndarray = field(init=False, repr=False, compare=False)  # (rows - 1,), mean 1

    def __post_init__(self) -> None:
        gaps = np.diff(load_trace(self.file, self.format).arrival_s)
        if not gaps.any():
            raise BadInput(f"{self.file}: all rows arrive at one time, so there are no gaps to replay")
        object.__setattr__(self, "_gaps", gaps / gaps.mean())

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        start = rng.integers(len(self._gaps))
        return np.cumsum(self._gaps[(start + np.arange(n)) % len(self._gaps)]) / rate
