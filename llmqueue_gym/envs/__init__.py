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
        order: policy by hand from which a standard learner departs; see `learnable`.
        discount_time: s over which what is to come matters there, for learners that discount by time.
    """

    description: str
    system: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    n_jobs: int | None = 2000
    order: str = ""
    discount_time: float = 100.0


# Small enough to learn on: first come first served keeps up with 20.1 requests/s of this replica.
_SMALL = {
    **{"lengths": "lognormal:prompt=128,output=32", "rate": 18.5, "n_requests": 500, "window": 32},
    **{"profile": "a100-llama3-8b:kv_tokens=2304", "rules": "vllm-v1:max_seqs=8"},
}
# As small replicas, of which four keep up with four times as much.
_SMALL_FLEET = {name: _SMALL[name] for name in ("lengths", "n_requests", "profile", "rules")} | {"rate": 74.0}
# Prompts long enough that who reads and who decodes are both busy; a request that nobody has room for is drawn anew.
_SPLIT = {"lengths": "lognormal:prompt=1024,output=64", "rate": 23.0, "n_requests": 500, "max_tokens": 4096}
_SPLIT |= {"profile": "a100-llama3-8b:kv_tokens=16384", "rules": "vllm-v1:max_seqs=16"}
# Answers of half a minute, at a rate that goes up and down eightfold and keeps between a third of a replica and three
# busy; a start takes 20 s. A request comes at every other tick. A replica costs as much as four requests in system.
_CHANGING = {"lengths": "lognormal:prompt=256,output=512", "rate": 0.5, "arrivals": "mmpp:ratio=8,period=200"}
_CHANGING |= {"profile": "a100-llama2-70b-tp2:kv_tokens=8192", "rules": "vllm-v1:max_seqs=8", "max_tokens": 2560}
_CHANGING |= {"n_requests": 500, "tick": 1.0, "start_up": 20.0, "price": 14400.0, "router": "least-outstanding"}
# Prompts that begin with one of several texts, of which the memory holds some.
_PREFIXES = {"lengths": "prefixes:texts=12,zipf=0.8,prefix=512,own=lognormal:prompt=64;output=32", "rate": 18.0}
_PREFIXES |= {"profile": "a100-llama3-8b:kv_tokens=4096", "rules": "vllm-v1:max_seqs=8,caching=vllm"}
_PREFIXES |= {"n_requests": 500, "window": 16, "shows": "prefixes"}
# Who waits for an answer wants it within seconds; the rest may take longer, but not for ever.
_CLASSES = {**_SMALL, "rate": 20.0, "classes": "interactive:0.5:1,batch:0.5:10"}
_CLASSES |= {"window": 16, "shows": "classes", "reward": "missed_deadlines"}
# Replicas of eight seats, at .9 of what they keep up with where contexts are computed anew and no program stops.
_PROGRAMS = {"profile": "a100-llama3-8b:kv_tokens=8192", "rules": "vllm-v1:max_seqs=8", "max_tokens": 2048}
_SHORT = "instruction=100,question=100,task=30,plan=16,work=16"
# An A100 with all its memory and 64 seats; first come first served keeps up with 7.3 requests/s or so.
_AZURE_CONV = {"lengths": "azure-conv", "rate": 7.0, "n_requests": 5000, "window": 64, "seats": 64}
_AZURE_CONV |= {"rules": "vllm-v1:max_seqs=64,token_budget=2048"}
_DEADLINES = {"patience": "uniform:mean=3", "firm": True, "may_drop": True, "may_pass": True, "per_job": 1.0}

ENVIRONMENTS: dict[str, Environment] = {
    "llmqueue/Scenario-v0": Environment(
        "Any scenario: pass `system`, its name or the scenario.", "mg1", n_jobs=None, order="gittins"
    ),
    "llmqueue/MG1-v0": Environment(
        "One server without preemption: pick who is served next whenever it is free.",
        "mg1",
        {"preemptive": False},
        order="spjf",
    ),
    "llmqueue/MG1Preemptive-v0": Environment(
        "One server with preemption: pick who is served at every arrival and completion.",
        "mg1",
        {"preemptive": True},
        order="gittins",
    ),
    "llmqueue/MGk-v0": Environment(
        "Several servers, one queue: pick who starts whenever a server is free.",
        "central",
        {"servers": 4, "preemptive": False},
        order="spjf",
    ),
    "llmqueue/MGkPreemptive-v0": Environment(
        "Several servers, one queue: pick who runs at every arrival and completion.",
        "central",
        {"servers": 4, "preemptive": True},
        order="gittins",
    ),
    "llmqueue/Abandonment-v0": Environment(
        "Several servers in overload, jobs that give up waiting: serve as many as possible.",
        "central",
        {"servers": 10, "load": 1.4, "patience": "exponential", "per_job": 1.0, "preemptive": False},
        order="spjf",
    ),
    "llmqueue/Deadline-v0": Environment(
        "Firm deadlines, one bit known of each size: start jobs, or send them away, and finish as many as possible.",
        "central",
        {"servers": 4, "predictor": "one-bit", "load": 1.6, "preemptive": False, **_DEADLINES},
        order="short-first-edf",
    ),
    "llmqueue/Dispatch-v0": Environment(
        "Many servers with a queue each, sizes predicted: pick the queue that an arrival joins.",
        "dispatch",
        {"servers": 10},
        order="join-shortest-queue",
    ),
    "llmqueue/MultiserverJob-v0": Environment(
        "Jobs that occupy several servers at once: pick who starts, or keep servers free for a larger one.",
        "packing",
        {"predictor": "exponential", "servers": 16, "load": 0.7, "slots": 32},
        order="first-fit-sprpt",
    ),
    "llmqueue/Moldable-v0": Environment(
        "Jobs that run on as many servers as they are given: pick who starts, and on how many.",
        "moldable",
        {"predictor": "exponential"},
        order="least-delay",
    ),
    "llmqueue/Predict-v0": Environment(
        "One server on which predictions cost: pick what is predicted of each arrival, and who is served.",
        "predict",
        order="skip-predict",
    ),
    "llmqueue/Speculative-v0": Environment(
        "An LLM replica with drafts that it verifies: pick how many tokens each request drafts next.",
        "speculative",
        n_jobs=500,
        order="by-load",
        discount_time=5.0,
    ),
    "llmqueue/ModelChoice-v0": Environment(
        "Models of different speed, price and skill: pick who answers each call, and whether that is enough.",
        "model-choice",
        order="budgeted",
        n_jobs=500,
        discount_time=10.0,
    ),
    "llmqueue/Routing-v0": Environment(
        "Four LLM replicas behind a router: pick the one that each request goes to.",
        "fleet",
        {"decides": "route", "replicas": 4, **_SMALL_FLEET},
        None,
        "least-outstanding",
        5.0,
    ),
    "llmqueue/PrefillDecode-v0": Environment(
        "LLM replicas that read prompts or decode: pick who reads, who goes on, and how many do either.",
        "fleet",
        {"decides": "all", "replicas": 4, "prefill": 2, "least": 4, "tick": 2.0, "turn_over": 0.5, **_SPLIT},
        None,
        "least-tokens",
        5.0,
    ),
    "llmqueue/Autoscaling-v0": Environment(
        "LLM replicas that cost while they are on and take time to start: pick at each tick how many are on.",
        "fleet",
        {"decides": "scale", "replicas": 4, **_CHANGING},
        None,
        "erlang:window=30",
        100.0,
    ),
    "llmqueue/ToolCalls-v0": Environment(
        "Programs that wait for tools: keep, drop or move the contexts meanwhile, and pick who goes on next.",
        "tools",
        {"decides": "order-and-retain", "law": "tool-calls:stretch=0.05,output=16", "rate": 1.65, **_PROGRAMS},
        100,
        "discard",
        30.0,
    ),
    "llmqueue/Agents-v0": Environment(
        "Agents whose calls depend on one another, on four LLM replicas: pick the call that goes on next.",
        "programs",
        {"decides": "order", "law": f"planner:{_SHORT}", "rate": 11.4, "replicas": 4, **_PROGRAMS},
        100,
        "program-srpt",
        30.0,
    ),
    "llmqueue/Reasoning-v0": Environment(
        "Questions that are answered many times: pick whose answer is computed next, and stop where they suffice.",
        "reasoning",
        {"decides": "order-and-stop", "law": "self-consistency:output=64,instruction=200", "rate": 1.1, **_PROGRAMS},
        100,
        "majority",
        30.0,
    ),
    "llmqueue/PrefixOrder-v0": Environment(
        "LLM serving with cached prefixes: pick the next request for the batch, or run it.",
        "replica",
        _PREFIXES,
        None,
        "shortest-uncached",
        5.0,
    ),
    "llmqueue/ServiceClasses-v0": Environment(
        "LLM serving of two classes with deadlines: pick the next request for the batch, or run it.",
        "replica",
        _CLASSES,
        None,
        "class-priority",
        5.0,
    ),
    **{
        f"llmqueue/{name}{suffix}-v0": Environment(
            words + more, "replica", {"decides": decides, **kwargs}, None, *learnt
        )
        for name, decides, words in (
            ("LLMBatching", "admit", "LLM serving with a KV cache: pick the next request for the batch, or run it"),
            ("LLMPreemptive", "evict", "LLM serving with a KV cache: admit, and preempt by recomputation or swap"),
            ("LLMRank", "rank", "LLM serving with a KV cache: rank requests on arrival and on each new prediction"),
        )
        for suffix, more, kwargs, learnt in (
            ("", ".", _SMALL, ("remaining-seconds", 5.0)),
            ("AzureConv", ", at the size of a real trace.", _AZURE_CONV, ("sjf-total", 100.0)),
        )
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
