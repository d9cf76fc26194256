"""LTR: in every iteration the batch is filled in order of the scores given on arrival, the starving ones first.

A request that has been left out of 200 iterations on end is promoted before all others until it has run in 10. Who is
left out keeps its cache until the memory is needed; then those of the worst score are swapped out first.

`note` counts the iterations left out, or, below zero, those that a promoted request still has. The score is the
prediction on arrival, of which the order alone matters (predictor `ranking`).

Source: Fu et al., "Efficient LLM Scheduling by Learning to Rank", NeurIPS 2024; hao-ai-lab/vllm-ltr, scheduler.py.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_PROMOTED = -1e12


def rank(request, system, params):
    return request.first_predicted + (_PROMOTED if request.note < 0.0 else 0.0)


def progress(request, system, params):
    if request.note < 0.0:
        return request.note + (1.0 if request.last_scheduled == system.clock else 0.0)
    if request.last_scheduled == system.clock:
        return 0.0
    return request.note + 1.0 if request.note + 1.0 < params[0] else -params[1]


def ltr(starvation: int = 200, quantum: int = 10) -> ServingPolicy:
    """Best score first, with starvation control.

    Args:
        starvation: iterations left out after which a request is promoted.
        quantum: iterations that a promoted request runs before it falls back.
    """
    if starvation < 1 or quantum < 1:
        raise BadInput(f"ltr: starvation={starvation} and quantum={quantum} must be at least 1 iteration")
    source = "Fu et al., Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024; hao-ai-lab/vllm-ltr"
    numbers = (float(starvation), float(quantum))
    return ServingPolicy(
        "ltr", rank, numbers, progress=progress, merged=True, displaces=True, preemption="swap", source=source
    )
