"""Rewards by name. A reward is minus the integral of a cost per second that each job causes while it is in system.

The undiscounted return of an episode is therefore minus the sum over jobs of cost times response time.
"""

from collections.abc import Callable

import numpy as np

REWARDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {  # (jobs, sizes) -> cost per second (n_jobs,)
    "response_time": lambda jobs, sizes: np.ones(len(sizes)),
    "weighted": lambda jobs, sizes: jobs["weight"],
    "slowdown": lambda jobs, sizes: 1 / sizes,
}
