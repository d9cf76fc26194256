"""Programs in order of arrival, and of a program the call first that most calls lie before: what is begun is ended.

Source: Lin et al., "Parrot: Efficient Serving of LLM-based Applications with Semantic Variable", OSDI 2024;
microsoft/ParrotServe, app FIFO by depth.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy

_DEEPEST = 1e-9  # s a call: far less than two programs come apart, and more than the last digit of their times


def rank(request, system, params):
    return request.began - _DEEPEST * request.depth


def deepest_first() -> ServingPolicy:
    """Deeper calls of the first program first."""
    source = "Lin et al., Parrot, OSDI 2024; microsoft/ParrotServe, app FIFO"
    return ServingPolicy("deepest-first", rank, source=source)
