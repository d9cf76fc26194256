"""Least predicted time to first token: what is to be read there before, and of the prompt, and the iteration under way.

time = seconds a token * (prompt tokens pending + prompt - cached) + the last iteration's duration. Seconds a token are
those of an iteration that is full of prompt tokens, by the cost profile. Decodes beside it and the wait for memory are
not predicted.

Source: Qin et al., "Mooncake", FAST 2025, algorithm 1 (queue time and prefill time, of the instance of least sum), with
a cost profile in place of its fitted times; llm-d's latency scorer has the same aim.
"""

from typing import Any

import numpy as np

from llmqueue_gym.policies.routing.base import RoutingPolicy
from llmqueue_gym.policies.routing.seconds import seconds_per_token


def score(request, site, params):
    return params[0] * (site.pending + request.prompt - site.cached) + site.step_time


def prepare(profile: Any, rules: Any) -> np.ndarray:
    """Return seconds a prompt token."""
    return np.array([seconds_per_token(profile, rules)])


def least_ttft() -> RoutingPolicy:
    """Least predicted time to first token."""
    return RoutingPolicy("least-ttft", score, prepare=prepare, source="Qin et al., Mooncake, FAST 2025, algorithm 1")
