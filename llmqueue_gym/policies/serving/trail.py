"""Trail: shortest predicted remaining output first, with preemption only of the young.

A running request can be displaced during its first `c` times first predicted length tokens, while its cache is small;
c=0 turns that off, c=1 is nearly `sprpt`. Where memory is short those that are past it go last.

Source: Shahout et al., "Don't Stop Me Now: Embedding Based Scheduling for LLMs", ICLR 2025 (c=0.8);
harvard-cns/TRAIL-llm-scheduling, which adds the margin and is released with c=0.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_OLD = -1e9  # tokens; below any predicted remainder


def rank(request, system, params):
    return request.predicted - request.generated


def victim(request, system, params):
    left = request.predicted - request.generated
    return left if request.generated < params[0] * request.first_predicted else left + _OLD


def trail(c: float = 0.8, margin: float = 0.0) -> ServingPolicy:
    """Trail.

    Args:
        c: share of the first prediction up to which a running request can be displaced, in [0, 1].
        margin: tokens by which a request has to be shorter than the one that it displaces.
    """
    if not 0 <= c <= 1:
        raise BadInput(f"trail: c={c:g} must lie in [0, 1]")
    if not margin >= 0:
        raise BadInput(f"trail: margin={margin:g} must not be negative")
    source = "Shahout et al., Don't Stop Me Now: Embedding Based Scheduling for LLMs (Trail), ICLR 2025"
    return ServingPolicy("trail", rank, (c,), victim=victim, displaces=True, margin=margin, source=source)
