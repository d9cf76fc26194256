"""The replicas of a small fleet at random, for `random_fleets`: rules, profiles, roles, and when machines vanish."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from random_replicas import draw_rules

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.profiles import PROFILES, Profile, profile
from llmqueue_gym.requests import BOTH, DECODE, PREFILL
from llmqueue_gym.systems.control import NEVER
from llmqueue_gym.systems.members import Member

WAYS = ("none", "none", "vllm", "radix", "blocks", "turns")  # caching of rules that go in passes, or another batching
NAMED = [name for name in PROFILES if name != "file"]
cost_profile = cache(profile)
CACHES = ("vllm", "radix")
PLAIN, CACHED, WILD = "held against the slow one", "held against vLLM's rules", "wild"
STEERED = "steered, held against the slow one"  # and its rules are more
SLOW = (PLAIN, STEERED)  # where the slow one knows all that happens


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    """Return one of the choices."""
    return choices[rng.integers(len(choices))]


def draw_roles(rng: np.random.Generator, kind: str, way: str) -> list[int]:
    """Draw a role for each of one to five replicas, of which some can read and some decode; who caches does both."""
    size = int(rng.integers(1, 6))
    if kind == CACHED or rng.random() < (0.95 if kind == WILD and way in CACHES else 0.4):
        return [BOTH] * size
    return [PREFILL, int(pick(rng, DECODE, DECODE, BOTH)), *rng.integers(0, 3, size).tolist()][: max(size, 2)]


def draw_members(rng: np.random.Generator, kind: str, way: str, roles: list[int], batched: bool) -> list[Member]:
    """Draw a replica for each role, alike or not, that cache and batch in the same way; for the rest `draw_member`."""
    alike = draw_member(rng, kind, way, batched)
    members = []
    for role in roles:
        own = draw_member(rng, kind, way, batched) if rng.random() < 0.5 else alike
        members.append(replace(own, role=role))
    return members


def draw_member(rng: np.random.Generator, kind: str, way: str, batched: bool) -> Member:
    """Draw a replica: rules and profile.

    Args:
        rng: source of chance.
        kind: PLAIN, STEERED or CACHED for what the slow references know, WILD for all there is.
        way: of `WAYS`, for wild ones.
        batched: whether a plain one may hold a batch to its end.
    """
    if kind == PLAIN:
        return Member(draw_profile(rng), draw_plain_rules(rng, batched))
    if kind == STEERED:
        return Member(draw_profile(rng), draw_more_rules(rng, draw_plain_rules(rng, batched)))
    if kind == CACHED:
        return Member(linear_profile(rng), draw_cached_rules(rng))
    named = rng.random() < 0.3
    made = cost_profile(NAMED[rng.integers(len(NAMED))]) if named else draw_profile(rng)
    rules = draw_rules(rng, way)
    if way == "blocks":  # which may wait for memory for ever, and events that concern nobody go on meanwhile
        rules = replace(rules, horizon=min(rules.horizon, 40.0))
    if way == "turns" and rng.random() < 0.4:
        rules, made = replace(rules, stages=int(rng.integers(1, 4))), draw_pipeline(rng)
    if rules.bandwidth == 1:  # a block would take minutes, in which others look at the fleet thousands of times
        rules = replace(rules, bandwidth=512 * made.kv_bytes_per_token)
    return Member(made, rules)


def draw_profile(rng: np.random.Generator) -> Profile:
    """Draw a roofline of round numbers, or of others."""
    numbers = rng.integers(0, [32, 32, 8, 2, 2]) / np.array([512, 512, 512, 4096, 4096])
    numbers[1] += 1 / 512
    if rng.random() < 0.3:
        numbers *= rng.uniform(0.5, 2.0, 5)
    return made_up("roofline", numbers, float(pick(rng, 1.0, 3.0)))


def linear_profile(rng: np.random.Generator) -> Profile:
    """Draw a roofline of a time for each iteration and one for each token."""
    return made_up("roofline", np.array([0, rng.integers(1, 32), rng.integers(0, 8), 0, 0]) / 512, 1.0)


def draw_pipeline(rng: np.random.Generator) -> Profile:
    """Draw a profile that tells how long the stages of a pipeline take."""
    return made_up("distserve", rng.integers(1, 9, 24) / 4096, 1.0)


def made_up(form: str, numbers: np.ndarray, bytes_each: float) -> Profile:
    """Return a profile with these numbers, and bytes for each token."""
    return Profile("drawn", "", "", form, numbers, 1000, bytes_each, "a test")  # type: ignore[arg-type]


def draw_plain_rules(rng: np.random.Generator, batched: bool) -> Rules:
    """Draw a rule set that the reference knows; one that holds a batch to its end, or reserves, if `batched`."""
    size, blocks = int(rng.choice([1, 2, 4, 16])), int(rng.integers(4, 60))
    told: dict[str, Any] = {"block_size": size, "blocks": blocks, "patience": 300}
    told |= {"max_seqs": int(rng.choice([1, 2, 4, 16])), "token_budget": int(rng.choice([1, 4, 16, 64]))}
    if batched:
        told |= {"token_budget": 1 << 20, "max_model_len": min(size * blocks, int(rng.integers(2, 60)))}
        return replace(rule_set(pick(rng, "static", "orca")), **told)
    if rng.random() < 0.3:
        told["long_prefill_threshold"] = int(rng.integers(1, 20))
    if rng.random() < 0.3:
        told["max_model_len"] = int(rng.integers(2, size * blocks + 2))
    told |= {"watermark": float(pick(rng, 0.0, 0.0, 0.1)), "reserve_known": bool(rng.random() < 0.7)}
    told |= {"chunked": bool(rng.random() < 0.8)}
    if not told["chunked"]:
        told["token_budget"] = max(told["token_budget"], size * blocks + 1)
    return replace(rule_set(pick(rng, "vllm-v1", "vllm-v1", "vllm-0.19.1")), **told)


def draw_more_rules(rng: np.random.Generator, rules: Rules) -> Rules:
    """Draw what else the reference knows: preemption to the host, and the switches of passes over the lists."""
    told: dict[str, Any] = {"preemption": str(pick(rng, "recompute", "swap", "free"))}
    told |= {"bandwidth": float(pick(rng, 512.0, 4096.0)), "overlapped": bool(rng.random() < 0.5)}
    for name in ("pause", "asker_stops", "priority_stops", "threshold_alone", "watermark_always", "null_block"):
        told[name] = bool(rng.random() < 0.5)
    if rules.allocation == "chunk":
        told |= {"allocation": str(pick(rng, "chunk", "known")), "lookahead": int(pick(rng, 0, 0, 1))}
    return replace(rules, **told)


def draw_cached_rules(rng: np.random.Generator) -> Rules:
    """Draw rules of vLLM's with prefix caching, with two steps in flight or not."""
    made = draw_plain_rules(rng, False)
    known = {"asynchronous": bool(rng.random() < 0.3), "ends_known": bool(rng.random() < 0.7)}
    return replace(made, caching="vllm", **known)


def draw_vanishing(rng: np.random.Generator, size: int, arrivals: np.ndarray) -> np.ndarray:
    """Draw when which replicas vanish, in order, some of them several times."""
    last = float(arrivals[np.isfinite(arrivals)].max())
    times = rng.integers(0, int(512 * (last + 2)), int(rng.integers(1, 2 * size + 1))) / 512
    return np.array([(time, int(rng.integers(size))) for time in sorted(times.tolist())], NEVER.dtype)
