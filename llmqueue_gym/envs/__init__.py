"""Environments by id. To add one: write its class, or only other keyword arguments, and add its line here."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium

_HERE = "llmqueue_gym.envs"


@dataclass(frozen=True)
class Environment:
    """What stands behind an id.

    Attributes:
        description: one line.
        entry_point: "module:class" of the scalar environment.
        vector_entry_point: "module:class" of the compiled vector environment.
        kwargs: the keyword arguments that make the id.
    """

    description: str
    entry_point: str
    vector_entry_point: str
    kwargs: dict[str, Any] = field(default_factory=dict)


_LLM = (f"{_HERE}.llm_batching:LLMBatchingEnv", f"{_HERE}.llm_batching:LLMBatchingVectorEnv")
_MG1 = (f"{_HERE}.mg1:MG1Env", f"{_HERE}.mg1:MG1VectorEnv")

ENVIRONMENTS: dict[str, Environment] = {
    "llmqueue/MG1-v0": Environment(
        "One server without preemption: pick who is served next whenever it is free.", *_MG1, {"preemptive": False}
    ),
    "llmqueue/MG1Preemptive-v0": Environment(
        "One server with preemption: pick who is served at every arrival and completion.", *_MG1, {"preemptive": True}
    ),
    "llmqueue/LLMBatching-v0": Environment(
        "LLM serving with a KV cache: pick the next waiting request for the batch, or run the iteration.",
        *_LLM,
        {"decides": "admission"},
    ),
    "llmqueue/LLMPreemptive-v0": Environment(
        "LLM serving with a KV cache: admit, and preempt running requests by recomputation or swap.",
        *_LLM,
        {"decides": "eviction"},
    ),
    "llmqueue/LLMRank-v0": Environment(
        "LLM serving with a KV cache: rank a request on arrival and on each refresh of its prediction.",
        *_LLM,
        {"decides": "ranking"},
    ),
}


def register_all() -> None:
    """Make every id known to Gymnasium; nothing is imported until one is made."""
    for name, environment in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=environment.entry_point,
                vector_entry_point=environment.vector_entry_point,
                kwargs=environment.kwargs,
            )
