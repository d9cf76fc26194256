"""Episodes of fleets whose replicas come and go: by a controller, as machines vanish, or as the agent says at ticks.

The kernels behind the latter are in `engines.fleet.scaling`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.engines.batching.tables import LIVELOCK
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.scaling import (
    HOUR,
    OF_FLEET,
    OF_REPLICA,
    bill,
    fresh_watch,
    observe_ticks,
    take_targets,
)
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.predictors.arrivals import ArrivalForecast
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.control import NEVER, Steering, noted, present
from llmqueue_gym.systems.fleet_view import SCALES, FleetEpisodes, FleetView
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.targets import targets_of
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


def opened(scenario: "Scenario", view: FleetView, size: int) -> FleetEpisodes:
    """Return E fleets of the kind that a scenario and a view ask for."""
    system: Any = scenario.system
    if view.decides in SCALES:
        return ScaledEpisodes(scenario, view, size)
    if system.steersman.name != "none" or system.spot or view.price:
        return SteeredEpisodes(scenario, view, size)
    return FleetEpisodes(scenario, view, size)


class ChangingEpisodes(FleetEpisodes):
    """Fleets whose replicas come and go, and are paid for while they are there."""

    def __init__(self, scenario: "Scenario", view: FleetView, size: int):
        super().__init__(scenario, view, size)
        each = len(self.fleet.forms)
        self._begins = {name: self.fleet.members[name][:each].copy() for name in ("role", "power")}
        self._owed = np.zeros(size)

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests; the machines that are to vanish are noted."""
        each = len(self.fleet.forms)
        for name, first in self._begins.items():
            self.fleet.members[name][e * each : (e + 1) * each] = first
        super().give(e, drawn)
        self.fleet = noted(self.fleet, drawn.truth.get("vanishing", NEVER), e)

    def proceed(self) -> None:
        """Carry out `actions` as `advance` does, and pay for the replicas; all until the first with the second."""
        super().proceed()
        if self.view.price > 0:
            bill(self.fleet, self.steps, self.actions, self._owed, float(self.view.price))

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far; `price` is what its replicas cost, in the unit of the reward."""
        run = super().run(e, player, elapsed)
        price = self.view.price * run.totals["on_time"] / HOUR
        return replace(run, totals={**run.totals, "price": price}) if self.view.price else run


class SteeredEpisodes(ChangingEpisodes):
    """Fleets with a controller at the helm, which is asked between two decisions of the agent."""

    def __init__(self, scenario: "Scenario", view: FleetView, size: int):
        super().__init__(scenario, view, size)
        self._unit = scenario.facts().get("unit")
        self._helm: list[Steering | None] = [None] * size

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests, and as many replicas on as the controller wants at first."""
        super().give(e, drawn)
        given = self.scenario.system, self.fleet, self.replica, self._course
        self._helm[e] = Steering(*given, drawn.truth.get("vanishing", NEVER), self._unit, e)

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far, and how often its controller switched."""
        helm, run = self._helm[e], super().run(e, player, elapsed)
        return run if helm is None else helm.noted_in(run)

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision; ask the controllers on the way."""
        actions = self.actions
        super().advance()
        while (rows := np.flatnonzero((self.asks == tables.TICK) & (actions != SKIP))).size:
            for e in rows.tolist():
                helm: Any = self._helm[e]
                helm.f, helm.r = self.fleet, self.replica
                helm.tick()
            again = np.full_like(actions, SKIP)
            again[rows] = tables.RESUME
            self._step(again)
        begun = actions == START  # what was before the first decision is paid with the second
        self.steps["reward"][begun] = self._billed[begun] = 0.0


