"""NVIDIA Dynamo's KV router: blocks to be read for prompts, weighted, and blocks in use; one of little cost is drawn.

cost = weight * (prompt tokens pending + prompt - cached) / block size + blocks in use. At temperature 0 the least is
chosen, one of several drawn. Above it a replica is drawn by softmax over -cost / (most - least) / temperature, here by
the largest of these with a Gumbel variable added, which has the same law (Gumbel 1954; Maddison et al., 2014).

The blocks that the request itself would take add the same everywhere and are left out. What is cached is what the
replica's cache holds, as its events tell; without events Dynamo keeps a record of what it sent (`events=false`).

Its documentation of version 0.2 has costs of 18, 12 and 11 and marks the one of 12 as the lowest; the rule is the
formula, not the example, which later versions print with 18, 10 and 11.

Source: ai-dynamo/dynamo, documentation of the KV router, and softmax_sample of its scheduler.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import RoutingPolicy

_LEAST = 2.0**-54  # below every number that is drawn but 0


def cost(prompt, pending, known, used, params):
    """Return the cost of a replica, blocks."""
    return params[0] * (pending + prompt - known) / params[2] + used


def drawn(value, lowest, highest, luck, temperature):
    """Return what has its least where a softmax draws: a cost and a Gumbel variable."""
    gumbel = -math.log(-math.log(max(luck, _LEAST)))
    share = value / (highest - lowest) / temperature if highest > lowest else 0.0
    return share - gumbel


def score(request, site, params):
    return cost(request.prompt, site.pending, site.cached, site.blocks - site.free, params)


def score_of_record(request, site, params):
    return cost(request.prompt, site.pending, site.known, site.blocks - site.free, params)


def softmax(request, site, params):
    value = cost(request.prompt, site.pending, site.cached, site.blocks - site.free, params)
    return value if site.asked == 0 else drawn(value, site.lowest, site.highest, site.luck, params[1])


def softmax_of_record(request, site, params):
    value = cost(request.prompt, site.pending, site.known, site.blocks - site.free, params)
    return value if site.asked == 0 else drawn(value, site.lowest, site.highest, site.luck, params[1])


@dataclass(frozen=True)
class Numbers:
    """The `prepare` of a weight and a temperature."""

    weight: float
    temperature: float

    def __call__(self, profile: Any, rules: Any) -> np.ndarray:
        """Return weight, temperature and tokens a block."""
        return np.array([self.weight, self.temperature, rules.block_size], float)


def dynamo(weight: float = 1.0, temperature: float = 0.0, events: bool = True) -> RoutingPolicy:
    """NVIDIA Dynamo's KV router.

    Args:
        weight: of a block to be read against one in use.
        temperature: of the softmax; 0 takes the least.
        events: whether replicas tell what their caches hold; if not, it is what was sent.
    """
    if not (weight >= 0 and 0 <= temperature < math.inf):
        raise BadInput(f"dynamo: weight={weight:g} and temperature={temperature:g} must be finite and not negative")
    plain, random = (score, softmax) if events else (score_of_record, softmax_of_record)
    source = "ai-dynamo/dynamo, KV router"
    chosen = plain if temperature == 0 else random
    return RoutingPolicy("dynamo", chosen, prepare=Numbers(weight, temperature), source=source)
