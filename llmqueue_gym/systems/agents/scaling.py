"""Plays a controller in an environment that asks at ticks how many replicas are to be on."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.engines.fleet.tables import DRAINING, OFF, ON, STARTING, TICK
from llmqueue_gym.policies.control import Controller, Seen
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.agents.routing import RoutingAgent
from llmqueue_gym.systems.control import HISTORY, unit_of
from llmqueue_gym.systems.targets import targets_of, within
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

COUNTED = ("arrivals", "prompts", "outputs")


def agent_of(policy: Any, scenario: "Scenario", view: Any) -> Agent:
    """Return the agent that plays a router, a controller, or a router beside the controller of the fleet."""
    if view.decides == "scale":
        return ScalingAgent(policy, scenario, view)
    return WholeAgent(policy, scenario, view) if view.decides == "all" else RoutingAgent(policy, scenario, view)


class Past:
    """What a controller has seen of one run, and what it has noted.

    Asked twice at one tick, it answers twice the same.
    """

    def __init__(self) -> None:
        self.ticks = -1
        self.history, self.asked = np.zeros(64, HISTORY), np.zeros((65, 3), np.int64)
        self.memory: dict[Any, Any] = {}
        self._before: dict[Any, Any] = {}

    def go_on(self, ticks: int, row: np.ndarray, asked: np.ndarray) -> None:
        """Note what has come since the tick before.

        Of ticks that were not seen it is taken that nothing came, and that as many were asked for as at last.

        Args:
            ticks: of the run so far.
            row: `HISTORY` record.
            asked: replicas that were asked for before, by role `(3,)`.
        """
        fresh = ticks not in (self.ticks, self.ticks + 1)
        if ticks == self.ticks:
            self.memory = copy.deepcopy(self._before)
        elif fresh:
            self.__init__()  # type: ignore[misc]
        else:
            self._before = copy.deepcopy(self.memory)
        self.ticks = ticks
        if ticks >= len(self.history):
            self.history = np.concatenate([self.history, np.zeros(ticks, HISTORY)])
            self.asked = np.concatenate([self.asked, np.zeros((ticks, 3), np.int64)])
        if fresh:
            self.asked[:] = asked
        if ticks > 0:
            self.history[ticks - 1] = row
        self.asked[max(ticks - 1, 0)] = asked


class ScalingAgent(Agent):
    """Asks for as many replicas as a controller does.

    It remembers what it has seen: each row of a batch is one run, and keeps its place until the run is over.

    Attributes:
        remembers: that this is so.
    """

    remembers = True

    def __init__(self, policy: Controller, scenario: "Scenario", view: Any):
        self.policy, self.scenario, self.view = policy, scenario, view
        self._units = view.units(scenario)
        system: Any = scenario.system
        self._system, self._pasts = system, dict[int, Past]()
        self._unit = unit_of(system, scenario) if policy.profiled else None
        self._targets = targets_of(system)
        self._actions = {tuple(one): k for k, one in enumerate(self._targets.tolist())}
        self._roles = np.bincount([member.role for member in system.members], minlength=3)
        self._try_out()

    def _try_out(self) -> None:
        """Ask the controller once about a fleet in which nothing has happened: one that has no place here says so."""
        roles = np.array([member.role for member in self._system.members])
        nothing = {name: 0 * roles for name in ("running", "waiting", "ended", "busy", "kv")}
        told = {**dict.fromkeys((*COUNTED, "held", "ticks"), 0), **nothing, "asked": self._roles, "role": roles}
        self._one(-1, {**told, "power": np.full(len(roles), ON)})
        del self._pasts[-1]

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return what a controller sees from observations."""
        jobs = {name: np.atleast_2d(rows) for name, rows in columns_of(observation, "jobs", self.view.jobs).items()}
        told = {name: np.atleast_1d(x) for name, x in columns_of(observation, "system", self.view.system).items()}
        power = np.where(jobs["present"] > 0, ON, np.where(jobs["starting"] > 0, STARTING, OFF))
        return {
            **{name: told[name].astype(np.int64) for name in ("question", "ticks", *COUNTED, "held")},
            "asked": np.stack([told[f"asked_{role}"] for role in ("both", "prefill", "decode")], -1).astype(np.int64),
            **{name: jobs[name].astype(np.int64) for name in ("role", "running", "waiting", "ended")},
            "busy": jobs["busy"].astype(np.float64),
            "power": np.where(jobs["draining"] > 0, DRAINING, power),
            "kv": 1.0 - jobs["free"].astype(np.float64) / np.maximum(jobs["blocks"], 1),
        }

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a controller sees of a scalar environment."""
        return {name: np.asarray(table)[None] for name, table in seen.items()}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions; where nothing is asked, 0."""
        rows = [{name: table[e] for name, table in seen.items()} for e in range(len(seen["question"]))]
        return np.array([self._one(e, told) if told["question"] == TICK else 0 for e, told in enumerate(rows)])

    def _one(self, e: int, told: dict[str, Any]) -> int:
        """Return what the controller asks for of one run."""
        system, past, ticks = self._system, self._pasts.setdefault(e, Past()), int(told["ticks"])
        row = np.zeros(1, HISTORY)
        for name in COUNTED:
            row[name] = told[name]
        for name in ("ended", "busy"):
            row[name] = np.bincount(told["role"], told[name], 3)
        least, most = system.least, system.most or len(system.members)
        asked = told["asked"] if ticks else within(self._roles, self._roles > 0, least, most)
        past.go_on(ticks, row[0], asked)
        history = past.history[:ticks]
        seen = Seen(
            clock=ticks * system.tick,
            tick=system.tick,
            start_up=system.start_up,
            **{name: history[name] for name in HISTORY.names or ()},
            **{name: told[name] for name in ("power", "role", "running", "waiting", "kv")},
            held=int(told["held"]),
            asked=past.asked[: max(ticks, 1)].copy(),
            least=least,
            most=most,
            unit=self._unit,
        )
        wanted = self.policy.asked_of(seen, past.memory)
        return self._actions[tuple(within(wanted, self._roles > 0, least, most).tolist())]

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return minus the requests at each replica: a learner sees the busiest."""
        return [-(seen["running"] + seen["waiting"]).astype(np.float64)]


class WholeAgent(Agent):
    """Sends requests as a router does, and at ticks asks for as many replicas as the controller of the fleet."""

    remembers = True

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        self.policy, self.scenario, self.view = policy, scenario, view
        self._units = view.units(scenario)
        self._routing = RoutingAgent(policy, scenario, view)
        self._scaling = ScalingAgent(scenario.system.steersman, scenario, view)  # type: ignore[attr-defined]
        self._first = view.n_slots(scenario)

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return what router and controller see from observations."""
        routed = {**observation, "action_mask": observation["action_mask"][..., : self._first]}
        return {"routing": self._routing.read(routed), "tick": self._scaling.read(observation)}

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return what router and controller see of a scalar environment."""
        return {"routing": self._routing.look(seen), "tick": self._scaling.look(seen["tick"])}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions; the router is asked where it has something to decide, as at ticks there is no request."""
        at_ticks, actions = seen["tick"]["question"] == TICK, self._first + self._scaling.choose(seen["tick"])
        if not at_ticks.all():
            actions[~at_ticks] = self._routing.choose(_of(seen["routing"], ~at_ticks))
        return actions

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the scores of the replicas, and minus their requests at ticks."""
        at_ticks, (found,) = seen["tick"]["question"] == TICK, self._scaling.preferences(seen["tick"])
        if not at_ticks.all():
            (found[~at_ticks],) = self._routing.preferences(_of(seen["routing"], ~at_ticks))
        return [found]


def _of(seen: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is seen of some runs."""
    return {name: table[rows] for name, table in seen.items()}
