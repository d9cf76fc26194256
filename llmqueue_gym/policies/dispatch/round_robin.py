"""Round robin: the servers in turn."""

from llmqueue_gym.policies.dispatch.base import DispatchPolicy
from llmqueue_gym.policies.dispatch.random import score


def round_robin() -> DispatchPolicy:
    return DispatchPolicy("round-robin", score, looks="turn", source="n queues G/G/1, arrivals dealt out in turn")
