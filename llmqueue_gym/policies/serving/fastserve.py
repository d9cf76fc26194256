"""FastServe: a multi-level feedback queue that a request joins at the level of its prefill time.

Level i has a quantum of 10 ms * 2^i. A request joins the first level whose quantum is at least the time that its prompt
takes alone, behind those that are there. Who has used up its quantum goes one level down. Whoever ran goes to the front
of its level again, so within a level the last to have run come first. In every 1000th iteration, who has not run for
3 s goes to the front of level 0. Caches are swapped out ahead of need, from the tail of the lowest level.

`note` keeps 0 for a request that has not run yet, else 1 + level + share of the quantum used; 1 itself is one that came
back to level 0. Left out: the limit of host memory, and swapping in before a request's turn. A request that never ran
is idle since its arrival; in the source it counts as idle whenever that is looked at.

Source: Wu et al., "Fast Distributed Inference Serving for Large Language Models", arXiv 2305.05920 and NSDI 2026;
LLMServe/FastServe, scheduler.py, which has these constants.
"""

from typing import Any

import numpy as np

from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.policies.serving.seconds import prefill_seconds

LEVELS = 24  # that a request can join; the quantum of the last is a day
BATCH = 16  # requests in a batch, and blocks that are kept free
_QUANTUM, _IDLE, _PERIOD = 0.01, 3.0, 1000  # s, s, iterations
_LEVEL = 1e9  # s; beyond any clock


def rank(request, system, params):
    if request.note == 0.0:
        level = 0
        while level < LEVELS - 1 and request.prompt > params[level]:
            level += 1
        return level * _LEVEL
    if request.note == 1.0:
        return -_LEVEL
    return (int(request.note) - 1) * _LEVEL - request.last_scheduled


def progress(request, system, params):
    if request.last_scheduled < system.clock:
        due = system.iterations % _PERIOD == 0 and system.clock - request.last_scheduled >= _IDLE
        return 1.0 if due else request.note
    level, share = int(request.note) - 1, request.note - int(request.note)
    if request.note == 0.0:
        level = 0
        while level < LEVELS - 1 and request.prompt > params[level]:
            level += 1
    share += system.step_time / (_QUANTUM * 2.0**level)
    return level + 2.0 if share >= 1.0 else level + 1.0 + share


def prepare(profile: Any, rules: Any) -> np.ndarray:
    """Return the longest prompt `(LEVELS,)`, tokens, that joins each level."""
    times = np.maximum.accumulate(prefill_seconds(profile, np.arange(1, profile.kv_tokens + 1)))
    return np.searchsorted(times, _QUANTUM * 2.0 ** np.arange(LEVELS), side="right").astype(float)


def fastserve() -> ServingPolicy:
    """Skip-join multi-level feedback queue with swapping ahead of need."""
    return ServingPolicy(
        "fastserve",
        rank,
        progress=progress,
        merged=True,
        displaces=True,
        spare=BATCH,
        preemption="swap",
        prepare=prepare,
        rules={"max_seqs": BATCH, "token_budget": 2048},
        source="Wu et al., FastServe, arXiv 2305.05920; LLMServe/FastServe, scheduler.py",
    )
