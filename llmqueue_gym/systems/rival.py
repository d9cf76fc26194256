"""What a policy by hand is paid on the very jobs of an episode, which a relative reward takes off.

It depends on what comes and not on what the agent does, so the best agent stays the best, while most of the chance in a
reward cancels (Mao et al., "Variance Reduction for Reinforcement Learning in Input-Driven Environments", ICLR 2019).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.engines.payments import paid_by
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.run import Run

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


class Rival:
    """A policy that plays beside E runs, on the same jobs.

    Attributes:
        paid: `(E,)`, what it was paid in the time of the last step, in raw numbers.
    """

    def __init__(self, scenario: "Scenario", view: Any, size: int):
        self._scenario, self._view = scenario, replace(view, relative_to="", scaled=False)
        policy = view.policies(scenario)(view.relative_to)
        self._policy, self._per_job = policy, float(getattr(view, "per_job", 0.0))
        self._in_system = np.zeros(size, np.int64)
        knots = 2 * int(scenario.n_jobs) + 2
        self._times, self._values, self._slopes = (np.zeros((size, knots)) for _ in range(3))
        self._place, self._before, self.paid = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)

    def begin(self, e: int, drawn: Drawn) -> None:
        """Let it play the work of run `e`."""
        run, gives_up = self._played(drawn)
        arrival, costs = self._view.arrivals(drawn), self._view.costs(drawn)
        left = np.where(run.done, run.outcome["completion"], np.inf)
        lost = ~run.done
        if self._per_job:
            gone = gives_up[lost]
            times = np.concatenate([arrival, gone])
            jumps = self._per_job * np.where(np.arange(len(times)) < len(arrival), 1.0, -1.0)
            bends = np.zeros(len(times))
        elif self._view.pays_leavers:
            times, jumps, bends = left[run.done], -self._view.bill(drawn, left)[run.done], np.zeros(run.done.sum())
        else:
            left = np.minimum(left, gives_up) if "patience" in drawn.truth and not run.done.all() else left
            times, bends = np.concatenate([arrival, left]), np.concatenate([-costs, costs])
            # What it pays for predictions is spread over those who leave.
            jumps = np.where(np.arange(len(times)) < len(arrival), 0.0, -run.totals.get("price", 0.0) / len(arrival))
        order = times.argsort(kind="stable")
        times, jumps, bends = times[order], jumps[order], bends[order]
        known = np.isfinite(times)
        times, jumps, bends = times[known], jumps[known], bends[known]
        slopes, n = bends.cumsum(), len(times)
        grown = np.concatenate([[0.0], slopes[:-1] * np.diff(times)]) if n else jumps
        self._times[e], self._slopes[e] = np.inf, 0.0
        self._times[e, 0], self._values[e, 0] = -np.inf, 0.0
        self._times[e, 1 : n + 1], self._slopes[e, 1 : n + 1] = times, slopes
        self._values[e, 1 : n + 1] = (grown + jumps).cumsum()
        self._values[e, n + 1 :] = self._values[e, n]
        self._slopes[e, n] = 0.0 if n and abs(self._slopes[e, n]) < 1e-9 else self._slopes[e, n]
        self._place[e], self._before[e] = 0, 0.0

    def advance(self, steps: np.ndarray, actions: np.ndarray) -> None:
        """Let it go to the times of the runs.

        Where a job that is served pays, each counts as served on both sides from its arrival until it is lost. In all
        that comes to the same, as nobody is left at the end, but who sends a job away sees at once what it costs.
        """
        paid_by(steps, actions, self._times, self._values, self._slopes, self._place, self._before, self.paid)
        if self._per_job:
            more = np.where(actions == SKIP, 0, steps["in_system"] - self._in_system)
            self.paid -= np.where(actions == START, 0.0, self._per_job * more)
            self._in_system += more

    def _played(self, drawn: Drawn) -> tuple[Run, np.ndarray]:
        """Return its run, and when each job that it does not serve is lost `(n,)`, s.

        It plays in closed loop, or as an agent where only agents play by the rules of the view.
        """
        scenario, system, view = self._scenario, self._scenario.system, self._view
        gives_up = view.arrivals(drawn) + drawn.truth.get("patience", np.inf)
        if not view.own_rules:
            return system.simulate(drawn, self._policy, **scenario.facts(self._policy)), gives_up
        agent, alone = system.agent(self._policy, scenario, view), system.open(scenario, view, 1)
        slots = int(getattr(view, "slots", 0))
        alone.begin_with(0, drawn)
        alone.actions[0] = START
        alone.advance()
        while not (alone.steps["terminated"][0] or alone.steps["truncated"][0]):
            seen = alone.seen()
            action = alone.actions[0] = agent.choose(agent.look(seen))[0]
            if (
                getattr(view, "may_drop", False) and slots <= action < 2 * slots
            ):  # it is lost now, and not when it would be
                sent = np.searchsorted(drawn.work["arrival"], seen["waiting"]["arrival"][action - slots])
                gives_up[sent] = alone.steps["clock"][0]
            alone.advance()
        return alone.run(), gives_up
