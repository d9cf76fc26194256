"""Replicas of a language model behind a router, which sends every request to one; some may only read, others decode."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching import tables as batching
from llmqueue_gym.engines.batching.tables import replicas
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.control import CONTROLLERS, Controller
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.routing.base import SUMS
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import BOTH, DECODE, PREFILL, Requests, request_table
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.capacity import capacity
from llmqueue_gym.systems.control import NEVER, Steering, check_control, on_times, reclaims, unit_of
from llmqueue_gym.systems.replica import Replica, kernel_arguments
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_positive
from llmqueue_gym.theory.clairvoyant import latency_floor
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.engines.batching.rules import Rules
    from llmqueue_gym.systems.scenario import Scenario

MOMENTS = 20_000  # of the agenda between two at which an interrupt is heard, well below 1 s
LOOKS = {"all": tables.ALL, "sample": tables.SAMPLE, "turn": tables.TURN}
MOST_REPLICAS = 4096
TIMES = ("prefill_time", "decode_time", "transfer_time", "token_time", "batch_time")
COUNTS = ("prefill_tokens", "decode_tokens", "preemptions", "most_blocks")


class Member(NamedTuple):
    """One replica of a fleet.

    Attributes:
        profile: its cost profile.
        rules: its rule set, with the blocks and seats that it has there.
        role: BOTH, PREFILL or DECODE.
    """

    profile: Profile
    rules: "Rules"
    role: int = BOTH


@dataclass(frozen=True)
class Fleet(Replica):
    """A fleet; its load is a share of what its replicas sustain, each by itself under first come first served.

    Attributes:
        replicas: how many.
        prefill: of them, those that read prompts alone; the others then decode alone. 0: all do both.
        order: in which a replica serves, a serving policy.
        handover: router that chooses who decodes what a replica for prompts has read.
        local_below: prompts with fewer tokens to be computed are read where they are decoded.
        bandwidth: of a link between two replicas, bytes/s.
        latency: of such a link, s.
        overlap: share of a transfer that runs beside the prefill.
        staleness: s between two reports of the replicas, by which routers see them; 0: they see what is so.
        hold: whether requests wait at the router until a replica has a seat free.
        controller: who says how many replicas are on; see `policies.control`.
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
    view: ClassVar["type[View] | None"] = None  # type: ignore[assignment]
    base: ClassVar[str] = "round-robin"
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
    staleness: float = 0.0
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
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise BadInput(f"replicas={self.replicas} must be from 1 to {MOST_REPLICAS:,}")
        if not 0 <= self.prefill < max(self.replicas, 1):
            raise BadInput(
                f"prefill={self.prefill} of {self.replicas} replicas leaves nobody to decode; "
                f"choose 0 to {self.replicas - 1}"
            )
        check_positive(self, "bandwidth", infinite=True)
        for name in ("latency", "staleness", "local_below"):
            if not 0 <= getattr(self, name) < np.inf:
                raise BadInput(f"{name}={getattr(self, name):g} must be finite and not negative")
        if not 0 <= self.overlap <= 1:
            raise BadInput(f"overlap={self.overlap:g} is a share of a transfer, from 0 to 1")
        if self.prefill and self.bound_rules.request_level:
            name = self.bound_rules.name
            raise BadInput(f"rules {name!r} never let go of a batch: prefill={self.prefill} needs others")
        _ = self.discipline, self.taker, self.members
        check_control(self)

    @cached_property
    def steersman(self) -> Controller:
        """The controller."""
        made: Controller = CONTROLLERS(self.controller)
        return made

    @cached_property
    def discipline(self) -> ServingPolicy:
        """The order in which replicas serve."""
        made: ServingPolicy = SERVING_POLICIES(self.order)
        self.under(made)
        return made

    @cached_property
    def taker(self) -> RoutingPolicy:
        """The router that chooses who decodes."""
        made: RoutingPolicy = ROUTING_POLICIES(self.handover)
        return made

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The replicas."""
        roles = [PREFILL] * self.prefill + [DECODE if self.prefill else BOTH] * (self.replicas - self.prefill)
        return tuple(Member(self.cost_profile, self.under(self.discipline).bound_rules, role) for role in roles)

    @cached_property
    def distinct(self) -> tuple[Member, ...]:
        """One replica of each profile and rule set."""
        return tuple({(member.profile.name, str(member.rules)): member for member in self.members}.values())

    def rate_scale(self, scenario: "Scenario") -> float:
        """Return the factor on the rate of what is sampled; a load is a share of what all replicas sustain."""
        if scenario.load is None:
            return super().rate_scale(scenario)
        return float(scenario.load * self.sustained(scenario))

    def sustained(self, scenario: "Scenario") -> float:
        """Return the factor on the rate of what is sampled that the replicas sustain, each by itself."""
        total = 0.0
        for kind in self.distinct:
            alone = Replica(kind.profile, replace(kind.rules), self.max_tokens)
            count = sum((m.profile.name, str(m.rules)) == (kind.profile.name, str(kind.rules)) for m in self.members)
            total += count * capacity(replace(scenario, system=alone)).rate_scale
        return total

    def predictor(self, scenario: "Scenario", policy: Any = None) -> Any:
        """Return the length predictor that router and order get: that of either, if it brings one along."""
        brings = policy if policy is not None and policy.predictor is not None else self.discipline
        return super().predictor(scenario, brings)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return requests and their truth, the `choices` `(n, d)` that a router has (d = 0: all), and `ties`."""
        told = policy if policy is not None and policy.predictor is not None else self.discipline
        drawn = super().draw(scenario, seed, told)
        n, chosen = len(drawn.sizes), policy or self.taker
        choices = chosen.choices(n, self.replicas, stream(seed, "choices"))
        truth = {**drawn.truth, "choices": choices, "ties": stream(seed, "ties").random(n)}
        if self.spot > 0:
            last = float(drawn.work["arrival"][-1])
            truth["vanishing"] = reclaims(self.spot, len(self.members), last, stream(seed, "fleet.spot"))
        return Drawn(drawn.work, truth)

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
        return run_of(f, r, 0, drawn.sizes, policy.name, self, elapsed)

    def loaded(self, drawn: Drawn, policy: RoutingPolicy) -> tuple[Any, ...]:
        """Return the tables of a fleet with the requests of a run in it, and what `go_on` takes behind them.

        Returns:
            tables of the fleet and of its replicas, `COURSE` record, the rest of the arguments, and pairs of a policy
            and the numbers that it was given.
        """
        order, members = self.discipline, self.members
        for rules in {str(m.rules): m.rules for m in members}.values():
            rules.check(drawn.work, drawn.sizes)
        n, refreshed, size = len(drawn.sizes), drawn.truth["refreshed"], len(members)
        f = tables.fresh_fleet(1, n, drawn.truth["choices"].shape[1], size)
        seats = max(max(m.rules.max_seqs or 0 for m in members), n if order.merged else 0)
        r = replicas(1, size, n, len(refreshed.total), seats, np.array([m.rules.blocks or 0 for m in members]))
        arguments = [kernel_arguments(order, member.profile, member.rules) for member in members]
        f = f._replace(numbers=np.zeros((size, max(len(numbers) for _, _, _, numbers, _ in arguments))))
        params = np.array([functions[-1] for *_, functions in arguments])
        for q, (rules, _, form, numbers, _) in enumerate(arguments):
            f.rules[q], f.forms[q] = rules, form
            f.numbers[q, : len(numbers)] = numbers
        f.bytes_each[:] = [member.profile.kv_bytes_per_token for member in members]
        f.members["role"], f.members["power"] = [member.role for member in members], tables.ON
        f.choices[:], f.ties[:] = drawn.truth["choices"], drawn.truth["ties"]
        course = self.course(policy, float(drawn.work["arrival"][-1]))
        rows = r.fill(0, 1, Requests(drawn.work, drawn.sizes, refreshed), drawn.work["weight"])
        tables.begin_run(f, r, 0, rows, int(np.isfinite(drawn.work["arrival"]).sum()), course)
        r.state["every"] = refreshed.every
        r.state["hands_over"] = f.members["role"] == PREFILL
        f.members["emits"] = r.state["hands_over"] | course["closed"]
        first = {"profile": members[0].profile, "rules": members[0].rules}
        (score,), scores = policy.compiled(), policy.params_for(**first)
        (hand,), hands = self.taker.compiled(), self.taker.params_for(**first)
        *functions, _ = arguments[0][-1]
        rest = (arguments[0][1], 0, score, scores, hand, hands, *functions, params)
        checked = [(policy, scores), (self.taker, hands), *((order, row) for row in params)]
        return f, r, course, rest, checked

    def course(self, policy: RoutingPolicy, last: float) -> Any:
        """Return the settings of a run whose last request comes at that time, s."""
        row = np.zeros(1, tables.COURSE)
        for name in ("staleness", "bandwidth", "latency", "local_below"):
            row[name] = getattr(self, name)
        row["overlapped"], row["tick"] = self.overlap, np.inf if self.steersman.name == "none" else self.tick
        row["holds"], row["start_up"], row["turn_over"] = self.hold, self.start_up, self.turn_over
        row["closed"], row["splits"] = self.closed, self.prefill > 0
        row["horizon"] = self.bound_rules.horizon
        if np.isfinite(self.cut_off):
            row["horizon"] = min(self.bound_rules.horizon, self.cut_off * last)
        for prefix, made in (("", policy), ("hand_", self.taker)):
            row[f"{prefix}looks"] = LOOKS[made.looks]
            row[f"{prefix}wants"] = tables.SUMS * bool(made.reads(1) & SUMS)
        return records(row)[0]

    def bound(self, drawn: Drawn) -> float:
        """Return `theory.clairvoyant.latency_floor` of as many replicas; the best of their kinds counts.

        Raises:
            NotApplicable: a cost profile by tables, for which no floor is known, or clients who wait for their answers.
        """
        if self.closed:
            return super().bound(drawn)
        requests, kinds = request_table(drawn.work["arrival"], drawn.work["prompt"]), self.distinct
        floors = [latency_floor(requests, drawn.sizes, m.profile, m.rules, len(self.members)).mean for m in kinds]
        return min(floors)


