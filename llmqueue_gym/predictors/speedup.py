"""Predicted speed-ups: what a scheduler believes each job would gain from more servers.

The error of a curve is apart from that of a size: a predicted time on j servers is the predicted time on one over the
predicted speed-up on j. The model is ours; the survey asks for one in section 2.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.speedup import Speedup


@dataclass(frozen=True)
class SpeedupPredictor:
    """The parameter of a job's curve plus a normal error, or one mean curve for all.

    Attributes:
        error: standard deviation of the error of the parameter, which lies in [0, 1]; 0 is exact.
        known: False where nothing is known of a single job: its time on j servers is then thought to be that share of
            its time on one which it is on average over all jobs.

    Raises:
        BadInput: the error is negative or not finite, or goes with a curve that is not known.
    """

    error: float = 0.0
    known: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.error < np.inf:
            raise BadInput(f"error={self.error:g} of a speed-up must be finite and not negative, for example 0.1")
        if self.error and not self.known:
            raise BadInput(f"error={self.error:g} means nothing where the speed-up is not known; leave it out")

    def predict(
        self,
        curves: Sequence[Speedup],
        shares: Sequence[float],
        klass: np.ndarray,
        servers: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return the predicted speed-ups `(n_jobs, servers)` on 1, 2, ... servers.

        Args:
            curves: of each class.
            shares: probability of each class.
            klass: class of each job `(n_jobs,)`.
            servers: k.
            rng: the stream that belongs to these predictions alone; every job takes one normal number.
        """
        if not self.known:
            parts = zip(shares, curves, strict=True)
            mean_time = sum(share / curve.factors(servers) for share, curve in parts)
            return np.broadcast_to(1 / np.asarray(mean_time), (len(klass), servers))
        error = self.error * rng.standard_normal(len(klass))
        found = np.empty((len(klass), servers))
        for c, curve in enumerate(curves):
            mine = klass == c
            found[mine] = curve.factors(servers, error[mine])
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the model in words, for the record."""
        return {"error": self.error, "known": self.known}
