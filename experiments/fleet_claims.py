"""What the survey's sections 3.4 and 4.2 and the papers behind them claim of shared prompts and of split phases.

Each with the nearest set-up that profiles, lengths and rules here allow; for `claims_of_fleets.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from goodput import Objectives, goodput
from shared_prefixes import at_load, backlog_rate, measured
from splitwise_designs import DESIGNS, Machines, factors
from survey_claims_llm import OPT_CONTEXT, Claim
from survey_factors_llm import Factors

from llmqueue_gym.systems import Scenario

# Shapes of SGLang's benchmarks in round numbers, which are this file's.
SHARING = {
    "5 examples of 57 tasks, answer of 1 token": (
        "few-shot:tasks=57,zipf=0,instruction=20,shots=5,pool=1,example=110,own=constant:prompt=90;output=1"
    ),
    "20 examples of one task, answer of 32": (
        "few-shot:tasks=1,instruction=20,shots=20,pool=1,example=60,own=constant:prompt=60;output=32"
    ),
    "documents of 4,096, 32 tokens an answer": "prefixes:texts=20,zipf=0,prefix=4096,own=constant:prompt=50;output=32",
    "chats, answers of 6": "chats:turns=4,turn=constant:prompt=384;output=6",
    "chats, answers of 384": "chats:turns=4,turn=constant:prompt=384;output=384",
}
SPREAD = {
    "100 texts of 2,048": "prefixes:texts=100,zipf=0,prefix=2048,own=lognormal:prompt=200;output=60",
    "1,000 texts of 2,048": "prefixes:texts=1000,zipf=1.1,prefix=2048,own=lognormal:prompt=200;output=60",
    "chats": "chats:think=300,prefix=1024",
}
SHARES = (0.5, 0.8, 0.95, 1.1)  # of what round robin completes
CHAT, SUMMARY = Objectives(0.2, 0.1), Objectives(15.0, 0.15)
SUMMARIES = "lognormal:prompt=1700,prompt_sigma=0.2,output=90,output_sigma=0.8"  # LongBench's as they fit OPT, rounded
OLD = "vllm-v0:max_seqs=256"  # seats as vLLM had them
# OPT on A100s: profile of a replica, replicas, lengths, objectives.
OPT = {
    "13B, ShareGPT": ("distserve-opt-13b-tp1", 4, "sharegpt", CHAT),
    "13B, ShareGPT, pairs": ("distserve-opt-13b-tp2", 4, "sharegpt", CHAT),
    "13B, summaries": ("distserve-opt-13b-tp1", 4, SUMMARIES, SUMMARY),
    "66B, ShareGPT": ("distserve-opt-66b-tp4", 4, "sharegpt", Objectives(0.4, 0.1)),
    "66B, summaries": ("distserve-opt-66b-tp4", 4, SUMMARIES, SUMMARY),
}


def radix(old: str) -> Callable[[int, int], Factors]:
    """Return how to compare what is completed of a backlog with a tree and longest match first, and without."""
    new = "vllm-v1:caching=radix,queue_order=lpm"

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for name, lengths in SHARING.items():
            told: dict[str, Any] = {"profile": "a100-llama2-7b", "lengths": lengths, "rate": 1.0, "n_jobs": n}
            pair = [Scenario("replica", rules=rules, **told) for rules in (new, old)]
            rates = [[backlog_rate(where, "fcfs", seed) for seed in range(seeds)] for where in pair]
            found[name] = (np.nan, np.divide(*rates).tolist())
        return found

    return run


def spread(n: int, seeds: int) -> Factors:
    """Return round robin's mean end-to-end time over that of Preble's rule, on four replicas with caches."""
    found: Factors = {}
    for name, lengths in SPREAD.items():
        told = {"profile": "a100-llama3-8b:kv_tokens=80000", "rules": "vllm-v1:caching=radix", "replicas": 4}
        for load in SHARES:
            where = at_load(Scenario("fleet", lengths=lengths, rate=1.0, n_jobs=n, **told), "round-robin", load)
            means = [
                [measured(where.simulate(router, seed))["mean"] for seed in range(seeds)]
                for router in ("round-robin", "preble-like")
            ]
            found[f"{name}, load {load:g}"] = (load, np.divide(*means).tolist())
    return found


def splitwise(kind: str, count: int, share: float) -> Callable[[int, int], Factors]:
    """Return how to compare Splitwise's designs with pooled machines, for a share of their money and no more power."""

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for model in ("bloom-176b", "llama2-70b"):
            for lengths in ("azure-conv", "azure-code"):
                for design in DESIGNS:
                    told, ratios = factors(Machines(model, (kind, count)), design, share, lengths, n // 2, seeds)
                    found[f"{model}, {lengths}, {told}"] = (np.nan, ratios)
        return found

    return run


def distserve(rules: str) -> Callable[[int, int], Factors]:
    """Return how to compare the goodput of the best split with that of as many pooled replicas under some rules."""

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for name, (profile, count, lengths, asked) in OPT.items():
            told: dict[str, Any] = {"profile": profile, "replicas": count, "lengths": lengths, "rate": 1.0, "n_jobs": n}
            pooled = Scenario("fleet", rules=rules, max_tokens=OPT_CONTEXT - 1, **told)
            split = Scenario("fleet", rules=OLD, max_tokens=OPT_CONTEXT - 1, **told)
            splits = [replace(split, prefill=readers) for readers in range(1, count)]
            best = max(splits, key=lambda where: goodput(where, "least-tokens", 0, asked, 2.0))
            old, new = (
                [goodput(where, "least-tokens", seed, asked, 2.0) for seed in range(seeds)] for where in (pooled, best)
            )
            readers = best.system.prefill  # type: ignore[attr-defined]
            ratios = [b / a if a and b else np.nan for a, b in zip(old, new, strict=True)]
            found[f"{name}, {readers} of {count} read"] = (np.nan, ratios)
        return found

    return run


CLAIMS = [
    Claim("radix", "RadixAttention: up to 5x the throughput of vLLM (4.2)", (5.0, 5.0),
          "a100-llama2-7b, a backlog; a radix tree and longest match first against no cache, all else equal",
          "SGLang's programs, and what its runtime gains beside the cache", radix("vllm-v1:caching=none")),
    Claim("radix-today", "the same, against vLLM's own cache, which it got later", None,
          "as radix, against caching=vllm", "nobody claims it", radix("vllm-v1:caching=vllm"), is_claim=False),
    Claim("preble", "Preble: 1.5x to 14.5x lower mean latency than SGLang with round robin (its paper)", (1.5, 14.5),
          "4 replicas a100-llama3-8b, radix tree, 80,000 tokens each; preble-like against round-robin",
          "its workloads, its moving and copying of hot prefixes, and its local order", spread),
    Claim("splitwise-cost", "Splitwise: up to 1.4x the throughput at 20 % less cost (3.4)", (1.4, 1.4),
          "8 H100 machines pooled against designs of at most 80 % of the money and the same power; all nine objectives",
          "the paper's prices of 2023; list prices of today make an H100 machine 1.43 times as dear as an A100 one",
          splitwise("h100", 8, 0.8)),
    Claim("splitwise-same", "Splitwise: up to 2.35x the throughput at the same cost and power (3.4)", (2.35, 2.35),
          "12 A100 machines pooled against designs of at most their money and power; all nine objectives",
          "as splitwise-cost", splitwise("a100", 12, 1.0)),
    Claim("distserve", "DistServe: up to 4.48x the rate of vLLM within objectives (its paper)", (4.48, 4.48),
          "OPT on A100s, the best split against as many pooled replicas under vllm-v0; 90 % within objectives",
          "pipelines and another parallelism for each phase, which it chooses; summaries are cut to 2,048 tokens",
          distserve(OLD)),
    Claim("distserve-today", "the same, against chunked prefill, which vLLM got later", None,
          "as distserve, pooled under vllm-v1", "nobody claims it", distserve("vllm-v1"), is_claim=False),
]  # fmt: skip
