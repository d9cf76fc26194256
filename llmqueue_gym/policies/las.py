"""Least attained service (foreground-background): the youngest jobs share the server; needs no prediction."""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.age


def las() -> Policy:
    return Policy("las", rank, shape="general", source="Kleinrock, Queueing Systems II, 1976; Nuyens and Wierman 2008")
