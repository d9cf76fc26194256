"""As many of the free servers as the job is predicted to use well: speed-up over servers stays at or above theta.

Theta of 1/2 is near the knee of Eager, Zahorjan and Lazowska, the number of most speed-up times efficiency.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def score(job, offer, params):
    if offer.servers > offer.free or job.predicted < params[0] * offer.servers * offer.time:
        return np.inf
    return job.predicted


def efficiency(theta: float = 0.5, shortest_first: bool = False) -> MoldablePolicy:
    """The most servers of a predicted efficiency of at least theta.

    Args:
        theta: in (0, 1]; one server has efficiency 1.
        shortest_first: the least predicted work first, rather than the first to come.
    """
    if not 0 < theta <= 1:
        raise BadInput(f"efficiency: theta={theta:g} must lie in (0, 1], for example 0.5")
    source = "Eager, Zahorjan, Lazowska, Speedup versus Efficiency in Parallel Systems, IEEE Trans. Computers 1989"
    return MoldablePolicy("efficiency", params=(theta,), **ordered(score, score, shortest_first), source=source)
