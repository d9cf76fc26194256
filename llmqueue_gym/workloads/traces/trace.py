"""What every loader returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Trace:
    """A recorded stream of requests.

    Attributes:
        arrival_s: arrival times `(rows,)`, float64, s from the first request, sorted.
        prompt_tokens: `(rows,)`, int64.
        output_tokens: `(rows,)`, int64.
        name: the file's name.
        source: repository and paper, for attribution.
        licence: of the data, as their owner states it.
        dropped: rows of the file left out because the request failed.
    """

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    name: str
    source: str
    licence: str
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.arrival_s)