class ScaledEpisodes(ChangingEpisodes):
    """Fleets in which the agent says at ticks how many replicas are on in each role.

    Attributes:
        watch: what has been seen at ticks.
        targets: replicas by role `(n, 3)`, of the actions from `first` on.
        first: the first action that is taken at ticks.
    """

    def __init__(self, scenario: "Scenario", view: FleetView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        self._course["tick"] = system.tick
        self.targets = targets_of(system)
        self.first = int(self.action_space.n) - len(self.targets)
        self.watch = fresh_watch(size, len(self.fleet.forms))
        self._patience = system.bound_rules.patience
        jobs, fleet = list(view.jobs), list(view.system)
        places = (np.array([names.index(one) for one in of]) for names, of in ((jobs, OF_REPLICA), (fleet, OF_FLEET)))
        self._places = tuple(places)
        self._forecast = ArrivalForecast(view.ahead or system.start_up + system.tick, float(view.forecast_error))

    def draw(self, seed: Any, scenario: "Scenario | None" = None) -> Drawn:
        """Return the requests of a seed, and what is predicted at ticks of how many come."""
        drawn = super().draw(seed, scenario)
        told = self._forecast.predict(
            drawn.work["arrival"], float(self._course["tick"]), stream(seed, "fleet.forecast")
        )
        return Drawn(drawn.work, {**drawn.truth, "forecast": told})

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests."""
        super().give(e, drawn)
        watch, told = self.watch, drawn.truth["forecast"]
        if (more := len(told) - watch.forecast.shape[1]) > 0:
            watch = self.watch = watch._replace(forecast=np.pad(watch.forecast, ((0, 0), (0, more)), "edge"))
        watch.forecast[e, : len(told)], watch.forecast[e, len(told) :] = told, told[-1]
        each = len(self.fleet.forms)
        for name in ("arrived", "made", "barren"):
            getattr(watch, name)[e] = 0
        for name in ("done", "batch_time"):
            getattr(watch, name)[e * each : (e + 1) * each] = 0
        watch.ticks[e] = -1  # the first is number 0
        watch.asked[e] = np.bincount(self._begins["role"], minlength=3)

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        f, r, watch, actions, mask = self.fleet, self.replica, self.watch, self.actions, self.observation["action_mask"]
        take_targets(f, r, watch, self.asks, actions, mask, self.targets, self.first, self._course)
        begun = actions == START
        if begun.any():  # the first decision is before anything happens
            self.asks[begun] = tables.TICK
            self._billed[begun] = 0.0
            self.steps[begun] = np.zeros(1, self.steps.dtype)
            self._step(np.where(begun, SKIP, actions))
        else:
            self._step(actions)
        observe_ticks(
            *(f, r, watch, self.steps, self.asks, actions, *self.observation.values(), *self.factors, *self._places),
            *(self.first, self.view.decides == "scale"),
        )
        self._end_where_nothing_comes()

    def _end_where_nothing_comes(self) -> None:
        """Truncate runs in which nobody has come or got a token for too many ticks, as a controller's; see `Steering`.

        So it is where an agent leaves those off who alone could serve the first that waits.
        """
        if self.watch.barren.max() > self._patience:
            over = (self.watch.barren > self._patience) & (self.asks == tables.TICK) & (self.actions != SKIP)
            self.fleet.fleet["reason"][over], self.asks[over] = LIVELOCK, tables.OVER
            self.steps["truncated"][over] = True

    def seen(self, e: int = 0) -> Mapping[str, Any]:  # type: ignore[override]
        """Return what a router sees of the request in question, and at a tick what a controller does."""
        each, watch = len(self.fleet.forms), self.watch
        mine = slice(e * each, (e + 1) * each)
        told = {name: getattr(watch, name)[e] for name in ("ticks", "arrivals", "prompts", "outputs", "asked")}
        told |= {name: getattr(watch, name)[mine] for name in ("ended", "busy")}
        told |= {
            **present(self.fleet, self.replica, mine),
            "held": self.fleet.fleet["held"][e],
            "question": self.asks[e],
        }
        if self.view.decides == "scale":
            return told
        asked = super().seen(e)
        return {**asked, "mask": asked["mask"][:each], "tick": told}
