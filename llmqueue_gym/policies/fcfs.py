"""First come first served: every job has the same rank, and ties go to the earlier arrival."""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return 0.0


def fcfs() -> Policy:
    return Policy(
        "fcfs",
        rank,
        preemptive=False,
        shape="constant",
        formula="pollaczek-khinchine",
        source="Pollaczek 1930, Khinchine 1932",
    )
