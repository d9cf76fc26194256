"""The job and number that add least to the predicted sum of response times: its own, and the delay of all who wait.

A job on j servers for t seconds takes j t of the k server-seconds there are each second, which delays everybody behind
it by about j t / k. Alone, a job takes all it gains from; in a crowd, only what it uses well. So the number follows the
predicted speed-up and the load alike.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.moldable.base import MoldablePolicy


def score(job, offer, params):
    if offer.servers > offer.free:
        return np.inf
    behind = offer.waiting - 1 + params[0]
    return offer.time * (1 + behind * offer.servers / offer.total)


def least_delay(others: float = 1.0) -> MoldablePolicy:
    """The least predicted delay of all.

    Args:
        others: jobs yet to come that are counted with those who wait; 0 is short-sighted.
    """
    if not 0 <= others < np.inf:
        raise BadInput(f"least-delay: others={others:g} must be finite and not negative, for example 1")
    return MoldablePolicy("least-delay", score, (others,), source="ours")
