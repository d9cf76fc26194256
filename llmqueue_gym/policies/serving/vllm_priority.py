"""vLLM's priority scheduling: the smallest number first, and the largest is preempted where memory is short."""

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.serving.base import ServingPolicy


def predicted(request, system, params):
    return request.first_predicted


def stated(request, system, params):
    return request.priority


RANKS = {"predicted": predicted, "stated": stated}


def vllm_priority(by: str = "predicted") -> ServingPolicy:
    """Smallest number first among those that wait; the largest is preempted where memory is short.

    The priority is set on arrival and stays, as in vLLM; a waiting request never takes the place of a running one.

    Args:
        by: "predicted", the output length predicted on arrival; or "stated", the priority that came with the request.
    """
    if by not in RANKS:
        raise BadInput(f"vllm-priority: by={by!r}; {nearest(by, RANKS)}")
    return ServingPolicy("vllm-priority", RANKS[by], source="vLLM, --scheduling-policy priority")
