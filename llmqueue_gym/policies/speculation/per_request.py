"""Each request drafts while one more token is worth what it costs all: by its own chance, and by the load.

One more token of a request is accepted with the chance that all before it and it are. It makes the step longer for the
whole batch, which meanwhile would have got tokens at its best rate; that rate, and what a token adds to a step, are
looked up by the number of requests. For one request alone this is the best draft; in a batch it is a heuristic, as a
step waits for the longest draft.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation.base import SpeculationPolicy
from llmqueue_gym.theory.speculation import BatchedSpeculation


def draft(job, seen, params):
    chance = (seen.accepted + params[0] * seen.told) / (seen.tried + params[0])
    price, power, g = params[seen.batch], chance, 0
    while g < seen.most and power > price:
        g += 1
        power *= chance
    return float(g)


def prices(times, chance):
    """Return the tokens that one more draft costs the batch `(seats,)`, for 1, 2, ... requests at their best draft."""
    found = []
    for batch in range(1, times.seats + 1):
        spec = BatchedSpeculation(times.verify, times.draft, chance)
        g = min(spec.best_draft(batch, times.most), times.most - 1)
        longer = (spec.step_time(batch, g + 1) - spec.step_time(batch, g)) / batch
        found.append(longer * max(spec.throughput(batch, g), spec.throughput(batch, g + 1)))
    return np.array(found)


@dataclass(frozen=True)
class Numbers:
    """The numbers of `draft`.

    Attributes:
        worth: drafts that what was known before is worth.
    """

    worth: float

    def __call__(self, times: Any, chance: float) -> np.ndarray:
        """Return them `(k,)`."""
        return np.concatenate([[self.worth], prices(times, chance)])


def per_request(worth: float = 10.0) -> SpeculationPolicy:
    """Drafts by request and load.

    Args:
        worth: drafts that a prediction is worth, positive.
    """
    if not worth > 0:
        raise BadInput(f"per-request: worth={worth:g} must be positive, for example 10")

    source = "ours, for open question 5.2-a of Mitzenmacher and Shahout 2025"
    return SpeculationPolicy("per-request", draft, prepare=Numbers(worth), source=source)
