"""Least laxity first: by the deadline, less the time that a request still takes as predicted.

That time is in iterations of the mean length so far: one for each output token that is predicted to come, and for the
tokens that are not computed yet as many as fill them with the whole token budget. The clock is the same for all and
left out.

Source: Mok, "Fundamental design problems of distributed systems for the hard-real-time environment", MIT 1983.
"""

from typing import Any

import numpy as np

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    unread = request.prompt + request.generated - request.computed
    iterations = unread / params[0] + max(request.predicted - request.generated, 0.0)
    return request.deadline - iterations * system.mean_step_time


def prepare(profile: Any, rules: Any) -> np.ndarray:
    """Return the token budget of an iteration."""
    return np.array([rules.token_budget], float)


def least_laxity(displaces: bool = False) -> ServingPolicy:
    """Least laxity first; who has no deadline comes last.

    Args:
        displaces: whether a waiting request takes the place of a running one of larger laxity.
    """
    return ServingPolicy(
        "least-laxity", rank, ages=True, displaces=displaces, prepare=prepare, source="Mok, MIT 1983, PhD thesis"
    )
