"""The calls of the program that came first are served first, whenever they themselves come."""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.began


def program_fcfs() -> ServingPolicy:
    """Programs in order of arrival."""
    source = "Lin et al., Parrot, OSDI 2024; Luo et al., Autellix, arXiv 2502.13965: first come first served by program"
    return ServingPolicy("program-fcfs", rank, source=source)
