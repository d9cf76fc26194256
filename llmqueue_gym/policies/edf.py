"""Earliest deadline first, for jobs that tell until when they are of use, or until when they will wait.

Source: Panwar, Towsley, Wolf, Optimal Scheduling Policies for a Class of Queues with Customer Deadlines to the
Beginning of Service, J. ACM 1988.
"""

from llmqueue_gym.policies.base import Policy

_SOURCE = "Panwar, Towsley, Wolf, J. ACM 1988"


def rank(job, params):
    return job.deadline


def rank_slack(job, params):
    return job.deadline - job.predicted


def edf() -> Policy:
    """Earliest deadline first, without preemption."""
    return Policy("edf", rank, preemptive=False, shape="constant", source=_SOURCE)


def least_slack() -> Policy:
    """Least slack first, without preemption: by the latest time to begin, the deadline less the predicted size."""
    return Policy("least-slack", rank_slack, preemptive=False, shape="constant", source="Liu, Real-Time Systems, 2000")