def run_of(
    f: tables.FleetTables,
    r: batching.ReplicaTables,
    e: int,
    outputs: np.ndarray,
    player: str,
    system: Any,
    elapsed: float,
) -> Run:
    """Return what came of run e: sums over its replicas, and what each did."""
    size = len(f.forms)
    mine, fleet = slice(e * size, (e + 1) * size), f.fleet[e]
    rows = slice(int(fleet["first"]), int(fleet["first"] + fleet["n"]))
    state, system_rows = r.state[mine], r.system[mine]
    each = [{name: state[name][q].item() for name in (*TIMES, *COUNTS)} for q in range(size)]
    for q, part in enumerate(each):
        part |= {"iterations": int(system_rows["iterations"][q]), "clock": float(system_rows["clock"][q])}
    totals = {name: sum(part[name] for part in each) for name in (*TIMES, *COUNTS, "iterations")}
    service, requests = np.array(r.service[rows]), np.array(r.requests[rows])
    last = service["completion"][np.isfinite(service["completion"])]
    totals["clock"] = max(float(fleet["clock"]), last.max() if len(last) else 0.0)
    stays = np.where(np.isnan(service["completion"]), totals["clock"], service["completion"]) - requests["arrival"]
    totals["integral"] = float((requests["weight"] * np.maximum(stays, 0.0)).sum())
    for part, on_time in zip(each, on_times(f, mine, totals["clock"]), strict=True):
        part["on_time"] = float(on_time)
    totals["on_time"] = sum(part["on_time"] for part in each)
    for name in ("transfers", "transfer_bytes", "lost", "hit_tokens"):
        totals[name] = fleet[name].item()
    reason = batching.REASONS[int(fleet["reason"])]
    return Run(player, requests, np.array(outputs), service, elapsed, system, reason, totals, tuple(each))
