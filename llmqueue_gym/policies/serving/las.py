"""Least attained service: who has generated least is served first; needs no prediction.

Running and waiting requests are one queue. Who is left out keeps its cache until the memory is needed, and then has it
swapped out: recomputing it would undo what the rule supposes, that service once attained stays. Prompts do not count.
The rule is that of queueing theory, taken to batches here.

Source: Kleinrock, "Queueing Systems II", 1976.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.generated


def las() -> ServingPolicy:
    """Fewest generated tokens first."""
    return ServingPolicy(
        "las", rank, merged=True, displaces=True, preemption="swap", source="Kleinrock, Queueing Systems II, 1976"
    )
