"""Environments by id: a scenario, and the decisions in it that are the agent's. To add one: add its line here.

    gym.make("llmqueue/MG1Preemptive-v0", load=0.9, slots=32)

takes the fields of the scenario, of its system and of the system's view; `Scenario.env` opens any other scenario.
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
        system: kind of system, a name in `systems.SYSTEMS`.
        kwargs: the fields of scenario and view that make the id.
        n_jobs: in an episode unless told otherwise; None for what the scenario or `kwargs` say.
    """

    description: str
    system: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    n_jobs: int | None = 2000


# Small enough to learn on: first come first served keeps up with 17.6 requests/s of this replica.
_SMALL = {
    **{"lengths": "lognormal:prompt=128,output=32", "rate": 16.5, "n_requests": 500},
    **{"profile": "a100-llama3-8b:kv_tokens=1536", "rules": "vllm-v1:max_seqs=8"},
}
# An A100 with all its memory at 0.95 of the 7.7 requests/s with which first come first served keeps up.
_AZURE_CONV = {"lengths": "azure-conv", "rate": 7.3, "n_requests": 5000, "window": 64, "seats": 128}
_AZURE_CONV |= {"rules": "vllm-v1:max_seqs=128"}
_DEADLINES = {"patience": "uniform:mean=3", "firm": True, "may_drop": True, "may_pass": True, "per_job": 1.0}

ENVIRONMENTS: dict[str, Environment] = {
    "llmqueue/Scenario-v0": Environment("Any scenario: pass `system`, its name or the scenario.", "mg1", n_jobs=None),
    "llmqueue/MG1-v0": Environment(
        "One server without preemption: pick who is served next whenever it is free.", "mg1", {"preemptive": False}
    ),
    "llmqueue/MG1Preemptive-v0": Environment(
        "One server with preemption: pick who is served at every arrival and completion.", "mg1", {"preemptive": True}
    ),
    "llmqueue/MGk-v0": Environment(
        "Several servers, one queue: pick who starts whenever a server is free.",
        "central",
        {"servers": 4, "preemptive": False},
    ),
    "llmqueue/MGkPreemptive-v0": Environment(
        "Several servers, one queue: pick who runs at every arrival and completion.",
        "central",
        {"servers": 4, "preemptive": True},
    ),
    "llmqueue/Abandonment-v0": Environment(
        "Several servers in overload, jobs that give up waiting: serve as many as possible.",
        "central",
        {"servers": 10, "load": 1.4, "patience": "exponential", "per_job": 1.0, "preemptive": False},
    ),
    "llmqueue/Deadline-v0": Environment(
        "Firm deadlines, one bit known of each size: start jobs, or send them away, and finish as many as possible.",
        "central",
        {"servers": 4, "predictor": "one-bit", "load": 1.6, "preemptive": False, **_DEADLINES},
    ),
    "llmqueue/Dispatch-v0": Environment(
        "Many servers with a queue each, sizes predicted: pick the queue that an arrival joins.",
        "dispatch",
        {"servers": 10},
    ),
    "llmqueue/MultiserverJob-v0": Environment(
        "Jobs that occupy several servers at once: pick who starts, or keep servers free for a larger one.",
        "packing",
        {"predictor": "exponential"},
    ),
    "llmqueue/Moldable-v0": Environment(
        "Jobs that run on as many servers as they are given: pick who starts, and on how many.",
        "moldable",
        {"predictor": "exponential"},
    ),
    **{
        f"llmqueue/{name}{suffix}-v0": Environment(words + more, "replica", {"decides": decides, **kwargs}, None)
        for name, decides, words in (
            ("LLMBatching", "admit", "LLM serving with a KV cache: pick the next request for the batch, or run it"),
            ("LLMPreemptive", "evict", "LLM serving with a KV cache: admit, and preempt by recomputation or swap"),
            ("LLMRank", "rank", "LLM serving with a KV cache: rank requests on arrival and on each new prediction"),
        )
        for suffix, more, kwargs in (("", ".", _SMALL), ("AzureConv", ", at the size of a real trace.", _AZURE_CONV))
    },
}


def register_all() -> None:
    """Make every id known to Gymnasium; nothing is imported until one is made."""
    for name, environment in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            size = {} if environment.n_jobs is None else {"n_jobs": environment.n_jobs}
            fixed = {} if name == "llmqueue/Scenario-v0" else {"fixed": environment.system}
            gymnasium.register(
                name,
                entry_point=f"{_HERE}.scalar:QueueEnv",
                vector_entry_point=f"{_HERE}.vector:QueueVectorEnv",
                kwargs={"system": environment.system, **fixed, **size, **environment.kwargs},
            )
