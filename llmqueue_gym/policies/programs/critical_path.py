"""The call goes first on which the longest path of its program hangs, by the tokens that are predicted along it.

Source: Hu, "Parallel Sequencing and Assembly Line Problems", Operations Research 1961 (highest level first).
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return -request.path_to_come


def critical_path() -> ServingPolicy:
    """Longest path to come first."""
    return ServingPolicy("critical-path", rank, source="Hu, Parallel Sequencing and Assembly Line Problems, 1961")
