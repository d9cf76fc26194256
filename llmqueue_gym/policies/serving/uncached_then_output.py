"""Shortest predicted remaining seconds first, where what the cache holds of a prompt costs nothing.

As `remaining-seconds`, on one scale for reading and writing, but a request that waits is charged only for the tokens
that it would have to compute: a long prompt that is cached counts as a short one. Where nothing is cached the two are
the same.

Source: shortest remaining processing time (Schrage 1968) on the cost profile; hits as in section 4.2 of Mitzenmacher
and Shahout, "Queueing, Predictions, and LLMs". The rank is this library's.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.policies.serving.remaining_seconds import prepare


def rank(request, system, params):
    token, square, write, read = params[0], params[1], params[2], params[3]
    known = request.prompt + request.generated
    cached = max(request.computed, request.cached)
    behind = max(known - cached - 1.0, 0.0)  # the last known token is computed as the next one is written
    left = max(request.predicted - request.generated, 1.0)
    reading = behind * (token + square * (2.0 * cached + behind))
    return reading + left * (write + read * (known + 0.5 * left))


def uncached_then_output(displaces: bool = False) -> ServingPolicy:
    """Shortest predicted remaining seconds first, cached tokens free.

    Args:
        displaces: whether a waiting request takes the place of a running one that has more left.
    """
    source = "Schrage 1968 on a cost profile; Mitzenmacher and Shahout, Queueing, Predictions, and LLMs, section 4.2"
    return ServingPolicy("uncached-then-output", rank, ages=True, displaces=displaces, prepare=prepare, source=source)
