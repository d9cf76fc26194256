"""A fleet opened for an agent: what it sees, decides and is paid, and the state of E of them.

The agent sends requests to replicas, chooses who goes on with those that have been read elsewhere, or both. The kernels
behind this are in `engines.fleet.stepping`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.engines.batching.caches import let_cache, with_contexts
from llmqueue_gym.engines.batching.tables import replicas
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.record import PLACES
from llmqueue_gym.engines.fleet.stepping import step_batch
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.routing.least_outstanding import least_outstanding, power_of_d
from llmqueue_gym.requests import PREFILL, Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.episodes import Episodes
from llmqueue_gym.systems.fleet_run import run_of
from llmqueue_gym.systems.fleet_scene import fleet_scene
from llmqueue_gym.systems.replica_view import ReplicaEpisodes, ReplicaView, request_metrics, roomier
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.view import Column, Columns, Cost, Group, View, check_counts

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# What an agent decides.
BITS = {"route": tables.ROUTES, "handover": tables.HANDS, "both": tables.ROUTES | tables.HANDS}
TOLD = tables.SUMS | tables.CACHED | tables.KNOWN  # what is seen of replicas
_NOTHING = np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class FleetView(View):
    """What an agent sees and decides, and what it is paid.

    Attributes:
        decides: "route", where a request goes on its arrival; "handover", who goes on with one that was read at a
            replica for prompts; "both".
        sees: replicas drawn at random that a request can be sent to on its arrival; None for all.
        router: who sends requests where the agent hands over alone.
    """

    jobs: ClassVar[Columns] = {  # the replicas, by their index
        "present": Column("1 where the replica takes the request in question"),
        "drawn": Column("its place among the replicas drawn for the request, 1 first; 0 where it is not drawn"),
        "source": Column("1 where the request is there now"),
        "role": Column("0: reads and decodes, 1: reads, 2: decodes"),
        "running": Column("requests in the running list", "seats"),
        "waiting": Column("requests in the queue", "seats"),
        "free": Column("free KV blocks", "blocks"),
        "blocks": Column("KV blocks in all", "blocks"),
        "pending": Column("prompt tokens that are still to be computed, of those that run and wait", "prompt"),
        "work": Column("output tokens that are predicted to be left of them", "output"),
        "context": Column("tokens of theirs in the cache", "request"),
        "step_time": Column("duration of the last iteration, s", "iteration"),
        "since_report": Column("since it reported the numbers up to here, s", "s"),
        "outstanding": Column("requests that were sent there and have not left", "seats"),
        "tokens": Column("their prompts, tokens", "prompt"),
        "cached": Column("tokens of the request's prompt in its cache", "prompt"),
        "known": Column("the same by the router's own record of what it sent there", "prompt"),
        "since": Column("requests that were sent there since the report", "seats"),
        "wanted": Column("KV blocks that those who wait there will need for their prompts", "blocks"),
    }
    system: ClassVar[Columns] = {
        "question": Column("1: where does the request go, 2: who goes on with it; 0 when it is over"),
        "prompt": Column("prompt of the request in question, tokens; here and below 0 when it is over", "prompt"),
        "generated": Column("its output so far, tokens", "output"),
        "computed": Column("its keys and values in a cache, tokens", "request"),
        "predicted": Column("its predicted output in all, tokens", "output"),
        "upper": Column("its most output, for predictors of intervals, tokens; else as predicted", "output"),
        "weight": Column("its cost per second in system"),
        "time_in_system": Column("since its arrival, s", "s"),
        "time_left": Column("until its deadline, s; 0 where it has none", "s"),
        "in_system": Column("requests in system with it", "seats"),
        "since_decision": Column('since the last decision, as in info["dt"], s', "iteration"),
        "turn": Column("which of those that take it would be next if they took turns, 0 for the first"),
        "tie": Column("a number in [0, 1) that policies choose by among equal ones"),
    }
    actions: ClassVar[str] = (
        "the replica that the request in question goes to. One that is not open, as it has another role or is not "
        "seen, stands for the first that is"
    )
    rewards: ClassVar[Mapping[str, Cost]] = ReplicaView.rewards
    paid: ClassVar[Mapping[str, str]] = ReplicaView.paid

    decides: str = "both"
    sees: int | None = None
    router: str | RoutingPolicy = "round-robin"

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        if self.decides not in BITS:
            raise BadInput(f"decides={self.decides!r}; {nearest(str(self.decides), BITS)}")
        system: Any = scenario.system
        if self.sees is not None:
            check_counts(self, "sees")
            if self.sees > (size := len(system.members)):
                raise BadInput(f"sees={self.sees} replicas of {size}; choose 1 to {size}, or None for all of them")
        if self.decides == "handover" and not system.splits:
            raise BadInput("decides='handover' needs replicas that read prompts alone: prefill of at least 1")
        if len(system.rows[0]) > len(system.members):
            raise BadInput("replicas that are pipelines of several GPUs serve no agent; choose stages=1")
        if ROUTING_POLICIES(self.router).paired:
            raise BadInput(f"router={self.router!r} chooses who decodes, too; choose another")

    @property
    def own_rules(self) -> bool:
        """Whether a policy plays as an agent alone: as one that hands over it is no router of the closed loop."""
        return self.decides == "handover"

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers; "seats" are requests that a replica has room for.

        A fleet of replicas that differ has the units of the first.
        """
        scales = super().scales(scenario)
        most = scenario.system.bound_rules.max_seqs or np.inf  # type: ignore[attr-defined]
        return {**scales, "seats": max(min(most, scales["blocks"] / scales["request_blocks"]), 1.0)}

    def n_slots(self, scenario: "Scenario") -> int:
        """Return how many replicas there are."""
        return len(scenario.system.members)  # type: ignore[attr-defined]

    n_actions = n_slots

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return the replicas, of which few are worth a look beside the first."""
        return (Group(0, self.n_slots(scenario), 0, 4),)

    @property
    def looks(self) -> RoutingPolicy:
        """A policy that sees what the agent sees, or the one that routes in its place."""
        if self.decides == "handover":
            made: RoutingPolicy = ROUTING_POLICIES(self.router)
            return made
        return least_outstanding() if self.sees is None else power_of_d(self.sees)


class FleetEpisodes(Episodes):
    """The state of E fleets.

    Attributes:
        fleet: tables of the fleets.
        replica: tables of their replicas; replica k of run e is in row e * R + k.
        asks: `(E,)`, what each agent was last asked.
    """

    in_units = True
    unknown: ClassVar[Mapping[str, Any]] = ReplicaEpisodes.unknown

    def __init__(self, scenario: "Scenario", view: FleetView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        n, each, looks = int(scenario.n_jobs), len(system.members), view.looks
        order: Any = system.discipline
        one, alone, course, (conduct, *_, params), checked = system.loaded(scenario.draw(0, looks), looks)
        fresh = tables.fresh_fleet(size, n, one.choices.shape[1], each, PLACES if system.caches else 0)
        self.fleet = one._replace(**{name: getattr(fresh, name) for name in tables.OF_RUNS})
        for name in ("role", "power"):
            self.fleet.members[name] = np.tile(one.members[name], size)
        seats = n if order.merged else alone.running.shape[1]
        self.replica = replicas(size, each, n, 0, seats, alone.system["blocks"])
        self.replica = let_cache(self.replica, [member.rules for member in system.rows[0]] * size)
        self.asks, self._billed = np.zeros(size, np.int64), np.zeros(size)
        course["horizon"], course["wants"] = min(float(view.horizon), system.bound_rules.horizon), TOLD
        self._course, agent = course, BITS[view.decides]
        self._rest = (*self.factors, course, conduct, agent)
        asked = tables.ROUTES | (tables.HANDS if system.splits else 0)
        ranked = any(getattr(order, name) is not None for name in order.functions)
        # Policies that decide what the agent does not, with their numbers; they cross slowly into compiled code.
        self._beside = checked[:2] if ranked or agent & asked != asked else []
        self._order, self._params = order, params if self._beside else np.zeros((each, 0))

    def draw(self, seed: Any, scenario: "Scenario | None" = None) -> Drawn:
        """Return the requests of a seed and the replicas that they see."""
        return (scenario or self.scenario).draw(seed, self.view.looks)

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests, at empty replicas."""
        system: Any = self.scenario.system
        max((kind.rules for kind in system.distinct), key=lambda rules: rules.longest).check(drawn.work, drawn.sizes)
        f, r, size, refreshed = self.fleet, self.replica, len(self.actions), drawn.truth["refreshed"]
        if (m := len(refreshed.total)) > (room := len(r.total) // size):
            self.replica = r = roomier(r, size, room, 2 * m)
        given = Requests(drawn.work, drawn.sizes, refreshed, drawn.truth.get("contexts"))
        rows = r.fill(e, size, given, self.view.costs(drawn))
        moves = system.splits or system.migrate_every > 0
        smallest = min(member.rules.block_size for member in system.members)
        self.replica = r = with_contexts(r, e, size, given, smallest, moves)
        f.choices[rows], f.ties[rows] = drawn.truth["choices"], drawn.truth["ties"]
        tables.begin_run(f, r, e, rows, int(np.isfinite(drawn.work["arrival"]).sum()), self._course)
        self._order.check_owners(drawn.work, r.notes.shape[1])
        if self._order.shares:
            r.give_shares(self._order.shares)
        mine = slice(e * len(f.forms), (e + 1) * len(f.forms))
        r.state["every"][mine] = refreshed.every
        r.state["in_fleet"][mine] = True
        r.state["hands_over"][mine] = f.members["role"][mine] == PREFILL
        f.members["emits"][mine] = r.state["hands_over"][mine] | self._course["closed"]

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        others: tuple[Any, ...] = (None, _NOTHING, None, _NOTHING, None, None, None, None)
        if self._beside:
            (router, scores), (taker, hands) = self._beside
            others = (*router.compiled(), scores, *taker.compiled(), hands, *self._order.compiled())
        step_batch(
            *(self.fleet, self.replica, self.steps, self.asks, self._billed, self.actions, *self.observation.values()),
            *(*self._rest, *others, self._params),
        )
        if self._beside:
            for policy, numbers in (*self._beside, *((self._order, row) for row in self._params)):
                policy.refuse_failure(numbers, self.replica.requests)

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        first, n = (int(self.fleet.fleet[name][e]) for name in ("first", "n"))
        outputs = self.replica.truth["output"][first : first + n]
        return run_of(self.fleet, self.replica, e, outputs, player, self.scenario.system, elapsed)

    def completions(self) -> np.ndarray:
        """Return when each request left `(E, n)`, s; NaN for one that has not."""
        return self._table(self.replica.service["completion"])

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a request that has not left or does not exist."""
        return self._table(self.replica.service["completion"] - self.replica.requests["arrival"])

    def seen(self, e: int = 0) -> Mapping[str, Any]:  # type: ignore[override]
        """Return the `REQUEST` row `(1,)` in question, the `SITE` rows of all replicas, and what else a router goes by.

        That is which replicas take it, the mask, their places among those drawn, whose turn it is, and the number for
        ties.
        """
        f, each = self.fleet, len(self.fleet.forms)
        i = int(f.fleet["subject"][e])
        drawn = np.zeros(each, np.int64)
        drawn[f.choices[i]] = np.arange(f.choices.shape[1]) + 1
        mask = self.observation["action_mask"][e] > 0
        present = self.observation["jobs"][e, :, 0] > 0
        return {
            "present": present,
            "request": self.replica.requests[i : i + 1],
            "sites": f.sites[e * each : (e + 1) * each],
            "question": self.asks[e],
            "mask": mask,
            "drawn": drawn,
            "turn": f.fleet["turn" if self.asks[e] == tables.ROUTE else "handed"][e] % max(int(present.sum()), 1),
            "tie": f.ties[i],
        }

    def metrics(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return how the episodes ended, and times of their requests that have left, s, `(rows,)` each."""
        fleet, service = self.fleet.fleet[rows], self._table(self.replica.service)[rows]
        arrival = self._table(self.replica.requests["arrival"])[rows]
        preemptions = self._table(self.replica.state["preemptions"])[rows].sum(axis=1)
        return request_metrics(fleet["n"], fleet["reason"], preemptions, arrival, service)

    def _table(self, column: np.ndarray) -> np.ndarray:
        """Return a column of the requests or the replicas of all runs, a run a row."""
        return column.reshape(len(self.actions), -1)

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return fleet_scene(self, title)
