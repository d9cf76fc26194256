"""Environments by id. To add one: write its class, or only other keyword arguments, and add its line here.

A new family has its keyword arguments (a `job_config.JobConfig`, or any checked dataclass with `spaces`), its episodes
(a `job_episodes.JobEpisodes` or `episodes.Episodes`), and a module with two classes that name them, `<Name>Env` (a
`scalar.CompiledEnv`) and `<Name>VectorEnv` (a `vector.CompiledVectorEnv`).
"""

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


def _family(module: str, name: str) -> tuple[str, str]:
    """Return the entry points of a family, whose classes have one name."""
    return f"{_HERE}.{module}:{name}Env", f"{_HERE}.{module}:{name}VectorEnv"


_LLM = _family("llm_batching", "LLMBatching")
# An A100 with all its memory at 0.95 of the 7.7 requests/s with which first come first served keeps up.
_AZURE_CONV: dict[str, Any] = {"lengths": "azure-conv", "profile": "a100-llama3-8b", "rules": "vllm-v1", "rate": 7.3}
_AZURE_CONV |= {"n_requests": 5000, "window": 64, "seats": 128}
_MG1 = _family("mg1", "MG1")
_SERVERS = _family("multi_server", "MultiServer")
_DISPATCH = _family("dispatch", "Dispatch")
_DEADLINES: dict[str, Any] = {"patience": "uniform:mean=3", "may_pass": True}

ENVIRONMENTS: dict[str, Environment] = {
    "llmqueue/MG1-v0": Environment(
        "One server without preemption: pick who is served next whenever it is free.", *_MG1, {"preemptive": False}
    ),
    "llmqueue/MG1Preemptive-v0": Environment(
        "One server with preemption: pick who is served at every arrival and completion.", *_MG1, {"preemptive": True}
    ),
    "llmqueue/MGk-v0": Environment("Several servers, one queue: pick who starts whenever a server is free.", *_SERVERS),
    "llmqueue/MGkPreemptive-v0": Environment(
        "Several servers, one queue: pick who runs at every arrival and completion.", *_SERVERS, {"preemptive": True}
    ),
    "llmqueue/Abandonment-v0": Environment(
        "Several servers in overload, jobs that give up waiting: serve as many as possible.",
        *_SERVERS,
        {"servers": 10, "load": 1.4, "patience": "exponential", "per_job": 1.0},
    ),
    "llmqueue/MultiserverJob-v0": Environment(
        "Jobs that occupy several servers at once: pick who starts, or keep servers free for a larger one.",
        *_SERVERS,
        {"servers": 8, "needs": (1, 2, 4, 8), "may_pass": True},
    ),
    "llmqueue/Deadline-v0": Environment(
        "Firm deadlines, one bit known of each size: start jobs, or send them away, and finish as many as possible.",
        *_SERVERS,
        {"predictor": "one-bit", "load": 1.6, "firm": True, "may_drop": True, "per_job": 1.0, **_DEADLINES},
    ),
    "llmqueue/Dispatch-v0": Environment(
        "Many servers with a queue each, sizes predicted: pick the queue that an arrival joins.", *_DISPATCH
    ),
    **{
        f"llmqueue/{name}{suffix}-v0": Environment(words + more, *_LLM, {"decides": decides, **kwargs})
        for name, decides, words in (
            ("LLMBatching", "admission", "LLM serving with a KV cache: pick the next request for the batch, or run it"),
            ("LLMPreemptive", "eviction", "LLM serving with a KV cache: admit, and preempt by recomputation or swap"),
            ("LLMRank", "ranking", "LLM serving with a KV cache: rank requests on arrival and on each new prediction"),
        )
        for suffix, more, kwargs in (("", ".", {}), ("AzureConv", ", at the size of a real trace.", _AZURE_CONV))
    },
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
