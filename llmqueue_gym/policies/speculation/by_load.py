"""The draft of the most tokens per s for the whole batch: the more requests there are, the fewer tokens they draft.

The chance of acceptance is that of all drafts looked at so far, and, as if it were some drafts more, the mean one of
the law. The best length is looked up by the number of requests and by that chance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation.base import SpeculationPolicy
from llmqueue_gym.theory.speculation import BatchedSpeculation

LEVELS = 21  # chances of acceptance in the table: 0, 0.05, ... 1


def draft(job, seen, params):
    chance = (seen.all_accepted + params[0] * params[1]) / (seen.all_tried + params[0])
    level = int(np.rint(chance * (LEVELS - 1)))
    return params[2 + (seen.batch - 1) * LEVELS + level]


def table(times, most_batch, most):
    """Return the best draft `(most_batch, LEVELS)` for each number of requests and each chance."""
    chances = np.linspace(0, 1, LEVELS)
    return np.array(
        [
            [BatchedSpeculation(times.verify, times.draft, float(a), times.tandem).best_draft(b, most) for a in chances]
            for b in range(1, most_batch + 1)
        ],
        float,
    )


@dataclass(frozen=True)
class Numbers:
    """The numbers of `draft`.

    Attributes:
        worth: drafts that what was known before is worth.
    """

    worth: float

    def __call__(self, times: Any, chance: float) -> np.ndarray:
        """Return them `(k,)`."""
        return np.concatenate([[self.worth, chance], table(times, times.seats, times.most).ravel()])


def by_load(worth: float = 100.0) -> SpeculationPolicy:
    """Drafts by the load.

    Args:
        worth: drafts that the mean chance of the law is worth, positive.
    """
    if not worth > 0:
        raise BadInput(f"by-load: worth={worth:g} must be positive, for example 100")

    source = "SmartSpec-like: Liu et al., Optimizing Speculative Decoding for Serving LLMs Using Goodput, 2024"
    return SpeculationPolicy("by-load", draft, prepare=Numbers(worth), source=source)
