"""Memory-constrained shortest first (MC-SF), and its benchmark in order of arrival (`mc-fcfs`).

Waiting requests are looked at by ascending predicted length, and one is admitted if all running requests and it would
fit in memory until their predicted ends; the first that would not ends the scan. Nobody is preempted as long as
predictions do not fall short, every running request gets a token in every iteration, and whole prompts take one
iteration, as in the paper's rounds: use `lookahead=1` and a token budget beyond all prompts for the exact model.

Source: Jaillet et al., "Online Scheduling for LLM Inference with KV Cache Constraints", arXiv 2502.07115.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy

_SOURCE = "Jaillet et al., Online Scheduling for LLM Inference with KV Cache Constraints, arXiv 2502.07115"


def rank(request, system, params):
    return request.predicted


def mc_sf() -> ServingPolicy:
    """Shortest predicted output first, admitted if memory suffices to the predicted ends."""
    return ServingPolicy("mc-sf", rank, admission="peak", source=_SOURCE)


def mc_fcfs() -> ServingPolicy:
    """First come first served, admitted if memory suffices to the predicted ends (MC-Benchmark)."""
    return ServingPolicy("mc-fcfs", admission="peak", source=_SOURCE)
