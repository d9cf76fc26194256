"""First come, first served: what every serving engine does unless told otherwise; what that means its rules say."""

from llmqueue_gym.policies.serving.base import ServingPolicy


def fcfs() -> ServingPolicy:
    """First come first served; preempted requests go to the front of the queue."""
    return ServingPolicy("fcfs", source="vLLM, v1/core/sched/scheduler.py; RULES of each engine")
