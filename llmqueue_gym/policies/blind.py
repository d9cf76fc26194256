"""Orders that need no prediction: by arrival, or by the service that a job has had."""

import numpy as np

from llmqueue_gym.policies.base import Policy


def equal(job, params):
    return 0.0


def by_age(job, params):
    return job.age


def fcfs() -> Policy:
    """First come first served: every job has the same rank, and ties go to the earlier arrival."""
    source = "Pollaczek 1930, Khinchine 1932"
    return Policy("fcfs", equal, preemptive=False, shape="constant", formula="pollaczek-khinchine", source=source)


def lcfs() -> Policy:
    """Preemptive last come first served: equal ranks, and ties go to the later arrival; work done is kept."""
    source = "Kleinrock, Queueing Systems II, 1976"
    return Policy("lcfs", equal, shape="constant", lcfs_up_to=np.inf, formula="lcfs", source=source)


def las() -> Policy:
    """Least attained service (foreground-background): the youngest jobs share the server; needs no prediction."""
    return Policy("las", by_age, source="Kleinrock, Queueing Systems II, 1976; Nuyens and Wierman 2008")
