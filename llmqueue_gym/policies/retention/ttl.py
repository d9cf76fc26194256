"""Time to live: a context is kept for a while, and dropped if its program is not back by then.

Continuum computes the time from the tool's history; here it is one number. `ttl-optimal` computes it from a law.

Source: Li et al., "Continuum: Efficient and Robust Multi-Turn LLM Agent Scheduling with KV Cache Time-to-Live", arXiv
2511.02230, with a fixed time.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention.base import RetentionPolicy


def keep(away, system, params):
    return max(params[0] - away.elapsed, 0.0)


def ttl(seconds: float = 2.0) -> RetentionPolicy:
    """A fixed time to live.

    Args:
        seconds: for which a context is kept.
    """
    if not seconds >= 0:
        raise BadInput(f"ttl: seconds={seconds:g} must not be negative")
    return RetentionPolicy("ttl", keep, params=(seconds,), source="Li et al., Continuum, arXiv 2511.02230; fixed time")
