"""A fleet opened for an agent: what it sees, decides and is paid, and the state of E of them.

The agent sends requests to replicas, chooses who goes on with those that have been read elsewhere, or both, and says at
ticks how many replicas are on in each role. The kernels behind this are in `engines.fleet.stepping` and
`engines.fleet.scaling`.
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
from llmqueue_gym.policies.control import CONTROLLERS
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.routing.least_outstanding import least_outstanding, power_of_d
from llmqueue_gym.requests import PREFILL, Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.control import SOONEST, check_can_stop
from llmqueue_gym.systems.episodes import Episodes
from llmqueue_gym.systems.fleet_columns import fleet_shown, replicas_shown
from llmqueue_gym.systems.fleet_run import run_of
from llmqueue_gym.systems.fleet_scene import fleet_scene
from llmqueue_gym.systems.replica_tables import leaner
from llmqueue_gym.systems.replica_view import ReplicaEpisodes, ReplicaView, request_metrics, roomier
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.targets import targets_of
from llmqueue_gym.systems.view import Columns, Cost, Group, View, check_between, check_counts

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# What an agent decides.
BITS = {"route": tables.ROUTES, "handover": tables.HANDS, "both": tables.ROUTES | tables.HANDS}
BITS |= {"scale": 0, "all": tables.ROUTES | tables.HANDS}
SCALES = ("scale", "all")  # of these, those that decide at ticks
DEAREST, FARTHEST, WORST = 1e12, 1e9, 10.0  # price, s ahead, error
TOLD = tables.SUMS | tables.CACHED | tables.KNOWN  # what is seen of replicas
_NOTHING = np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class FleetView(View):
    """What an agent sees and decides, and what it is paid.

    Attributes:
        decides: "route", where a request goes on its arrival; "handover", who goes on with one that was read at a
            replica for prompts; "both"; "scale", how many replicas are on in each role, at ticks; "all", these three.
        sees: replicas drawn at random that a request can be sent to on its arrival; None for all.
        router: who sends requests where the agent does not.
        price: of an hour for which a replica is on, starts or drains, in request-seconds: at 3600 a replica costs as
            much as one more request in system.
        ahead: s that the forecast of arrivals looks ahead; None for the time of a start and one tick.
        forecast_error: of the forecast, the standard deviation of its logarithm; see `predictors.arrivals`.
    """

    @property
    def jobs(self) -> Columns:  # type: ignore[override]
        """Columns of the replicas."""
        return replicas_shown(self.decides)

    @property
    def system(self) -> Columns:  # type: ignore[override]
        """Columns of the request in question and of the fleet."""
        return fleet_shown(self.decides)

    actions: ClassVar[str] = (
        "the replica that the request in question goes to. One that is not open, as it has another role or is not "
        "seen, stands for the first that is. At a tick (scale, and all behind the replicas): how many replicas are on "
        "in each role, in order of `systems.targets.targets_of`: from `least` on, or where roles are apart the fewest "
        "that read first, and of these the fewest that decode"
    )
    rewards: ClassVar[Mapping[str, Cost]] = ReplicaView.rewards
    paid: ClassVar[Mapping[str, str]] = ReplicaView.paid

    decides: str = "both"
    sees: int | None = None
    router: str | RoutingPolicy = "round-robin"
    price: float = 0.0
    ahead: float | None = None
    forecast_error: float = 0.3

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        if self.decides not in BITS:
            raise BadInput(f"decides={self.decides!r}; {nearest(str(self.decides), BITS)}")
        super().check(scenario)
        check_between(self, 0, DEAREST, "price")
        check_between(self, 0, WORST, "forecast_error")
        if self.ahead is not None:
            check_between(self, SOONEST, FARTHEST, "ahead")
        system: Any = scenario.system
        if self.sees is not None:
            check_counts(self, "sees")
            if self.sees > (size := len(system.members)):
                raise BadInput(f"sees={self.sees} replicas of {size}; choose 1 to {size}, or None for all of them")
        if self.decides == "handover" and not system.splits:
            raise BadInput("decides='handover' needs replicas that read prompts alone: prefill of at least 1")
        if len(system.rows[0]) > len(system.members):
            raise BadInput("replicas that are pipelines of several GPUs serve no agent; choose stages=1")
        if self.decides in SCALES:
            check_can_stop(system, f"decides={self.decides!r}")
            targets_of(system)
        if ROUTING_POLICIES(self.router).paired:
            raise BadInput(f"router={self.router!r} chooses who decodes, too; choose another")

    @property
    def own_rules(self) -> bool:
        """Whether a policy plays as an agent alone: as one that hands over it is no router of the closed loop."""
        return self.decides in ("handover", "scale") or self.price > 0

    @property
    def graded(self) -> bool:  # type: ignore[override]
        """Whether actions are numbers of replicas."""
        return self.decides == "scale"

    def policies(self, scenario: "Scenario") -> Any:
        """Return the table of the policies that decide what the agent does: controllers, or else routers."""
        return CONTROLLERS if self.decides == "scale" else super().policies(scenario)

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

    def n_actions(self, scenario: "Scenario") -> int:
        """Return how many replicas there are to send requests to, and what can be asked for at ticks, together."""
        at_ticks = len(targets_of(scenario.system)) if self.decides in SCALES else 0
        return at_ticks + (0 if self.decides == "scale" else self.n_slots(scenario))

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return the replicas, of which few are worth a look beside the first."""
        return (Group(0, self.n_slots(scenario), None if self.decides == "scale" else 0, 4),)

    @property
    def looks(self) -> RoutingPolicy:
        """A policy that sees what the agent sees, or the one that routes in its place."""
        if self.decides in ("handover", "scale"):
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
        n, each, self._looks = int(scenario.n_jobs), len(system.members), view.looks
        order: Any = system.discipline
        drawn = scenario.draw(0, self._looks)
        one, alone, course, (conduct, *_, params), checked = system.loaded(drawn, self._looks)
        fresh = tables.fresh_fleet(size, n, one.choices.shape[1], each, PLACES if system.caches else 0)
        self.fleet = one._replace(**{name: getattr(fresh, name) for name in tables.OF_RUNS})
        for name in ("role", "power"):
            self.fleet.members[name] = np.tile(one.members[name], size)
        seats = n if order.merged else alone.running.shape[1]
        self.replica = replicas(size, each, n, 0, seats, alone.system["blocks"])
        rules = [member.rules for member in system.rows[0]]
        self.replica = leaner(let_cache(self.replica, rules * size), rules, system.asks_for_more(view.looks))
        self.asks, self._billed = np.zeros(size, np.int64), np.zeros(size)
        course["horizon"] = min(float(view.horizon), system.horizon)
        if view.decides != "scale":  # such an agent sees no more of replicas than `observe_ticks` tells
            course["wants"] = TOLD
        self._course, agent = course, BITS[view.decides]
        self._rest = (*self.factors, course, conduct, agent)
        asked = tables.ROUTES | (tables.HANDS if system.splits else 0)
        ranked = any(getattr(order, name) is not None for name in order.functions)
        # Policies that decide what the agent does not, with their numbers; they cross slowly into compiled code.
        self._beside = checked[:2] if ranked or agent & asked != asked else []
        self._order, self._params = order, params if self._beside else np.zeros((each, 0))

    def draw(self, seed: Any, scenario: "Scenario | None" = None) -> Drawn:
        """Return the requests of a seed and the replicas that they see."""
        return (scenario or self.scenario).draw(seed, self._looks)

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests, at empty replicas."""
        system: Any = self.scenario.system
        system.refuse_too_long(drawn)
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
        f.members["emits"][mine] = r.state["hands_over"][mine] | self._course["follows"]

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        self._step(self.actions)

    def _step(self, actions: np.ndarray) -> None:
        """Carry out these actions in every run."""
        others: tuple[Any, ...] = (None, _NOTHING, None, _NOTHING, None, None, None, None)
        if self._beside:
            (router, scores), (taker, hands) = self._beside
            others = (*router.compiled(), scores, *taker.compiled(), hands, *self._order.compiled())
        step_batch(
            *(self.fleet, self.replica, self.steps, self.asks, self._billed, actions, *self.observation.values()),
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
