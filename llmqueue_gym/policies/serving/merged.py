"""Running and waiting requests are one queue, of which the first fill each batch.

Who is left out keeps its cache until the memory is needed, and then has it swapped out: recomputing it would undo what
these rules suppose, that service once attained stays.

Sources: Kleinrock, "Queueing Systems II", 1976; Fu et al., "Efficient LLM Scheduling by Learning to Rank", NeurIPS
2024; hao-ai-lab/vllm-ltr, scheduler.py.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_TRAITS = {"merged": True, "displaces": True, "preemption": "swap"}
_PROMOTED = -1e12


def generated(request, system, params):
    return request.generated


def las() -> ServingPolicy:
    """Fewest generated tokens first.

    Least attained service, of queueing theory, taken to batches here; prompts do not count.
    """
    return ServingPolicy("las", generated, source="Kleinrock, Queueing Systems II, 1976", **_TRAITS)  # type: ignore[arg-type]


def promoted_first(request, system, params):
    return request.first_predicted + (_PROMOTED if request.note < 0.0 else 0.0)


def turns(request, system, params):
    if request.note < 0.0:
        return request.note + (1.0 if request.last_scheduled == system.clock else 0.0)
    if request.last_scheduled == system.clock:
        return 0.0
    return request.note + 1.0 if request.note + 1.0 < params[0] else -params[1]


def ltr(starvation: int = 200, quantum: int = 10) -> ServingPolicy:
    """Best score first, with starvation control.

    The score is the prediction on arrival, of which the order alone matters (predictor `ranking`). `note` counts the
    iterations left out, or, below zero, those that a promoted request still has.

    Args:
        starvation: iterations left out on end after which a request is promoted before all others.
        quantum: iterations that a promoted request runs before it falls back.
    """
    if starvation < 1 or quantum < 1:
        raise BadInput(f"ltr: starvation={starvation} and quantum={quantum} must be at least 1 iteration")
    source = "Fu et al., Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024; hao-ai-lab/vllm-ltr"
    params = (float(starvation), float(quantum))
    return ServingPolicy("ltr", promoted_first, params, progress=turns, source=source, **_TRAITS)  # type: ignore[arg-type]
