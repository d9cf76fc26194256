"""Preemptive last come first served: equal ranks, and ties go to the later arrival; work done is kept."""

import numpy as np

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return 0.0


def lcfs() -> Policy:
    return Policy(
        "lcfs", rank, shape="constant", lcfs_up_to=np.inf, formula="lcfs", source="Kleinrock, Queueing Systems II, 1976"
    )
