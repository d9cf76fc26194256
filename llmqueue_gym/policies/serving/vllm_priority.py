"""vLLM's priority scheduling, given the predicted output length as the priority."""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.first_predicted


def vllm_priority() -> ServingPolicy:
    """Shortest predicted output first among those that wait; the longest is preempted where memory is short.

    The priority is set on arrival and stays, as in vLLM; a waiting request never takes the place of a running one.
    """
    return ServingPolicy("vllm-priority", rank, source="vLLM, --scheduling-policy priority")
