"""Each request drafts while one more token is worth what it costs all: by its own chance, and by the load.

One more token of a request is accepted with the chance that all before it and it are. It makes the step longer for the
whole batch, which meanwhile would have got tokens at its best rate; that rate, and what each token of a draft adds to a
step, are looked up by the number of requests. Where all have the mean chance of the law, this is the draft of the most
tokens per s (Dinkelbach, Management Science 1967, as a step takes more and more for each token); else it is a
heuristic, as a step waits for the longest draft.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation.base import SpeculationPolicy
from llmqueue_gym.theory.speculation import BatchedSpeculation


def draft(job, seen, params):
    chance = (seen.accepted + params[0] * seen.told) / (seen.tried + params[0])
    power, g, first = chance, 0, 1 + (seen.batch - 1) * seen.most
    while g < seen.most and power > params[first + g]:
        g += 1
        power *= chance
    return float(g)


def prices(times, chance):
    """Return the tokens that each token of a draft costs the batch `(seats, most)`, of 1, 2, ... requests."""
    spec, found = BatchedSpeculation(times.verify, times.draft, chance, times.tandem), []
    for batch in range(1, times.seats + 1):
        cycles = np.array([spec.cycle(batch, g) for g in range(times.most + 1)])
        best = max(spec.throughput(batch, g) for g in range(times.most + 1))
        found.append(np.diff(cycles) * best / batch)
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
        return np.concatenate([[self.worth], prices(times, chance).ravel()])


def per_request(worth: float = 10.0) -> SpeculationPolicy:
    """Drafts by request and load.

    Args:
        worth: drafts that a prediction is worth, positive.
    """
    if not worth > 0:
        raise BadInput(f"per-request: worth={worth:g} must be positive, for example 10")

    source = "ours, for open question 5.2-a of Mitzenmacher and Shahout 2025"
    return SpeculationPolicy("per-request", draft, prepare=Numbers(worth), source=source)
