"""Speculative shortest job first: shortest predicted output first, with aging against starvation.

A request that has waited more than 100 s, or more than ten times its own predicted execution time of 0.1 s and 0.02 s a
token, goes before all that have not; among those the longest waiting is first. In the source only the longest
waiting request is put to that test, here each one, so that a short request does not hide behind a long one.

Source: Qiu et al., "Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction", 2024;
JamesQiuHaoran/LLM-serving-with-proxy-models.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_STARVING = -1e12


def rank(request, system, params):
    waited = system.clock - request.arrival
    execution = params[0] + params[1] * request.predicted
    if waited > params[2] or waited > params[3] * execution:
        return _STARVING + request.arrival
    return request.predicted


def victim(request, system, params):
    return request.predicted


def ssjf(longest_wait: float = 100.0, stretch: float = 10.0) -> ServingPolicy:
    """Shortest predicted output first, the long waiting before them.

    Args:
        longest_wait: s after which a request goes first.
        stretch: predicted execution times after which it does.

    Raises:
        BadInput: one of them is negative.
    """
    for name, value in (("longest_wait", longest_wait), ("stretch", stretch)):
        if value < 0:
            raise BadInput(f"ssjf: {name}={value:g} must not be negative; 0 is first come first served")
    source = "Qiu et al., Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction, 2024"
    return ServingPolicy("ssjf", rank, (0.1, 0.02, longest_wait, stretch), ages=True, victim=victim, source=source)
