"""Who is on in a fleet: its controller sees it at ticks and is followed, and spot machines vanish.

When a machine vanishes is chance, drawn beforehand in a stream of its own: at a constant rate for each replica, whether
it is on or not, so that all controllers meet the same moments.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH, LIVELOCK, ReplicaTables
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.power import follow
from llmqueue_gym.engines.fleet.scaling import HOUR
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.control import Controller, Seen, Unit
from llmqueue_gym.requests import BOTH, DECODE, PREFILL, ROLES
from llmqueue_gym.systems.capacity import capacity
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.targets import within
from llmqueue_gym.systems.view import check_between, check_flags

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

SOONEST, LONGEST = 1e-3, 1e9  # s between ticks, and that anything may take; h until a machine vanishes
OFTENEST = 1e-4  # h until a machine vanishes, on average; where they hardly live nobody is ever served
HISTORY = np.dtype(
    [("arrivals", "f8"), ("prompts", "f8"), ("outputs", "f8"), ("ended", "f8", 3), ("busy", "f8", 3)]
)  # as in `Seen`
BEYOND = 2.0  # times as long as arrivals take for which it is drawn when machines vanish
NEVER = np.zeros(0, [("time", "f8"), ("subject", "i8")])


def check_control(fleet: Any) -> None:
    """Refuse wrong fields of a fleet that say who is on."""
    size, roles = len(fleet.members), len({member.role for member in fleet.members})
    check_between(fleet, SOONEST, LONGEST, "tick")
    check_between(fleet, 0, LONGEST, "start_up", "turn_over", "spot")
    check_between(fleet, 1, size, "least", whole=True)
    check_flags(fleet, "hold")
    if fleet.most is not None:
        check_between(fleet, max(fleet.least, roles), size, "most", whole=True)
    if fleet.spot:
        check_between(fleet, OFTENEST, LONGEST, "spot")
        check_can_stop(fleet, f"spot={fleet.spot:g}")
    elif fleet.steersman.name != "none":
        check_can_stop(fleet, f"controller={fleet.steersman.name!r}")


def check_can_stop(fleet: Any, asked: str) -> None:
    """Refuse rules of replicas that cannot be switched off."""
    for member in fleet.members:
        if member.rules.asynchronous or member.rules.stages > 1:
            what = "asynchronous=true" if member.rules.asynchronous else f"stages={member.rules.stages}"
            raise BadInput(f"{asked} switches replicas off, which rules with {what} do not know; leave one out")


def reclaims(hours: float, replicas: int, last: float, rng: np.random.Generator) -> np.ndarray:
    """Return when machines vanish `(m,)`, rows of `time`, s, and `subject`, the replica, in order of time.

    Args:
        hours: mean time until one does.
        replicas: of the fleet.
        last: s, when the last request comes.
        rng: stream of chance.

    Raises:
        BadInput: it is not known how long requests come, as clients wait for their answers.
    """
    if not np.isfinite(last):
        raise BadInput(f"spot={hours:g} has no place beside concurrency, where it is not known how long a run takes")
    end = BEYOND * max(last, 0.0)
    counts = rng.poisson(end / (hours * HOUR), replicas)
    table = np.zeros(int(counts.sum()), NEVER.dtype)
    table["time"], table["subject"] = rng.random(len(table)) * end, np.repeat(np.arange(replicas), counts)
    return np.sort(table, order="time")


def unit_of(fleet: Any, scenario: "Scenario") -> Unit:
    """Return what one replica of a fleet does, the first: measured by its capacity, or by its profile where it splits.

    A replica that reads alone fills its token budget with one prompt; one that decodes alone serves as many mean
    requests as it holds. That is more than it does in a batch of both.
    """
    member, scales = fleet.members[0], fleet.scales(scenario)
    alone = Replica(member.profile, member.rules, fleet.max_tokens)
    seats = max(min(float(member.rules.max_seqs), scales["blocks"] / scales["request_blocks"]), 1.0)
    tokens = np.zeros(3)
    if not fleet.splits:
        steady: dict[str, Any] = (
            {} if scenario.workload is not None else {"arrivals": "poisson"}
        )  # its own, not those of a day
        found = capacity(replace(scenario, system=alone, **steady))
        tokens[BOTH] = found.rate * (scales["prompt"] + scales["output"])
    else:
        batch = np.zeros(1, BATCH)
        batch["tokens"] = batch["prefill_tokens"] = budget = scales["budget"]
        batch["prefills"], batch["pairs"], batch["squares"] = 1, budget**2 / 2, budget**2
        profile = member.profile
        tokens[PREFILL] = budget / float(
            iteration_time(FORMS.index(profile.form), np.ascontiguousarray(profile.numbers), records(batch)[0])
        )
        tokens[DECODE] = seats / scales["iteration"]
    return Unit(tokens, np.full(3, seats))


class Steering:
    """A controller at the helm of one run.

    Attributes:
        switched: how often a replica was switched on, or called back, and how often one was sent off.

    Args:
        fleet: the system.
        f: its tables, with the run in them.
        r: the tables of its replicas.
        course: `COURSE` record of the run.
        vanishing: what `reclaims` drew.
        unit: what one replica does, where the controller has to know.
        e: the run, of those in the tables.
    """

    def __init__(
        self,
        fleet: Any,
        f: tables.FleetTables,
        r: ReplicaTables,
        course: Any,
        vanishing: np.ndarray,
        unit: Unit | None,
        e: int = 0,
    ):
        self.controller: Controller = fleet.steersman
        self.r, self.course, self.unit, self.e = r, course, unit, e
        self.mine = slice(e * len(f.forms), (e + 1) * len(f.forms))
        self.least, self.most = fleet.least, fleet.most or len(f.forms)
        self.memory: dict[Any, Any] = {}
        self.history, self.ticks = np.zeros(64, HISTORY), 0
        self.asked = np.zeros((65, 3), np.int64)  # at first, and at each tick
        self.patience, self.barren = fleet.bound_rules.patience, 0
        self.switched = {"switched_on": 0, "switched_off": 0}
        self.arrived, self.made, self.counts = 0, 0, np.zeros((2, len(f.forms)))
        self.f = noted(f, vanishing, e)
        roles, power = (self.f.members[name][self.mine] for name in ("role", "power"))
        self.asked[0] = np.bincount(roles, minlength=3)
        self.asked[0] = within(self.asked[0], self.asked[0] > 0, self.least, self.most)
        self.asked[0] = self.wanted()
        for role in ROLES:
            power[np.flatnonzero(roles == role)[self.asked[0][role] :]] = tables.OFF

    def tick(self) -> None:
        """Ask the controller, and follow it; the run ends where nobody has come or got a token for too many ticks.

        So it is where a controller leaves those off who alone could serve the first that waits.
        """
        self.look()
        last = self.history[self.ticks - 1]
        self.barren = 0 if last["arrivals"] or last["outputs"] else self.barren + 1
        if self.barren > self.patience:
            self.f.fleet["reason"][self.e] = LIVELOCK
            return
        wanted = self.wanted()
        self.asked[self.ticks] = wanted
        before = self.engaged()
        follow(self.e, self.f, self.r, wanted, self.course)
        after = self.engaged()
        self.switched["switched_on"] += int(np.count_nonzero(after & ~before))
        self.switched["switched_off"] += int(np.count_nonzero(before & ~after))

    def engaged(self) -> np.ndarray:
        """Return which replicas are on or will be, in whatever role `(R,)`; who ends what it has to go off is not."""
        members = self.f.members[self.mine]
        drains = members["power"] == tables.DRAINING
        on: np.ndarray = np.where(drains, members["becomes"] >= 0, members["power"] != tables.OFF)
        return on

    def noted_in(self, run: Run) -> Run:
        """Return the run with how often replicas were switched on and off at ticks, where there is a controller."""
        if self.controller.name == "none":
            return run
        return replace(run, totals={**run.totals, **self.switched})

    def look(self) -> None:
        """Note what has happened since the last tick, one more row of `history`."""
        fleet, r, state = self.f.fleet[self.e], self.r, self.r.state[self.mine]
        if self.ticks == len(self.history):
            self.history = np.concatenate([self.history, np.zeros_like(self.history)])
            self.asked = np.concatenate([self.asked, np.zeros((self.ticks, 3), np.int64)])
        first, arrived = int(fleet["first"]), int(fleet["arrived"])
        made, counts = int(state["made"].sum()), np.stack([state["done"], state["batch_time"]])
        row = self.history[self.ticks]
        row["arrivals"], row["outputs"] = arrived - self.arrived, made - self.made
        row["prompts"] = r.requests["prompt"][first + self.arrived : first + arrived].sum()
        for name, each in zip(("ended", "busy"), counts - self.counts, strict=True):
            row[name] = np.bincount(self.f.members["home"][self.mine], each, 3)
        self.arrived, self.made, self.counts, self.ticks = arrived, made, counts, self.ticks + 1

    def seen(self) -> Seen:
        """Return what the controller sees."""
        fleet, history = self.f.fleet[self.e], self.history[: self.ticks]
        return Seen(
            clock=max(float(fleet["clock"]), 0.0),
            tick=float(self.course["tick"]),
            start_up=float(self.course["start_up"]),
            **{name: history[name] for name in HISTORY.names or ()},
            **present(self.f, self.r, self.mine),
            held=int(fleet["held"]),
            asked=self.asked[: max(self.ticks, 1)].copy(),
            least=self.least,
            most=self.most,
            unit=self.unit,
        )

    def wanted(self) -> np.ndarray:
        """Return what the controller wants, as far as it can be; see `targets.within`."""
        there = self.asked[0] > 0
        return within(self.controller.asked_of(self.seen(), self.memory), there, self.least, self.most)


def present(f: tables.FleetTables, r: ReplicaTables, mine: slice) -> dict[str, np.ndarray]:
    """Return what is seen of the replicas of a run, by the names of `Seen`."""
    members, system, state = f.members[mine], r.system[mine], r.state[mine]
    return {
        "power": members["power"].copy(),
        "role": members["home"].copy(),
        "running": system["running"].copy(),
        "waiting": system["waiting"] + (state["n"] - state["arrived"]) + members["awaited"],
        "kv": 1.0 - system["free"] / np.maximum(system["blocks"], 1),
    }


def noted(f: tables.FleetTables, vanishing: np.ndarray, e: int = 0) -> tables.FleetTables:
    """Return the tables with the moments noted at which machines of run e vanish; a sorted list is a heap."""
    runs = len(f.fleet)
    room = len(f.flows) // runs + 4 * len(f.forms) + len(vanishing)
    if room > f.events.shape[1]:
        events = np.zeros((runs, room), tables.EVENT)
        events[:, : f.events.shape[1]] = f.events
        f = f._replace(events=records(events))
    rows = f.events[e, : len(vanishing)]
    rows["time"], rows["subject"], rows["kind"] = vanishing["time"], vanishing["subject"], tables.VANISHES
    rows["order"] = np.arange(len(vanishing))
    f.fleet["events"][e] = f.fleet["noted"][e] = len(vanishing)
    return f


def on_times(f: tables.FleetTables, mine: slice, clock: float | np.ndarray) -> np.ndarray:
    """Return the s for which each replica is paid by a time, s: those in which it started, served or drained."""
    members = f.members[mine]
    return members["on_time"] + np.where(members["power"] != tables.OFF, np.maximum(clock - members["since"], 0.0), 0.0)
