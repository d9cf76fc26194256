"""Preble's exploit and explore (E2): a prompt that is mostly known somewhere goes there, another where it costs least.

A prompt is known at a replica as far as its beginning was sent there. Exploit: if at least half of it is known, it goes
to the least loaded of the replicas that know most. Explore: otherwise the cost of a replica is its load and the time to
compute again what has to leave its cache. The load is the time to read the prompt tokens that are pending there, and
`output` tokens of `tpot` seconds for each request outstanding.

"-like": Preble's load counts the last three minutes, weights what leaves the cache by its hits, and moves or copies
hot prefixes when loads differ by half; here the load is the present one, what leaves is not weighted, nothing moves.

Source: Srivatsa et al., "Preble: Efficient Distributed Prompt Scheduling for LLM Serving", ICLR 2025; WukLab/preble,
global_scheduler_with_time.py, whose output tokens and seconds a token these are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import RoutingPolicy
from llmqueue_gym.policies.routing.seconds import seconds_per_token

_OTHERS = 1e12  # s; after those that know most


def score(request, site, params):
    if site.asked == 0:
        return -site.known
    token, request_time, block = params[0], params[1], params[2]
    load = token * site.pending + request_time * site.outstanding
    most = -site.lowest
    if most > 0 and most >= request.prompt - most:
        return load if site.known == most else _OTHERS + load
    return load + token * max(request.prompt - site.known - block * site.free, 0.0)


@dataclass(frozen=True)
class Costs:
    """The `prepare` of a given output."""

    output: float
    tpot: float

    def __call__(self, profile: Any, rules: Any) -> np.ndarray:
        """Return seconds a prompt token and a request, and tokens a block."""
        return np.array([seconds_per_token(profile, rules), self.output * self.tpot, rules.block_size], float)


def preble_like(output: float = 45.0, tpot: float = 0.15) -> RoutingPolicy:
    """Preble's exploit and explore.

    Args:
        output: tokens that a request is thought to generate.
        tpot: s each.
    """
    if not (output >= 0 and tpot >= 0):
        raise BadInput(f"preble-like: output={output:g} and tpot={tpot:g} cannot be negative")
    source = "Srivatsa et al., Preble, ICLR 2025; WukLab/preble"
    return RoutingPolicy("preble-like", score, ties="first", prepare=Costs(output, tpot), source=source)
