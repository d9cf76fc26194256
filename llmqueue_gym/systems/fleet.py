"""Replicas of a language model behind a router, which sends every request to one; some may only read, others decode."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.engines.batching import tables as batching
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.control import CONTROLLERS, Controller
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import PREFILL, Requests
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.agents.scaling import agent_of
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.capacity import Capacity, Progress, capacity
from llmqueue_gym.systems.control import NEVER, Steering, check_control, reclaims, unit_of
from llmqueue_gym.systems.fleet_course import course_of
from llmqueue_gym.systems.fleet_loaded import loaded
from llmqueue_gym.systems.fleet_run import readers, run_of
from llmqueue_gym.systems.fleet_ticks import opened
from llmqueue_gym.systems.fleet_view import FleetEpisodes, FleetView
from llmqueue_gym.systems.members import LONGEST, MOST_REPLICAS, SLOWEST, Member, Plan, alike, check_roles, read_plan
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.replica_tables import rules_under
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_between
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

MOMENTS = 20_000  # of the agenda between two at which an interrupt is heard, well below 1 s


@dataclass(frozen=True)
class Fleet(Replica):
    """A fleet; its load is a share of what its replicas sustain, each by itself under first come first served.

    Each of them then reads and decodes, whatever its role, and is sent requests of all kinds. So where roles are apart
    the load is that of the pooled fleet. Where prefixes are cached, a replica by itself finds what all requests share;
    one in a fleet finds less where a router spreads those who share, and more where it keeps them together, as they
    come to it in shorter intervals. A load below 1 can then be too much, and one above 1 may be kept up with.

    Attributes:
        replicas: how many.
        prefill: of them, those that read prompts alone; the others then decode alone. 0: all do both.
        order: in which a replica serves, a serving policy.
        handover: router that chooses who decodes what a replica for prompts has read.
        local_below: prompts of which fewer tokens are to be computed, those that are cached there left out, are read
            where they are decoded.
        bandwidth: of a link between two replicas, bytes/s.
        latency: of such a link, s.
        overlap: share of a transfer that runs beside the prefill.
        retry: s between two tries of a transfer for which there was no room; 0: it begins as soon as there is room, in
            order of request.
        staleness: s between two reports of the replicas, by which routers see them; 0: they see what is so.
        migrate_every: s between looks for requests that might move, as in Llumnix, whose time is .05; 0: none moves.
        migrate_floor: iterations that the memory of a replica must last which a request moves to.
        fleet: file in TOML that describes replicas and links, in place of `replicas` and `prefill`, or "example", or a
            `Plan`; see `systems.members`.
        hold: whether requests wait at the router until a replica has a seat free.
        controller: who says how many replicas are on; see `llmqueue policies`.
        tick: s between two looks of the controller.
        start_up: s from when a replica is switched on until it serves.
        turn_over: s that a change of role takes once a replica has ended what it had.
        least: replicas that have to be on.
        most: replicas that may be; all of them unless told otherwise.
        spot: mean hours until a replica vanishes, with all that it has, and another one starts in its place; 0: never.
    """

    name: ClassVar[str] = "fleet"
    title: ClassVar[str] = "Replicas of a language model behind a router"
    policies: ClassVar[Policies] = ROUTING_POLICIES
    view: ClassVar[type[View]] = FleetView
    base: ClassVar[str] = "round-robin"
    report: ClassVar[str] = "llmqueue_gym.cli.fleet"
    options: ClassVar[Mapping[str, str]] = {"size": "lengths", "n_jobs": "requests"}
    unnamed: ClassVar[Mapping[str, str]] = {"router": "policy", "policy": "order"}
    compared: ClassVar[tuple[str, ...]] = ("round-robin", "random", "power-of-d", "least-outstanding", "least-work")

    replicas: int = 4
    prefill: int = 0
    order: str | ServingPolicy = "fcfs"
    handover: str | RoutingPolicy = "least-kv"
    local_below: int = 0
    bandwidth: float = 50e9
    latency: float = 1e-4
    overlap: float = 0.0
    retry: float = 0.0
    staleness: float = 0.0
    migrate_every: float = 0.0
    migrate_floor: float = 3.0
    fleet: str | Plan | None = None
    hold: bool = False
    controller: str | Controller = "none"
    tick: float = 15.0
    start_up: float = 155.0
    turn_over: float = 30.0
    least: int = 1
    most: int | None = None
    spot: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between(self, 1, MOST_REPLICAS, "replicas", whole=True)
        check_between(self, 0, MOST_TOKENS, "local_below", whole=True)
        check_between(self, 0, 1, "overlap")
        check_between(self, 0, LONGEST, "latency", "retry", "staleness")
        check_between(self, SLOWEST, np.inf, "bandwidth")
        check_between(self, 0, LONGEST, "migrate_every", "migrate_floor")
        for name in ("replicas", "prefill"):
            told = getattr(self, name)
            if self.fleet is not None and told != getattr(Fleet, name):
                raise BadInput(
                    f"{name}={told!r} has no place beside fleet={self.fleet!r}, which describes all replicas"
                )
        if not isinstance(self.prefill, (int, np.integer)) or not 0 <= self.prefill < self.replicas:
            raise BadInput(
                f"prefill={self.prefill!r} of {self.replicas} replicas must leave somebody to decode: from 0 to "
                f"{self.replicas - 1}"
            )
        _ = self.discipline, self.taker, self.plan
        for rules, role in {(member.rules, member.role) for member in self.members}:
            if (role == PREFILL or self.migrate_every) and rules.request_level:
                asked = "prefill" if role == PREFILL else "migrate_every"
                raise BadInput(f"rules {rules.name!r} never let go of a batch: {asked} needs others")
            if self.migrate_every and rules.batching != "passes":
                raise BadInput(
                    f"rules {rules.name!r} have batching={rules.batching}, in which nobody moves: migrate_every needs "
                    "batching=passes"
                )
        if {"vllm", "radix"} <= {member.rules.caching for member in self.members}:
            raise BadInput("caching=radix and caching=vllm in one fleet; choose one of them, which some may do without")
        check_control(self)
        if self.splits or self.migrate_every:
            self._refuse_asynchronous("leave out prefill and migrate_every")
            self._refuse_several_models("roles that split" if self.splits else f"migrate_every={self.migrate_every:g}")

    def _refuse_asynchronous(self, instead: str) -> None:
        """Refuse two steps in flight where running requests go on elsewhere."""
        if any(member.rules.asynchronous for member in self.members):
            raise BadInput(
                "asynchronous=true puts a step together before the tokens of the last one are known, too late to hand "
                f"anybody over; {instead}"
            )

    def _refuse_several_models(self, asked: str) -> None:
        """Refuse to hand requests to a replica of another model, which cannot read their KV cache."""
        models = list(dict.fromkeys(member.profile.model for member in self.members if member.profile.model))
        if len(models) > 1:
            raise BadInput(
                f"{asked}: requests go on where a KV cache was moved to, but there are replicas of {models[0]!r} and "
                f"of {models[1]!r}; choose one model"
            )

    @cached_property
    def steersman(self) -> Controller:
        """The controller."""
        made: Controller = CONTROLLERS(self.controller)
        return made

    @cached_property
    def discipline(self) -> ServingPolicy:
        """The order in which replicas serve."""
        made: ServingPolicy = SERVING_POLICIES(self.order)
        return made

    @cached_property
    def taker(self) -> RoutingPolicy:
        """The router that chooses who decodes."""
        made: RoutingPolicy = ROUTING_POLICIES(self.handover)
        return made

    @cached_property
    def plan(self) -> Plan:
        """The replicas, and the links between them."""
        if self.fleet is None:
            given = self.cost_profile, self.bound_rules, self.replicas, self.prefill, self.bandwidth, self.latency
            made = alike(*given)
        elif isinstance(self.fleet, Plan):
            made = self.fleet
            check_roles("fleet", made.members)
        else:
            if not isinstance(self.fleet, str):
                raise BadInput(f"fleet={self.fleet!r} must be the path of a file")
            made = read_plan(self.fleet, self.profile, self.rules, self.bandwidth, self.latency)
        under = [replace(m, rules=rules_under(m.rules, m.profile, self.discipline)) for m in made.members]
        return replace(made, members=tuple(under))

    @property
    def members(self) -> tuple[Member, ...]:
        """The replicas."""
        return self.plan.members

    @cached_property
    def cost_profile(self) -> Profile:
        """The cost profile; of replicas of a file that of the first."""
        return super().cost_profile if self.fleet is None else self.members[0].profile

    @cached_property
    def bound_rules(self) -> Rules:
        """The rule set with what it has on the profile's GPU; of replicas of a file that of the first."""
        return super().bound_rules if self.fleet is None else self.members[0].rules

    @property
    def longest(self) -> int:
        """The most tokens of a request that is drawn: of replicas that differ what the roomiest can hold."""
        if self.fleet is None:
            return super().longest
        return self.max_tokens or max(kind.rules.longest for kind in self.distinct)

    @cached_property
    def rows(self) -> tuple[tuple[Member, ...], np.ndarray]:
        """The replicas as tables have them, one row for each stage of a pipeline, and which replica a row is of."""
        which = [q for q, member in enumerate(self.members) for _ in range(member.rules.stages)]
        return tuple(self.members[q] for q in which), np.array(which)

    @property
    def chained(self) -> bool:
        """Whether requests are calls of programs, which come after one another."""
        return False

    @property
    def splits(self) -> bool:
        """Whether some replicas only read prompts."""
        return any(member.role == PREFILL for member in self.members)

    @property
    def caches(self) -> bool:
        """Whether there are replicas that cache prefixes."""
        return any(member.rules.caching != "none" for member in self.members)

    @property
    def horizon(self) -> float:
        """The s of simulated time after which a run is cut off; of replicas of a file those of the first to do so."""
        if self.fleet is None:
            return self.bound_rules.horizon
        return min(member.rules.horizon for member in self.members)

    @cached_property
    def distinct(self) -> tuple[Member, ...]:
        """One replica of each profile and rule set."""
        return tuple({(member.profile.name, str(member.rules)): member for member in self.members}.values())

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models that replicas serve, sorted; calls name them by their numbers, from 1 on."""
        return tuple(sorted({member.profile.model for member in self.members}))

    @property
    def unread(self) -> tuple[str, ...]:
        """Fields that nothing reads as the others are set: what a file or a controller would need."""
        names: tuple[str, ...] = ("profile", "rules", "replicas", "prefill") if self.fleet is not None else ()
        if self.steersman.name == "none":
            names += ("controller", "tick", "turn_over", "least", *(() if self.spot else ("start_up",)))
        if not self.splits:
            names += ("handover", "local_below")
        return names if self.migrate_every else (*names, "migrate_floor")

    def sustains(self, scenario: "Scenario", progress: Progress | None = None) -> Capacity:
        """Return what the replicas sustain, each by itself and with prompts to read as well as answers to give.

        Where only some of them may be on, it is that of the fastest.
        """
        each: list[Capacity] = []
        for kind in self.distinct:
            count = sum((m.profile.name, str(m.rules)) == (kind.profile.name, str(kind.rules)) for m in self.members)
            alone = Replica(kind.profile, kind.rules, self.max_tokens)
            each += [capacity(replace(scenario, system=alone), progress=progress)] * count
        if self.most is not None:
            each = sorted(each, key=lambda one: -one.rate)[: self.most]
        rates = np.array([(one.rate_scale, one.rate, one.backlog_rate) for one in each]).sum(axis=0).tolist()
        return Capacity(rates[0], rates[1], rates[2], each[0].requests)

    def predictor(self, scenario: "Scenario", policy: Any = None) -> Any:
        """Return the length predictor that router and order get: that of either, if it brings one along."""
        brings = policy if policy is not None and policy.predictor is not None else self.discipline
        return super().predictor(scenario, brings)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return requests and their truth, the `choices` `(n, d)` that a router has (d = 0: all), and `ties`."""
        told = policy if policy is not None and policy.predictor is not None else self.discipline
        drawn = super().draw(scenario, seed, told)
        n, chosen = len(drawn.sizes), policy or self.taker
        choices = chosen.choices(n, len(self.members), stream(seed, "choices"))
        truth = {**drawn.truth, "choices": choices, "ties": stream(seed, "ties").random(n)}
        if self.spot > 0:
            last, rng = self.last_of(drawn), stream(seed, "fleet.spot")
            truth["vanishing"] = reclaims(self.spot, len(self.members), last, rng)
        return Drawn(drawn.work, truth)

    def last_of(self, drawn: Drawn) -> float:
        """Return when the last request comes, s."""
        return float(drawn.work["arrival"][-1])

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the cost profile and the rules, and what one replica does where the controller has to know."""
        told = {"unit": unit_of(self, scenario)} if self.steersman.profiled else {}
        return {**super().facts(scenario, policy), **told}

    def simulate(self, drawn: Drawn, policy: RoutingPolicy, **facts: Any) -> Run:  # type: ignore[override]
        """Send every request to a replica and serve it to the end.

        Raises:
            BadInput: a request could never be served, or a function cannot be compiled or gives NaN.
        """
        f, r, course, rest, checked = self.loaded(drawn, policy)
        steering = Steering(self, f, r, course, drawn.truth.get("vanishing", NEVER), facts.get("unit"))
        f, start = steering.f, time.perf_counter()
        while (ask := go_on(0, f, r, course, *rest, MOMENTS)) in (tables.PAUSED, tables.TICK):
            if ask == tables.TICK:
                steering.tick()
        elapsed = time.perf_counter() - start
        if f.fleet["reason"][0] == batching.TIMELESS:
            raise BadInput("a profile gives an iteration a time that is not a finite number; check its numbers")
        for made, numbers in checked:
            made.refuse_failure(numbers, r.requests)
        run = steering.noted_in(run_of(f, r, 0, drawn.sizes, policy.name, self, elapsed))
        return self.came_of(replace(run, read_at=readers(f, run)) if course["splits"] else run, drawn, f)

    def came_of(self, run: Run, drawn: Drawn, f: Any) -> Run:
        """Return the run as it is told of, from the run of its requests."""
        return run

    def follows(self, f: Any, r: Any, rows: slice, given: Requests) -> tuple[Any, Any]:
        """Return what `go_on` takes for retention and for stopping, None for each that there is none of."""
        return None, None

    def came(self, drawn: Drawn) -> np.ndarray | None:
        """Return when calls come that wait for nobody `(n,)`, s, where gangs are told by that; else None."""
        return None

    def checked(self, others: tuple[Any, Any]) -> list[tuple[Any, np.ndarray]]:
        """Return the policies of retention and stopping, each with the numbers that it was given; see `follows`."""
        return []

    def loaded(self, drawn: Drawn, policy: RoutingPolicy) -> tuple[Any, ...]:
        """Return the tables of a fleet with the requests of a run in it, and what `go_on` takes; see `fleet_loaded`."""
        return loaded(self, drawn, policy)

    def asks_for_more(self, policy: RoutingPolicy) -> bool:
        """Tell whether replicas do more than vLLM's passes; see `leaner`."""
        order, hands = self.discipline, any(row.role == PREFILL for row in self.rows[0])
        return hands or policy.paired or order.merged or order.keeps_accounts

    def refuse_too_long(self, drawn: Drawn) -> None:
        """Refuse requests that no replica could ever serve, in the words of the roomiest."""
        rules = [kind.rules for kind in self.distinct]
        prompts, outputs = drawn.work["prompt"].astype(np.int64), drawn.sizes
        served = np.any([kind.rules.serves(prompts, outputs) & self.asked_of(kind, drawn) for kind in self.distinct], 0)
        if not served.all():
            doubtful = drawn.work.copy()
            doubtful["prompt"][served] = 1
            roomiest = max(rules, key=lambda one: (one.chunked, one.longest))
            roomiest.check(doubtful, np.where(served, 1, outputs))

    def asked_of(self, member: Member, drawn: Drawn) -> np.ndarray | bool:
        """Tell which requests the model of a replica may serve `(n,)`."""
        return True

    def course(self, policy: RoutingPolicy, last: float) -> Any:
        """Return the settings of a run whose last request comes at that time, s."""
        if policy.paired:
            self._refuse_asynchronous(f"router {policy.name!r} does so")
            self._refuse_several_models(f"router {policy.name!r}")
            if name := next((one.rules.name for one in self.members if one.rules.request_level), None):
                raise BadInput(f"rules {name!r} never let go of a batch: router {policy.name!r} needs others")
        return course_of(self, policy, last)

    def numbers(self, run: Run) -> dict[str, float]:
        """Return what a replica does, with what replicas cost a request in the `cost` where the agent pays for them."""
        numbers = super().numbers(run)
        return {**numbers, "cost": numbers["cost"] + run.totals.get("price", 0.0) / len(run)}

    def open(self, scenario: "Scenario", view: Any, size: int) -> FleetEpisodes:  # type: ignore[override]
        """Return E fleets."""
        return opened(scenario, view, size)

    def agent(self, policy: Any, scenario: "Scenario", view: Any) -> Agent:  # type: ignore[override]
        """Return the agent that sends requests to the replica of least score, or controls as a controller does."""
        return agent_of(policy, scenario, view)
