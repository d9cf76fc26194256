"""Random: each arrival joins a queue drawn at random, whatever its state."""

from llmqueue_gym.policies.dispatch.base import DispatchPolicy


def score(job, queue, params):
    return 0.0


def random() -> DispatchPolicy:
    return DispatchPolicy("random", score, source="n independent queues, each with its share of the arrivals")
