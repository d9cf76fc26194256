"""SLAI: decodes wait until their last safe start, so that prompts are read in the meantime.

A decode is due from its last token + target - offset * mean iteration on, by the target for the time between tokens.
The batch is filled in this order: decodes that are due, prompts begun, waiting requests by shortest prompt (class 1,
the paying one, first), then the other decodes, the soonest due first. The offset is 5 iterations, or 10 where at least
0.96 of the memory is in use. Memory for a decode is taken from the latest prompt begun, if any.

"-like": offset and mean iteration are the present ones, not those at its last token, and a decode that lacks memory
while no prompt is begun takes that of another decode, where the source preempts the decode itself.

Source: Bari et al., arXiv 2508.01002; agrimUT/SLAI, slai_scheduler.py, whose budget, batch and targets these are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.requests import DECODING, WAITING

_TIER = 1e9  # s or tokens; beyond any clock and prompt
_OFFSET, _OFFSET_FULL, _FULL = 5.0, 10.0, 0.96


def rank(request, system, params):
    if request.status == DECODING:
        used = system.blocks - system.free
        offset = _OFFSET_FULL if used >= _FULL * system.blocks else _OFFSET
        target = params[1] if request.klass == 1 else params[0]
        start = request.last_token + target - offset * system.mean_step_time
        return start if system.clock >= start else 4.0 * _TIER + start
    if request.status != WAITING and request.computed > 0:
        return _TIER + request.arrival
    if system.running >= params[2]:
        return 5.0 * _TIER + request.prompt
    return (2.0 if request.klass == 1 else 3.0) * _TIER + request.prompt


def victim(request, system, params):
    return request.last_token if request.status == DECODING else _TIER + request.arrival


@dataclass(frozen=True)
class Targets:
    """The `prepare` of given targets, s."""

    target: float
    paying: float

    def __call__(self, profile: Any, rules: Any) -> np.ndarray:
        """Return both targets and the most requests that run."""
        return np.array([self.target, self.paying, rules.max_seqs], dtype=float)


def slai_like(target: float = 0.2, paying: float = 0.1) -> ServingPolicy:
    """SLAI.

    Args:
        target: s between tokens that a request may take.
        paying: the same for requests of class 1.
    """
    if not (target > 0 and paying > 0):
        raise BadInput(f"slai-like: target={target:g} and paying={paying:g} must be positive, in s")
    return ServingPolicy(
        "slai-like",
        rank,
        victim=victim,
        merged=True,
        prepare=Targets(target, paying),
        rules={"token_budget": 512, "max_seqs": 128, "allocation": "known"},
        source="Bari et al., arXiv 2508.01002; agrimUT/SLAI",
    )
