"""Small fleets and requests at random: replicas, roles and links, a router, an order, and clients who wait or do not.

Times are often multiples of 1/512 s, so that sums are exact and what happens at one instant happens at one instant.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from random_replicas import draw_given, draw_policy, draw_rules

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.profiles import PROFILES, Profile, profile
from llmqueue_gym.requests import BOTH, DECODE, PREFILL, Requests, never_refreshed, request_table
from llmqueue_gym.systems import Drawn
from llmqueue_gym.systems.control import NEVER
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.members import Member, Plan
from llmqueue_gym.systems.replica import rules_under

TRIES = 1000
ROUTERS = ("random", "round-robin", "least-outstanding", "power-of-d", "least-tokens", "least-kv", "least-work")
ORDERS = ("fcfs", "fcfs", "sjf", "ltr", "merged")  # that the reference knows


@dataclass(frozen=True)
class Planned(Fleet):
    """A fleet whose replicas and links are given as they are."""

    given: Plan | None = None

    @cached_property
    def plan(self) -> Plan:
        """The replicas, and the links between them."""
        assert self.given is not None
        under = [replace(m, rules=rules_under(m.rules, m.profile, self.discipline)) for m in self.given.members]
        return replace(self.given, members=tuple(under))


@dataclass(frozen=True, eq=False)
class Case:
    """What is played: a fleet, its router, and what is drawn."""

    fleet: Planned
    router: RoutingPolicy
    drawn: Drawn

    def __str__(self) -> str:
        members = "; ".join(f"{'bpd'[m.role]} {m.rules}" for m in self.fleet.members)
        told = {name: getattr(self.fleet, name) for name in ("local_below", "overlap", "staleness", "cut_off")}
        who = f"{self.router.name}, {self.fleet.taker.name}, {self.fleet.discipline.name}"
        return f"{who}, {told}, {len(self.drawn.sizes)} requests: {members}"


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    """Return one of the choices."""
    return choices[rng.integers(len(choices))]


def wild_score(request, site, params):  # type: ignore[no-untyped-def]
    """Rank replicas by all that they report, by nothing, or like none of them."""
    kind = int(params[0])
    if kind == 0:
        return site.running + site.waiting + site.pending / 64.0 + site.work / 8.0 - site.free
    if kind == 1:
        return np.inf if site.outstanding > params[1] else -np.inf
    if kind == 2:
        return (site.index * 7919.0 + request.prompt * 104729.0) % 11.0
    return site.context + site.tokens + site.step_time - site.least + site.most - site.sites


def by_prediction(request, system, params):  # type: ignore[no-untyped-def]
    """Rank by what is predicted to be left."""
    return request.predicted - request.generated


MERGED = ServingPolicy("merged", by_prediction, merged=True, displaces=True)


def draw_case(rng: np.random.Generator, plain: bool = False) -> Case:
    """Draw a small fleet, and requests that crowd it; drawn again where parts do not go together.

    Args:
        rng: source of chance.
        plain: whether it keeps to what the slow reference knows.
    """
    for _ in range(TRIES):
        with suppress(BadInput):
            return _draw_case(rng, plain)
    raise AssertionError("no two parts go together")


def _draw_case(rng: np.random.Generator, plain: bool) -> Case:
    split, size = bool(rng.random() < 0.6), int(rng.integers(1, 6))
    roles = [BOTH] * size
    if split:
        roles = [PREFILL, int(pick(rng, DECODE, DECODE, BOTH)), *rng.integers(0, 3, size).tolist()][: max(size, 2)]
    order = draw_order(rng, plain)
    batched = not split and not order.merged and not order.rules and rng.random() < 0.2
    alike = draw_member(rng, plain, batched)
    members = [replace(draw_member(rng, plain, batched) if rng.random() < 0.5 else alike, role=role) for role in roles]
    size = len(members)
    shape = (size, size)
    latency = rng.integers(0, pick(rng, 1, 2, 9, 200), shape) / 512
    byte_time = rng.integers(0, pick(rng, 1, 2, 40), shape) / 4096 * pick(rng, 1.0, 0.7)
    told: dict[str, Any] = {"local_below": int(pick(rng, 0, 0, 4, 20)), "overlap": float(pick(rng, 0.0, 0.5, 1.0))}
    told["start_up"] = 1e9  # s: who vanishes does not come back
    told |= {"staleness": float(pick(rng, 0.0, 0.0, 1 / 32, 0.3, 2.0)), "order": order}
    told |= {"handover": draw_router(rng, size, plain), "rules": members[0].rules, "profile": members[0].profile}
    if rng.random() < 0.1:
        told["cut_off"] = float(pick(rng, 0.5, 1.0, 3.0))
    clients = int(rng.integers(1, 9)) if rng.random() < 0.2 else None
    fleet = Planned(**told, concurrency=clients, given=Plan(tuple(members), latency, byte_time))
    router = draw_router(rng, size, plain)
    given = draw_requests(rng, fleet, plain)
    n = len(given.outputs)
    truth = {"sizes": given.outputs, "refreshed": given.refreshed}
    truth["vanishing"] = draw_vanishing(rng, members, given.requests["arrival"])
    truth |= {"choices": router.choices(n, size, rng), "ties": rng.random(n)}
    return Case(fleet, router, Drawn(given.requests, truth))


def draw_vanishing(rng: np.random.Generator, members: list[Member], arrivals: np.ndarray) -> np.ndarray:
    """Draw when which replicas vanish for good, in order; one stays that can do all that any can."""
    longest, widest = max(m.rules.longest for m in members), max(m.rules.widest for m in members)
    able = [m.role == BOTH and m.rules.longest == longest and m.rules.widest == widest for m in members]
    if not any(able) or rng.random() < 0.5:
        return NEVER
    last = float(arrivals[np.isfinite(arrivals)].max())
    gone = [q for q in range(len(members)) if q != able.index(True) and rng.random() < 0.6]
    return np.array(sorted((int(rng.integers(0, 512 * (last + 2))) / 512, q) for q in gone), NEVER.dtype)


def draw_order(rng: np.random.Generator, plain: bool) -> ServingPolicy:
    """Draw the order in which replicas serve."""
    if not plain and rng.random() < 0.6:
        return draw_policy(rng)
    name = pick(rng, *ORDERS)
    return MERGED if name == "merged" else SERVING_POLICIES(f"{name}:starvation=5,quantum=2" if name == "ltr" else name)


def draw_router(rng: np.random.Generator, size: int, plain: bool) -> RoutingPolicy:
    """Draw a router by name, or a wild one."""
    if rng.random() < 0.6:
        names = [name for name in (ROUTERS if plain else ROUTING_POLICIES) if size > 1 or name != "power-of-d"]
        return ROUTING_POLICIES(str(pick(rng, *names)))
    numbers = (float(rng.integers(0, 4)), float(rng.integers(0, 4)))
    looks, d = pick(rng, "all", "all", "sample", "turn"), int(rng.integers(1, size + 1))
    return RoutingPolicy("wild", wild_score, looks, pick(rng, "random", "first"), d, params=numbers)


def draw_member(rng: np.random.Generator, plain: bool, batched: bool) -> Member:
    """Draw a replica: rules and profile."""
    if plain:
        return Member(draw_profile(rng), draw_plain_rules(rng, batched))
    named = rng.random() < 0.5
    made = profile(str(rng.choice([name for name in PROFILES if name != "file"]))) if named else draw_profile(rng)
    rules = draw_rules(rng)
    while rules.batching != "passes" or rules.asynchronous:  # those have other lists, which nobody watches here
        rules = draw_rules(rng)
    return Member(made, rules)


def draw_profile(rng: np.random.Generator) -> Profile:
    """Draw a roofline of round numbers, or of others."""
    numbers = rng.integers(0, [32, 32, 8, 2, 2]) / np.array([512, 512, 512, 4096, 4096])
    numbers[1] += 1 / 512
    if rng.random() < 0.3:
        numbers *= rng.uniform(0.5, 2.0, 5)
    return Profile("drawn", "model", "gpu", "roofline", numbers, 1000, 1.0, "drawn")


def draw_plain_rules(rng: np.random.Generator, batched: bool) -> Rules:
    """Draw rules that the reference knows."""
    size, blocks = int(pick(rng, 1, 2, 4, 16)), int(rng.integers(2, 40))
    told: dict[str, Any] = {"block_size": size, "blocks": blocks, "patience": 300}
    told |= {"max_seqs": int(pick(rng, 1, 2, 4, 16)), "token_budget": int(pick(rng, 4, 8, 64, 2048))}
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


def most_tokens(fleet: Planned) -> int:
    """Return the tokens of the longest request that a replica of each kind can serve."""
    longest = []
    for roles in ((BOTH, PREFILL), (BOTH, DECODE)):
        kinds = [m.rules for m in fleet.members if m.role in roles]
        longest.append(max(min(r.longest, MOST if r.chunked else int(r.token_budget or 1)) for r in kinds))
    return max(2, min(longest))


MOST = 150  # tokens; at a token an iteration that is enough


def draw_requests(rng: np.random.Generator, fleet: Planned, plain: bool) -> Requests:
    """Draw requests that some replica can hold, most of them not each."""
    longest = min(most_tokens(fleet), MOST)
    if not plain:
        given = draw_given(rng, Rules(blocks=longest, block_size=1, token_budget=1 << 20))
        row, known = np.arange(len(given.outputs)), np.isfinite(given.requests["arrival"])
        arrivals = np.where(known, given.requests["arrival"], 0.0)
        if fleet.closed:
            arrivals = np.where(row < fleet.concurrency, 0.0, np.inf)
        for column in ("arrival", "last_token", "last_scheduled"):
            given.requests[column] = arrivals
        return given
    n, gap = int(rng.integers(1, 40)), pick(rng, 0, 1, 10, 100)
    arrivals = np.cumsum(rng.integers(0, gap + 1, n) * (rng.random(n) < 0.7)) / 512
    if fleet.closed:
        arrivals = np.where(np.arange(n) < fleet.concurrency, 0.0, np.inf)
    prompts = rng.integers(1, max(2, int(longest * pick(rng, 0.3, 0.6, 1.0))), n)
    outputs = rng.integers(1, max(2, int(longest * pick(rng, 0.2, 0.8))), n)
    outputs = np.minimum(outputs, np.maximum(longest - prompts, 1))
    requests = request_table(arrivals, prompts, rng.choice([0.5, 1.0, 3.0], n))
    predicted = np.ceil(np.maximum(1.0, outputs * rng.lognormal(0, pick(rng, 0.0, 1.0), n)))
    for column in ("predicted", "first_predicted", "lower", "upper"):
        requests[column] = predicted
    return Requests(requests, outputs.astype(np.int64), never_refreshed(n))
