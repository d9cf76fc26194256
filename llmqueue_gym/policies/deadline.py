"""Baselines where jobs have firm deadlines and may be sent away: earliest deadline first, and two that use predictions.

Salman et al., ISORC 2023, schedule such jobs with a one-bit prediction of each size; their rules are not public. `edf`
is in `policies`; the two here are our reading of what their abstract compares. Agents alone play them, where jobs may
be sent away; no engine sends jobs away in closed loop.

* `drop-if-late` is earliest deadline first, and sends away every waiting job that by its prediction cannot be done by
  its deadline, even on the fastest server.
* `short-first-edf` does that too, and a job predicted long starts only where none that is predicted short can; among
  equals the deadline decides.

With one bit both serve more than `edf` in heavy overload alone, at load 2 for example. At load 1.2 neither does, and at
load 0.9 both serve fewer: the bit says 2 thresholds for every long job, and those it condemns often could be done. Told
the true sizes, `drop-if-late` serves more at load 1.2 too. `tests/test_pick_agents.py` measures this.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.edf import edf

_SOURCE = "our reading of Salman et al., ISORC 2023, whose rules are not public"


@dataclass(frozen=True)
class DeadlinePolicy(Policy):
    """Who starts and who is sent away, where jobs have firm deadlines.

    Attributes:
        short_up_to: s; a job of a larger prediction starts only where no other can.
    """

    drops: ClassVar[bool] = True

    short_up_to: float = np.inf

    @property
    def uses_predictions(self) -> bool:
        """It does: by them it sends jobs away."""
        return True

    def late(self, rows: np.ndarray, clock: float, speed: float) -> np.ndarray:
        """Return which jobs are sent away, bool of the shape of `rows`: by prediction too long for their deadline.

        Args:
            rows: `JOB` rows of any shape.
            clock: s.
            speed: of the fastest server.
        """
        return rows["predicted"] - rows["age"] > (rows["deadline"] - clock) * speed

    def preferred(self, rows: np.ndarray, opens: np.ndarray) -> np.ndarray:
        """Return who of those who can start, bool `(E, n)`, may do so: the short ones where there are any."""
        short = opens & (rows["predicted"] <= self.short_up_to)
        return np.where(short.any(axis=-1, keepdims=True), short, opens)


def _made(name: str, short_up_to: float = np.inf) -> DeadlinePolicy:
    order = edf()
    traits = {"preemptive": order.preemptive, "shape": order.shape, "source": _SOURCE}
    return DeadlinePolicy(name, order.rank, short_up_to=short_up_to, **traits)  # type: ignore[arg-type]


def drop_if_late() -> DeadlinePolicy:
    """Earliest deadline first; a job that by its prediction misses its deadline is sent away."""
    return _made("drop-if-late")


def short_first_edf(threshold: float = 1.0) -> DeadlinePolicy:
    """The same, but jobs predicted longer than the threshold start only where no other can.

    Args:
        threshold: s; that of the one-bit predictor.
    """
    if not threshold > 0:
        raise BadInput(f"short-first-edf: threshold={threshold:g} must be positive, as in short-first-edf:threshold=1")
    return _made("short-first-edf", threshold)
