"""Programs opened for an agent: what it sees, decides and is paid, and the state of E fleets that serve them.

The agent says who goes on next of the calls that wait at the router, what happens to a context whose program is away,
and whether a program that has answered stops. The kernel behind this is in `engines.fleet.program_steps`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.engines.batching.tables import REASONS, replicas
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.program_steps import ENDS, WAYS, step_programs
from llmqueue_gym.engines.fleet.programs import lay_out, with_programs
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.requests import SYSTEM, Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.episodes import summary
from llmqueue_gym.systems.fleet_run import run_of
from llmqueue_gym.systems.fleet_view import FleetEpisodes
from llmqueue_gym.systems.program_columns import ANSWERS, CONTEXT, HELD, PROGRAMS
from llmqueue_gym.systems.program_run import first_calls, heirs, program_run
from llmqueue_gym.systems.program_scene import program_scene
from llmqueue_gym.systems.replica_tables import leaner
from llmqueue_gym.systems.replica_view import p99, roomier
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.view import Columns, Cost, Group, SlotView

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# What an agent decides.
BITS = {"order": tables.PICKS, "retain": tables.KEEPS, "stop": tables.STOPS}
BITS |= {"order-and-retain": tables.PICKS | tables.KEEPS, "order-and-stop": tables.PICKS | tables.STOPS}
TRIED, SPARE = 16, 1.5  # runs that are drawn to see how many calls a run has; times as many there is room for


@dataclass(frozen=True, kw_only=True)
class ProgramView(SlotView):
    """What an agent sees and decides, and what it is paid.

    Attributes:
        slots: calls at the router that the agent sees and can choose from.
        decides: "order", who goes on next wherever a replica has a seat free and several wait, for which the fleet
            holds calls at the router; "retain", what happens to a context when its call has ended; "stop", whether a
            program that has given an answer ends with it; or "order-and-retain", "order-and-stop".
    """

    decisions: ClassVar[tuple[str, ...]] = ("order",)
    jobs: ClassVar[Columns] = HELD
    actions: ClassVar[str] = (
        "who goes on next (question 6): its slot. Behind the slots, or alone: drop the context, keep it, move it to "
        "the host (question 7); go on, end with the answer that there is (question 8). One that is not open stands "
        "for the first that is"
    )
    rewards: ClassVar[Mapping[str, Cost]] = {
        "response_time": lambda jobs, sizes: np.ones(len(jobs)),
        "weighted": lambda jobs, sizes: jobs["weight"],
    }
    paid: ClassVar[Mapping[str, str]] = {}

    decides: str = "order"

    @property
    def system(self) -> Columns:  # type: ignore[override]
        """Columns of the fleet, and of the context or the program in question."""
        bits = BITS[self.decides]
        more = {**(CONTEXT if bits & tables.KEEPS else {}), **(ANSWERS if bits & tables.STOPS else {})}
        return {**PROGRAMS, **more}

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        if self.decides not in self.decisions:
            raise BadInput(f"decides={self.decides!r}; {nearest(str(self.decides), self.decisions)}")
        super().check(scenario)
        system: Any = scenario.system
        if len(system.rows[0]) > len(system.members):
            raise BadInput("replicas that are pipelines of several GPUs serve no agent; choose stages=1")
        if system.steersman.name != "none" or system.spot or system.splits:
            raise BadInput("programs serve agents on replicas that stay, read and decode: no controller, spot, prefill")
        system.let_decide(self.decides)

    @property
    def own_rules(self) -> bool:
        """Whether calls fare otherwise than in closed loop: an agent that picks makes the fleet hold them."""
        return bool(BITS[self.decides] & tables.PICKS)

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        most = scenario.system.bound_rules.max_seqs or np.inf  # type: ignore[attr-defined]
        scales = super().scales(scenario)
        return {**scales, "seats": max(min(most, scales["blocks"] / scales["request_blocks"]), 1.0)}

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the slots, and what can be said of a context or a program."""
        bits = BITS[self.decides]
        more = WAYS * bool(bits & tables.KEEPS) + ENDS * bool(bits & tables.STOPS)
        return more + (int(self.slots) if bits & tables.PICKS else 0)

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return the slots."""
        return (Group(0, int(self.slots), 0 if BITS[self.decides] & tables.PICKS else None),)

    def costs(self, drawn: Drawn) -> np.ndarray:
        """Return what each program costs per second `(p,)`."""
        return self.rewards[self.reward](drawn.work[first_calls(drawn.truth["programs"])], drawn.sizes)

    def arrivals(self, drawn: Drawn) -> np.ndarray:
        """Return when each program comes `(p,)`, s."""
        came: np.ndarray = drawn.work["arrival"][first_calls(drawn.truth["programs"])]
        return came


@dataclass(frozen=True, kw_only=True)
class ToolView(ProgramView):
    """What an agent sees that may say what happens to contexts; see `ProgramView`.

    Attributes:
        decides: "order-and-retain", "retain" or "order".
    """

    decisions: ClassVar[tuple[str, ...]] = ("order-and-retain", "retain", "order")

    decides: str = "order-and-retain"


@dataclass(frozen=True, kw_only=True)
class ReasoningView(ProgramView):
    """What an agent sees that may say who stops; see `ProgramView`.

    Attributes:
        decides: "order-and-stop", "stop" or "order".
    """

    decisions: ClassVar[tuple[str, ...]] = ("order-and-stop", "stop", "order")

    decides: str = "order-and-stop"


class ProgramEpisodes(FleetEpisodes):
    """The state of E fleets that serve programs.

    There is room for half as many calls again as the most of 16 runs that are tried. The episode of a seed that would
    have more has fewer programs.
    """

    unknown: ClassVar[Mapping[str, Any]] = {
        **{"programs": 0, "done": 0, "ended": REASONS[0], "wrong": 0},
        **dict.fromkeys(("mean_response_time", "p99_response_time"), 0.0),
    }

    def __init__(self, scenario: "Scenario", view: ProgramView, size: int):
        super(FleetEpisodes, self).__init__(scenario, view, size)
        self._system: Any = scenario.system.let_decide(view.decides)  # type: ignore[attr-defined]
        tried = [scenario.draw(seed) for seed in range(TRIED)]
        n = self._room = int(SPARE * max(len(one.sizes) for one in tried))
        self._edges = int(SPARE * max(len(one.truth["programs"].parents) for one in tried)) + 1
        system, bits = self._system, BITS[view.decides]
        one, alone, course, (conduct, *_, params), checked = system.loaded(tried[0], system.sender)
        each, order = len(system.members), system.discipline
        fresh = tables.fresh_fleet(size, n, one.choices.shape[1], each, one.record.shape[1])
        made = one._replace(**{name: getattr(fresh, name) for name in tables.OF_RUNS if name not in tables.OF_PROGRAMS})
        self.fleet = with_programs(made, size, n, self._edges)
        for name in ("role", "power"):
            self.fleet.members[name] = np.tile(one.members[name], size)
        seats = n if order.merged else alone.running.shape[1]
        made = replicas(size, each, n, 0, seats, alone.system["blocks"])
        self.replica = leaner(made, [row.rules for row in system.members], system.asks_for_more(system.sender))
        self.asks, self._billed = np.zeros(size, np.int64), np.zeros(size)
        course["horizon"] = min(float(view.horizon), system.horizon)
        self._course, self._order, self._params = course, order, params
        self._checked = checked[: 2 + each]  # of router, of who would take over, and of the order at each replica
        self._rest = (*self.factors, course, conduct, bits, float(system.wrong))
        self._others: Any = replace(system, retention="discard") if bits & tables.KEEPS else system
        self._truth: list[Mapping[str, Any]] = [{}] * size

    def draw(self, seed: Any, scenario: "Scenario | None" = None) -> Drawn:
        """Return the programs of a seed."""
        given = scenario or self.scenario
        drawn = given.draw(seed)
        while len(drawn.sizes) > self._room or len(drawn.truth["programs"].parents) > self._edges:
            if given.n_jobs == 1:
                raise BadInput(f"a program of {len(drawn.sizes)} calls; an episode has room for {self._room}")
            given = replace(given, n_jobs=int(0.9 * given.n_jobs) or 1)
            drawn = given.draw(seed)
        return drawn

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these programs, at empty replicas."""
        system, f, r, size = self._system, self.fleet, self.replica, len(self.actions)
        refreshed = drawn.truth["refreshed"]
        system.refuse_too_long(drawn)
        if (m := len(refreshed.total)) > (room := len(r.total) // size):
            self.replica = r = roomier(r, size, room, 2 * m)
        programs = drawn.truth["programs"]
        given = Requests(drawn.work, drawn.sizes, refreshed, drawn.truth.get("contexts"), programs)
        rows = r.fill(e, size, given, np.zeros(len(drawn.sizes)))
        f.choices[rows], f.ties[rows] = drawn.truth["choices"], drawn.truth["ties"]
        costs = self.view.costs(drawn)
        truth = drawn.truth.get("answers"), drawn.truth.get("foreseen")
        lay_out(f, e, size, rows, programs, system.came(drawn), costs, *truth)
        heir = heirs(programs)
        r.requests["heir"][rows] = np.where(heir < 0, -1, rows.start + heir)
        tables.begin_run(f, r, e, rows, int(np.isfinite(drawn.work["arrival"]).sum()), self._course)
        self._order.check_owners(drawn.work, r.notes.shape[1])
        if self._order.shares:
            r.give_shares(self._order.shares)
        mine = slice(e * len(f.forms), (e + 1) * len(f.forms))
        r.state["every"][mine] = refreshed.every
        r.state["in_fleet"][mine] = f.members["emits"][mine] = True
        r.state["retains"][mine] = r.state["keeps"][mine] = system.keeps
        self._truth[e] = {name: drawn.truth.get(name) for name in ("programs", "answers")}

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        (router, scores), (taker, hands) = self._checked[:2]
        retain, stop = self._others.asks()
        step_programs(
            *(self.fleet, self.replica, self.steps, self.asks, self._billed, self.actions, *self.observation.values()),
            *(*self._rest, *router.compiled(), scores, *taker.compiled(), hands, retain, stop),
            *(*self._order.compiled(), self._params),
        )
        for policy, numbers in (*self._checked, *self._others.checked((retain, stop))):
            policy.refuse_failure(numbers, self.replica.requests)

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        f, system = self.fleet, self._system
        first, n = (int(f.fleet[name][e]) for name in ("first", "n"))
        outputs = self.replica.truth["output"][first : first + n]
        run = run_of(f, self.replica, e, outputs, player, system, elapsed)
        truth, room = self._truth[e], len(f.programs) // len(self.actions)
        return program_run(run, truth["programs"], f.programs[e * room : (e + 1) * room], truth["answers"])

    def metrics(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return how the episodes ended, and times of their programs that are over, s, `(rows,)` each."""
        fleet = self.fleet.fleet[rows]
        completion, began = (self._of_programs(name)[rows] for name in ("completion", "began"))
        times = completion - began
        of_all = summary(times)
        return {
            "programs": np.array([int(self._truth[e]["programs"].program.max()) + 1 for e in rows]),
            "done": of_all["jobs"],
            "ended": np.array(REASONS, object)[fleet["reason"]],
            "wrong": fleet["wrong"],
            "mean_response_time": of_all["mean_response_time"],
            "p99_response_time": p99(times, of_all["jobs"]),
        }

    def completions(self) -> np.ndarray:
        """Return when each program was over `(E, n)`, s; NaN for one that is not."""
        return self._of_programs("completion")

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a program that is not over or does not exist."""
        return self._of_programs("completion") - self._of_programs("began")

    def _of_programs(self, name: str) -> np.ndarray:
        """Return a column of the programs of all runs, a run a row."""
        return self._table(self.fleet.programs[name])[:, : int(self.scenario.n_jobs)]

    def seen(self, e: int = 0) -> Mapping[str, Any]:  # type: ignore[override]
        """Return the `REQUEST` rows behind the slots, and what is known of the context or the program in question."""
        f, i = self.fleet, int(self.fleet.fleet["front"][e])
        rows: list[int] = []
        while i >= 0 and len(rows) < int(self.view.slots):
            rows.append(i)
            i = int(f.flows["next"][i])
        whole = np.zeros(1, SYSTEM)
        whole["clock"], whole["waiting"] = f.fleet["clock"][e], f.fleet["held"][e]
        for name in ("running", "free", "blocks"):
            whole[name] = self.replica.system[name][e * len(f.forms) : (e + 1) * len(f.forms)].sum()
        return {
            "waiting": np.array(self.replica.requests[rows]),
            "whole": whole,
            "away": np.array(f.away),
            "told": np.array(f.told),
            "question": self.asks[e],
            "mask": self.observation["action_mask"][e] > 0,
        }

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return program_scene(self, title)
