"""Small fleets and requests at random: replicas, roles and links, a router, an order, a controller, and clients.

Times are often multiples of 1/512 s, so that sums are exact and what happens at one instant happens at one instant.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from random_members import (
    CACHED,
    CACHES,
    PLAIN,
    SLOW,
    STEERED,
    WAYS,
    WILD,
    draw_members,
    draw_roles,
    draw_vanishing,
    pick,
)
from random_replicas import draw_contexts, draw_given, draw_policy

from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.control import CONTROLLERS, Unit
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.requests import BOTH, DECODE, PREFILL, Requests, never_refreshed, request_table
from llmqueue_gym.systems import Drawn
from llmqueue_gym.systems.control import NEVER
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.members import Plan

TRIES = 1000
TICKS = 100  # at most, while requests come
ROUTERS = ("random", "round-robin", "least-outstanding", "power-of-d", "least-tokens", "least-kv", "least-work")
ACCOUNTS = ("vtc", "vtc:lift=false,weights=1;3", "class-shares", "class-shares:shares=2;1;1")
ORDERS = ("fcfs", "fcfs", "sjf", "ltr", "merged", "accounts")  # that the reference knows
PAIRED = [name for name in ROUTING_POLICIES if ROUTING_POLICIES(name).paired]
UNIT = Unit(np.full(3, 100.0), np.full(3, 4.0))  # what a controller is told of one replica
MOST = 150  # tokens; at a token an iteration that is enough


@dataclass(frozen=True, eq=False)
class Case:
    """What is played: a fleet, its router, and what is drawn.

    Attributes:
        fleet: the fleet.
        router: sends requests.
        drawn: requests, and the chance of the run.
        kind: PLAIN, STEERED or CACHED where a slow reference knows all that happens, else WILD.
        refused: how often which parts, drawn before, did not go together: the beginnings of what was said.
    """

    fleet: Fleet
    router: RoutingPolicy
    drawn: Drawn
    kind: str = PLAIN
    refused: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        members = "; ".join(f"{'bpd'[m.role]} {m.profile.name} {m.rules}" for m in self.fleet.members)
        names = ("local_below", "overlap", "staleness", "cut_off", "hold", "retry", "migrate_every", "start_up", "tick")
        told = {name: value for name in names if (value := getattr(self.fleet, name))}
        who = f"{self.router.name}, {self.fleet.taker.name}, {self.fleet.discipline.name}, {self.fleet.steersman}"
        vanish = f"{len(self.drawn.truth['vanishing'])} vanish"
        return f"{who}, {told}, {vanish}, {len(self.drawn.sizes)} requests: {members}"

    @property
    def features(self) -> set[str]:
        """What this fleet has, by name."""
        fleet, rules = self.fleet, [member.rules for member in self.fleet.members]
        roles = {member.role for member in fleet.members}
        has = {
            "split roles": bool(roles & {PREFILL, DECODE}),
            "replicas differ": len(fleet.distinct) > 1,
            "replicas vanish": len(self.drawn.truth["vanishing"]) > 0,
            "controller": fleet.steersman.name != "none",
            "hold": fleet.hold,
            "retry": fleet.retry > 0 and bool(roles & {PREFILL}),
            "migration": fleet.migrate_every > 0,
            "stale reports": fleet.staleness > 0,
            "clients who wait": fleet.closed,
            "cut off": np.isfinite(fleet.cut_off),
            "caching vllm": rules[0].caching == "vllm",
            "caching radix": rules[0].caching == "radix",
            "batching blocks": rules[0].batching == "blocks",
            "batching turns": rules[0].batching == "turns",
            "pipeline": any(one.stages > 1 for one in rules),
            "asynchronous": any(one.asynchronous for one in rules),
            "chosen in pairs": self.router.paired,
            "merged queue": fleet.discipline.merged,
            "accounts": fleet.discipline.keeps_accounts,
        }
        return {name for name, there in has.items() if there}


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


def wild_control(seed: int, settles: int) -> Callable[..., np.ndarray]:
    """Return a controller that wants anything at each tick, and in the end what there was at first."""

    def wild(seen: Any, memory: Any) -> np.ndarray:
        ticks = len(seen.asked)
        return seen.asked[0] if ticks > settles else np.random.default_rng([seed, ticks]).integers(0, 6, 3)

    return wild


def draw_case(rng: np.random.Generator, kind: str = WILD) -> Case:
    """Draw a small fleet, and requests that crowd it; drawn again where parts do not go together."""
    refused: Counter[str] = Counter()
    for _ in range(TRIES):
        try:
            return replace(_draw_case(rng, kind), refused=refused)
        except BadInput as error:
            refused[" ".join(str(error).split()[:4])] += 1
    raise AssertionError("no two parts go together")


def _draw_case(rng: np.random.Generator, kind: str) -> Case:
    way = str(pick(rng, *WAYS))
    roles, order = draw_roles(rng, kind, way), draw_order(rng, kind, way)
    batched = roles.count(BOTH) == len(roles) and not order.merged and not order.rules and rng.random() < 0.2
    members = draw_members(rng, kind, way, roles, batched)
    asynchronous = any(member.rules.asynchronous or member.rules.stages > 1 for member in members)
    size, shape = len(members), (len(members), len(members))
    latency = rng.integers(0, pick(rng, 1, 2, 9, 200), shape) / 512
    byte_time = rng.integers(0, pick(rng, 1, 2, 40), shape) / 4096 * pick(rng, 1.0, 0.7)
    most_bytes = max(member.profile.kv_bytes_per_token for member in members)
    if most_bytes > 3:  # of a model that there is; else a transfer would take days
        byte_time /= most_bytes
    told: dict[str, Any] = {"local_below": int(pick(rng, 0, 0, 4, 20)), "overlap": float(pick(rng, 0.0, 0.5, 1.0))}
    told |= {"staleness": float(pick(rng, 0.0, 0.0, 1 / 32, 0.3, 2.0)), "order": order, "hold": rng.random() < 0.3}
    told |= {"retry": float(pick(rng, 0.0, 0.0, 1 / 512, 1 / 16)), "start_up": float(pick(rng, 0.0, 1 / 8, 3.0))}
    if any(member.profile.name == "unit" for member in members):  # whose iterations take seconds
        told["retry"] *= 32
    told |= {"handover": draw_router(rng, size, kind), "rules": members[0].rules, "profile": members[0].profile}
    if kind == CACHED and order.rank is not None:
        told["hold"] = False  # who was held came later than it arrived, and the reading knows one time
    told |= {} if asynchronous and rng.random() < 0.95 else draw_control(rng, size, kind)
    if kind != CACHED and rng.random() < 0.1:
        told["cut_off"] = float(pick(rng, 0.5, 1.0, 3.0))
    if kind != CACHED and rng.random() < 0.2:
        told["concurrency"] = int(rng.integers(1, 9))
    vanish = kind != CACHED and rng.random() < (0.02 if asynchronous else 0.4)
    if vanish:
        told["spot"] = 1.0  # h; when they do is drawn below
    if kind != CACHED and not batched and rng.random() < (0.02 if kind == WILD and way in CACHES else 0.2):
        told |= {"migrate_every": float(pick(rng, 1 / 32, 0.3)), "migrate_floor": float(pick(rng, 0.0, 3.0))}
    fleet = Fleet(**told, fleet=Plan(tuple(members), latency, byte_time))
    paired = kind == WILD and PREFILL in roles and not asynchronous and rng.random() < 0.15
    router = ROUTING_POLICIES(str(pick(rng, *PAIRED))) if paired else draw_router(rng, size, kind)
    given = draw_requests(rng, fleet, kind)
    n, arrivals = len(given.outputs), given.requests["arrival"]
    if fleet.steersman.name != "none":  # each tick takes as long as a short run
        last = float(arrivals[np.isfinite(arrivals)].max())
        fleet = replace(fleet, tick=max(fleet.tick, np.ceil(512 * last / TICKS) / 512))
    truth = {"sizes": given.outputs, "refreshed": given.refreshed, "contexts": given.contexts}
    truth["vanishing"] = draw_vanishing(rng, size, arrivals) if vanish else NEVER
    truth |= {"choices": router.choices(n, size, rng), "ties": rng.random(n)}
    drawn = Drawn(given.requests, {name: value for name, value in truth.items() if value is not None})
    fleet.refuse_too_long(drawn)
    fleet.course(router, 0.0)  # which refuses routers
    return Case(fleet, router, drawn, kind)


def draw_control(rng: np.random.Generator, size: int, kind: str) -> dict[str, Any]:
    """Draw who is on: everybody, what a controller by name wants, or what a wild one does."""
    if kind not in (STEERED, WILD) or rng.random() < (0.6 if kind == WILD else 0.2):
        return {}
    told: dict[str, Any] = {"tick": float(pick(rng, 1 / 16, 0.5, 4.0)), "turn_over": float(pick(rng, 0.0, 1 / 8, 2.0))}
    if rng.random() < 0.3:
        names = [name for name in CONTROLLERS if name not in ("none", "fixed")]
        return told | {"controller": str(pick(rng, *names, f"fixed:replicas={size},prefill=1"))}
    least = int(rng.integers(1, size + 1))
    most = int(rng.integers(max(least, min(3, size)), size + 1))
    return told | {"controller": wild_control(int(rng.integers(1 << 30)), 30), "least": least, "most": most}


def draw_order(rng: np.random.Generator, kind: str, way: str) -> ServingPolicy:
    """Draw the order in which replicas serve; those that batch in other ways than passes have theirs."""
    if kind == WILD and way in ("blocks", "turns") and rng.random() < 0.95:
        return SERVING_POLICIES("fcfs")
    if kind == CACHED:
        return SERVING_POLICIES(pick(rng, "fcfs", "fcfs", "vllm-priority:by=stated"))
    if kind == WILD and rng.random() < 0.15:
        return SERVING_POLICIES(pick(rng, *ACCOUNTS))
    if kind == WILD and way == "radix" and rng.random() < 0.5:
        return SERVING_POLICIES("fcfs")  # which leaves the order to the rules
    if kind == WILD and rng.random() < 0.7:
        return draw_policy(rng)
    name = pick(rng, *ORDERS)
    if name == "accounts":
        name = pick(rng, *ACCOUNTS)
    return MERGED if name == "merged" else SERVING_POLICIES(f"{name}:starvation=5,quantum=2" if name == "ltr" else name)


def draw_router(rng: np.random.Generator, size: int, kind: str) -> RoutingPolicy:
    """Draw a router by name, or a wild one."""
    if rng.random() < 0.6:
        names = [name for name in (ROUTERS if kind in SLOW else ROUTING_POLICIES) if size > 1 or name != "power-of-d"]
        if kind == CACHED:  # whose reading has each replica by itself
            names = [name for name in names if name not in PAIRED]
        return ROUTING_POLICIES(str(pick(rng, *names)))
    numbers = (float(rng.integers(0, 4)), float(rng.integers(0, 4)))
    looks, d = pick(rng, "all", "all", "sample", "turn"), int(rng.integers(1, size + 1))
    return RoutingPolicy("wild", wild_score, looks, pick(rng, "random", "first"), d, params=numbers)


def most_tokens(fleet: Fleet) -> int:
    """Return the tokens of the longest request that a replica of each kind can serve."""
    longest = []
    for roles in ((BOTH, PREFILL), (BOTH, DECODE)):
        kinds = [m.rules for m in fleet.members if m.role in roles]
        longest.append(max(min(r.longest, MOST, r.widest) for r in kinds))
    return max(2, min(longest))


def draw_requests(rng: np.random.Generator, fleet: Fleet, kind: str) -> Requests:
    """Draw requests that some replica can hold, most of them not each."""
    longest = most_tokens(fleet)
    if kind == WILD:
        given = draw_given(rng, Rules(blocks=longest, block_size=1, token_budget=1 << 20))
        arrivals = np.where(np.isfinite(given.requests["arrival"]), given.requests["arrival"], 0.0)
        requests, n = given.requests, len(given.outputs)
        requests["priority"] = rng.integers(0, 3, n)
        requests["deadline"] = np.where(rng.random(n) < 0.5, arrivals + rng.exponential(2.0, n), np.inf)
    else:
        n, gap = int(rng.integers(1, 40)), pick(rng, 0, 1, 10, 100)
        arrivals = np.cumsum(rng.integers(0, gap + 1, n) * (rng.random(n) < 0.7)) / 512
        prompts = rng.integers(1, max(2, int(longest * pick(rng, 0.3, 0.6, 1.0))), n)
        outputs = rng.integers(1, max(2, int(longest * pick(rng, 0.2, 0.8))), n)
        outputs = np.minimum(outputs, np.maximum(longest - prompts, 1))
        requests = request_table(arrivals, prompts, rng.choice([0.5, 1.0, 3.0], n), 0, rng.integers(0, 3, n))
        predicted = np.ceil(np.maximum(1.0, outputs * rng.lognormal(0, pick(rng, 0.0, 1.0), n)))
        for column in ("predicted", "first_predicted", "lower", "upper"):
            requests[column] = predicted
        contexts = draw_contexts(rng, prompts, outputs) if kind == CACHED else None
        given = Requests(requests, outputs.astype(np.int64), never_refreshed(n), contexts)
    requests["tenant"], requests["klass"] = rng.integers(0, 3, n), rng.integers(0, 3, n)
    if fleet.closed:
        arrivals = np.where(np.arange(n) < fleet.concurrency, 0.0, np.inf)
    for column in ("arrival", "last_token", "last_scheduled"):
        requests[column] = arrivals
    return given
