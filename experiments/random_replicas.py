"""Small replicas and requests at random, for `fuzz_replicas`: rule sets, switches, policies, and wild functions."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.rule_sets import RULE_SETS, rule_set
from llmqueue_gym.engines.batching.rules import (
    ALLOCATIONS,
    CACHING,
    EVICTIONS,
    OF_V1,
    ORDERS,
    PREEMPTIONS,
    QUEUE_ORDERS,
    Rules,
)
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.policies.serving.base import ADMISSIONS
from llmqueue_gym.profiles import PROFILES, Profile, profile
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts, Refreshed, Requests, never_refreshed, request_table

# Rule sets that cache, where they go in passes, or else batch in a way.
OF_WAYS = {"none": [name for name in RULE_SETS if name not in ("sglang", "splitwise", "distserve")]}
OF_WAYS |= {"blocks": ["splitwise"], "turns": ["distserve"]}
PATIENCE = 3000  # iterations without a new token before a run counts as a livelock


def wild(request, system, params):
    """Give infinite, NaN, huge, equal or fickle numbers, as the first parameter says."""
    kind, odd = int(params[0]), request.place % 3
    if kind == 0:
        return np.inf if odd == 0 else (-np.inf if odd == 1 else request.predicted)
    if kind == 1:
        return np.nan if odd == 0 and request.generated > params[1] else request.predicted
    if kind == 2:
        return 1e308 * (1.0 - odd)
    if kind == 3:
        return (request.place * 7919 + system.iterations * 104729 + request.generated * 31) % 101 - 50.0
    if kind == 4:
        return -0.0
    return -request.generated * params[1]


@dataclass(frozen=True, eq=False)
class Case:
    """What is played: requests, and the policy, profile and rules of a replica."""

    given: Requests
    policy: ServingPolicy
    profile: Profile
    rules: Rules

    def __str__(self) -> str:
        return f"{self.policy.name} on {self.profile.name} under {self.rules}, {len(self.given.outputs)} requests"


def draw_case(rng: np.random.Generator) -> Case:
    """Draw a small replica, and requests of which most fit."""
    rules = draw_rules(rng)
    names = [name for name in PROFILES if name != "file"]
    return Case(draw_given(rng, rules), draw_policy(rng), profile(str(rng.choice(names))), rules)


def draw_rules(rng: np.random.Generator, way: str = "") -> Rules:
    """Draw a rule set by name, in one of three cases with other switches than its own.

    Args:
        rng: source of chance.
        way: how it caches, where it goes in passes, or how else it batches; "" for any.
    """
    block_size, blocks = int(rng.choice([1, 2, 4, 16])), int(rng.integers(2, 40))
    changes: dict[str, Any] = {"block_size": block_size, "blocks": blocks, "patience": PATIENCE}
    changes |= {"max_seqs": int(rng.choice([1, 2, 4, 16])), "token_budget": int(rng.choice([1, 8, 64, 2048]))}
    if rng.random() < 0.3:
        changes["long_prefill_threshold"] = int(rng.integers(1, 20))
    if rng.random() < 0.3:
        changes["max_model_len"] = int(rng.integers(2, blocks * block_size + 2))
    if rng.random() < 0.1:
        changes["horizon"] = float(rng.choice([1e-3, 1.0, 30.0]))
    if rng.random() < 0.3:
        changes["preemption"] = str(rng.choice(list(PREEMPTIONS)))
    if rng.random() < 1 / 3:
        several = {"order": list(ORDERS), "allocation": list(ALLOCATIONS), "watermark": [0.0, 0.1, 0.5]}
        several |= {"lookahead": [0, 1, 3], "bandwidth": [1.0, 32e9]}
        switches = {field.name: [True, False] for field in fields(Rules) if field.type in (bool, "bool")}
        del switches["asynchronous"]
        for name, values in {**several, **switches}.items():
            if rng.random() < 0.3:
                changes[name] = values[rng.integers(len(values))]
    named = rule_set(str(rng.choice(OF_WAYS.get(way, list(RULE_SETS)))))
    if changes.get("request_level", named.request_level):
        changes |= {"allocation": "longest", "room_for_one": False}
    if way in CACHING and way != "none" if way else rng.random() < 0.4 or named.caching != "none":
        # Prefix caching and two steps in flight have no place beside all switches.
        changes = {key: value for key, value in changes.items() if key not in OF_V1}
        changes["caching"] = way or str(rng.choice(list(CACHING)))
        if changes["caching"] == "radix":
            named = rule_set(str(rng.choice(["vllm-v1", "sglang"])))
            changes |= {
                "queue_order": str(rng.choice(list(QUEUE_ORDERS))),
                "eviction": str(rng.choice(list(EVICTIONS))),
            }
        else:
            named = rule_set(str(rng.choice(["vllm-v1", "vllm-0.19.1"])))
            changes["asynchronous"] = bool(rng.random() < 0.5)
    return replace(named, **changes)


def draw_policy(rng: np.random.Generator) -> ServingPolicy:
    """Draw a policy by name, or wild functions with all that a policy can ask for."""
    if rng.random() < 0.5:
        return SERVING_POLICIES(str(rng.choice(list(SERVING_POLICIES))))
    traits: dict[str, Any] = {"admission": str(rng.choice(ADMISSIONS)), "rules": {}}
    traits |= {name: bool(rng.random() < 0.3) for name in ("ages", "merged", "keeps", "displaces", "skips")}
    traits |= {name: wild for name in ("victim", "length", "progress") if rng.random() < 0.2}
    traits |= {"spare": int(rng.integers(0, 5)), "margin": float(rng.choice([0.0, 1.0]))}
    traits["preemption"] = rng.choice([None, *PREEMPTIONS])
    ranked = traits["merged"] or rng.random() < 0.8
    numbers = (float(rng.integers(0, 6)), float(rng.integers(0, 4)))
    return ServingPolicy(f"wild-{numbers[0]:g}", wild if ranked else None, numbers, **traits)


def draw_given(rng: np.random.Generator, rules: Rules) -> Requests:
    """Draw requests that crowd a replica, with predictions that are off, and that are renewed in one of three cases."""
    n, longest = int(rng.integers(1, 40)), min(max(rules.longest, 2), 150)  # at a token an iteration that is enough
    if not rules.chunked:
        longest = min(longest, rules.token_budget + 1)
    gap = float(rng.choice([0.0, 0.01, 0.3, 20.0]))
    arrivals = np.cumsum(rng.exponential(gap, n) * (rng.random(n) < 0.7))
    if rng.random() < 0.1:  # clients who wait for their answers
        arrivals = np.where(np.arange(n) < rng.integers(1, 9), 0.0, np.inf)
    prompts = rng.integers(1, max(2, int(longest * rng.choice([0.3, 1.0]))), n)
    outputs = np.minimum(rng.integers(1, max(2, longest // 2), n), np.maximum(longest - prompts, 1)).astype(np.int64)
    table = request_table(arrivals, prompts, rng.choice([0.5, 1.0, 3.0], n), rng.integers(0, 2, n))
    every = int(rng.choice([0, 0, 1, 8]))
    table["predicted"] = np.maximum(1.0, outputs * rng.lognormal(0, rng.choice([0.0, 1.0]), n))
    refreshed = never_refreshed(n)
    if every:
        start = np.concatenate([[0], np.cumsum(outputs // every + 1)])
        refreshed = Refreshed(every, rng.uniform(1, 2 * longest, start[-1]), start)
        table["predicted"] = refreshed.total[start[:-1]]
    table["first_predicted"] = table["lower"] = table["predicted"]
    table["upper"] = table["predicted"] * rng.choice([1.0, 2.0])
    return Requests(table, outputs, refreshed, draw_contexts(rng, prompts, outputs))


def draw_contexts(rng: np.random.Generator, prompts: np.ndarray, outputs: np.ndarray) -> Contexts:
    """Draw what prompts consist of: a shared text first, or the whole of another request and some of its output."""
    talks, all_pieces = float(rng.choice([0.0, 0.5])), []
    for i, prompt in enumerate(prompts):
        pieces = [(int(rng.integers(3)), 0, int(rng.integers(1, prompt + 1)))] if rng.random() < 0.7 else []
        if i > 0 and rng.random() < talks:
            j = int(rng.integers(i))
            pieces = [*all_pieces[j], (OUTPUT + j, 0, int(outputs[j]))]
        kept, left = [], int(prompt)
        for text, start, length in [*pieces, (100 + i, 0, left)]:
            if left > 0:
                kept.append((text, start, min(length, left)))
                left -= kept[-1][2]
        all_pieces.append(kept)
    first = np.cumsum([0, *map(len, all_pieces)])
    flat = [piece for pieces in all_pieces for piece in pieces]
    return Contexts(np.array(flat, SEGMENT), first, OUTPUT + np.arange(len(prompts)))
