"""E runs of a system side by side that stop where an agent decides: the tables that a kernel advances.

The scalar environment is one run, so scalar and vector cannot differ. No attribute is a view of another, so copies and
pickles keep working.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.payments import pay_leavers
from llmqueue_gym.engines.state import SKIP, START, STEP
from llmqueue_gym.engines.units import scale
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.rival import Rival
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import scene_of_observation
from llmqueue_gym.systems.varied import OPTIONS, Varied, changed
from llmqueue_gym.workloads.streams import Seeds

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

Report = tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]
PARTS = ("jobs", "system", "action_mask")  # of an observation, in the order in which kernels take them


class Episodes(ABC):
    """The state of E runs. A system's is a subclass: it makes its tables in `__init__`, after this one.

    Attributes:
        scenario: where they are played.
        view: what the agent sees and decides.
        observation_space: of one run.
        action_space: of one run.
        steps: `STEP` rows `(E,)`, what came of the last `advance`, in raw numbers.
        actions: `(E,)`, what the next `advance` does: an action, START or SKIP.
        observation: the buffers that kernels write, each with E as its first axis; see `shown`.
        in_units: whether kernels write them in the units of the agent, by `factors`; otherwise in raw numbers.
        factors: by which columns of jobs and of system are multiplied then, float32.
        unknown: what each of the `metrics` is before the end of an episode; no NaN, which `check_env` takes for chance.
    """

    in_units: ClassVar[bool] = False
    unknown: ClassVar[Mapping[str, Any]] = {"mean_response_time": 0.0, "jobs": 0}

    def __init__(self, scenario: "Scenario", view: Any, size: int):
        spaces: tuple[Any, Any] = view.spaces(scenario)
        self.scenario, self.view = scenario, view
        self.observation_space, self.action_space = spaces
        units = view.units(scenario)
        self.factors = tuple(1 / units[part] for part in PARTS[:2])
        # Of each number of a run; None where all are 1, as most often those of jobs where their mean size is one.
        self._factors: dict[str, np.ndarray | None] = dict.fromkeys(PARTS)
        for part, unit in units.items():
            if not self.in_units and (unit != 1).any():
                self._factors[part] = np.array(np.broadcast_to(1 / unit, spaces[0][part].shape))
        self._reward_unit, self._discount_time = view.reward_unit(scenario), float(view.discount_time)
        self._rival = Rival(scenario, view, size) if view.relative_to else None
        self._varied = None if view.vary is None else Varied(scenario, view.vary, view.part)
        self._taken = np.zeros(size, np.int64)
        self._shown: dict[str, np.ndarray] | None = None
        self._worth: np.ndarray | None = None
        if view.pays_leavers:
            n = int(scenario.n_jobs)
            self._worth, self._arrival = np.zeros((size, n)), np.full((size, n), np.inf)
            self._due = np.zeros((size, n if view.counts_missed else 0))
            self._paid, self._first_unpaid = np.zeros((size, n), bool), np.zeros(size, np.int64)
        self.steps = records(np.zeros(size, STEP))
        self.actions = np.full(size, SKIP, np.int64)
        self.observation: dict[str, np.ndarray] = {}
        for part in PARTS:
            space = self.observation_space[part]
            self.observation[part] = np.zeros((size, *space.shape), space.dtype)

    def begin(self, e: int, seed: int, **options: Any) -> None:
        """Lay out the episode of a seed in run `e`; the next `proceed` goes to its first decision.

        Args:
            e: the run.
            seed: of its jobs.
            options: fields of the scenario, of `OPTIONS`, that are otherwise in this episode.
        """
        for name in options:
            if name not in OPTIONS:
                raise BadInput(f"options have no {name!r}; {nearest(name, OPTIONS)}")
        self.begin_with(e, self.draw(seed, changed(self.scenario_of(seed), **options)))

    def scenario_of(self, seed: int) -> "Scenario":
        """Return the scenario of the episode of a seed, which is that of these runs unless it varies."""
        return self.scenario if self._varied is None else self._varied.of(seed)

    def begin_all(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Lay out the episodes of some seeds in as many runs, all at once where that gives the same; see `begin`."""
        drawn = self.draw_together(seeds) if len(rows) > 1 and self.together else None
        if drawn is not None:
            self.begin_with(np.array(rows), drawn)
            return
        for e, seed in zip(rows, seeds, strict=True):
            self.begin(e, seed)

    def begin_with(self, e: Any, drawn: Drawn) -> None:
        """Lay out an episode of this work in run `e`, or in several, whose tables have one more axis; see `begin`."""
        self.give(e, drawn)
        self.actions[e] = START
        if self._rival is not None:
            for run, part in zip(e, _apart(drawn), strict=True) if np.ndim(e) else [(e, drawn)]:
                self._rival.begin(run, part)
        if self._worth is not None:
            n = drawn.work.shape[-1]
            self._arrival[e] = np.inf
            self._arrival[e, :n], self._worth[e, :n] = drawn.work["arrival"], self.view.costs(drawn)
            if self.view.counts_missed:
                self._due[e, :n] = drawn.work["deadline"]

    def draw(self, seed: Any, scenario: "Scenario | None" = None) -> Drawn:
        """Return the work and the truth of a seed, of the scenario of these runs unless told otherwise."""
        return (scenario or self.scenario).draw(seed)

    def draw_together(self, seeds: Sequence[int]) -> Drawn | None:
        """Return the work and the truth of several seeds, in tables with one more axis in front; None if that fails.

        Not all laws, predictors and systems can do it; see `streams.Together`.
        """
        runs = len(seeds)
        try:
            flat = self.draw(Seeds(seeds))
            work, *truth = (t.reshape(runs, len(t) // runs, *t.shape[1:]) for t in (flat.work, *flat.truth.values()))
        except Exception:  # whatever it is, it is told again where each is drawn by itself
            return None
        return Drawn(work, dict(zip(flat.truth, truth, strict=True)))

    @cached_property
    def together(self) -> bool:
        """Whether runs that are drawn together are those that are drawn apart, which is found by trying."""
        seeds = range(3)
        alike = self.scenario.workload is None and self._varied is None
        drawn = self.draw_together(seeds) if alike else None
        if drawn is None or drawn.work.shape[1] != int(self.scenario.n_jobs):
            return False
        return all(_tables(one) == _tables(self.draw(seed)) for one, seed in zip(_apart(drawn), seeds, strict=True))

    @abstractmethod
    def give(self, e: Any, drawn: Drawn) -> None:
        """Write the work and its truth to the tables of run `e`, in which nothing has happened yet.

        Args:
            e: the run, or several `(B,)`, whose tables then have one more axis in front, `(B, n)`.
            drawn: what comes there.
        """

    @abstractmethod
    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision; write `steps` and `observation`."""

    def proceed(self) -> None:
        """Carry out `actions` as `advance` does, and pay what is paid when somebody leaves."""
        self.advance()
        if self._worth is not None:
            tables = self._arrival, self.completions(), self._worth, self._due, self._paid, self._first_unpaid
            pay_leavers(self.steps, self.actions, *tables)
        if self.view.max_episode_steps is not None:
            self._taken = np.where(self.actions == START, 0, self._taken + (self.actions != SKIP))
            self.steps["truncated"] |= (self._taken >= self.view.max_episode_steps) & ~self.steps["terminated"]
        if self._rival is not None:
            self._rival.advance(self.steps, self.actions)

    @abstractmethod
    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""

    @abstractmethod
    def completions(self) -> np.ndarray:
        """Return when each job left `(E, n)`, s; NaN for who has not."""

    @abstractmethod
    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for who has not left or does not exist."""

    def seen(self, e: int = 0) -> dict[str, Any]:
        """Return what the agent of the system reads at the decision of run `e`, in float64; it holds no truth."""
        return {name: buffer[e] for name, buffer in self.observation.items()}

    def scene(self, title: str) -> Scene:
        """Return what a frame of the first run shows."""
        return scene_of_observation(self, title)

    def metrics(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the mean response time (s; NaN if nobody has left) and how many have left, `(rows,)` each."""
        return summary(self.response_times()[rows])

    def shown(self, rows: Any) -> dict[str, np.ndarray]:
        """Return the observations of some runs, or of one, as the agent sees them, in fresh arrays."""
        shown = {}
        for part, factors in self._factors.items():
            raw = self.observation[part][rows]
            if factors is None:
                shown[part] = raw.copy()
            elif raw.ndim == factors.ndim:  # one run
                shown[part] = raw * factors
            else:
                shown[part] = _scaled(raw, factors, np.empty_like(raw))
        return shown

    def shown_in_place(self) -> dict[str, np.ndarray]:
        """Return the observations of all runs in arrays that the next call changes."""
        if self._shown is None:
            scaled = [part for part, factors in self._factors.items() if factors is not None]
            self._shown = {**self.observation, **{part: np.empty_like(self.observation[part]) for part in scaled}}
        for part, factors in self._factors.items():
            if factors is not None:
                _scaled(self.observation[part], factors, self._shown[part])
        return dict(self._shown)

    def rewards(self, raw: Any, dt: Any, rows: Any = slice(None)) -> tuple[Any, Any]:
        """Return rewards in their unit, and what the reward after each counts.

        With a `discount_time` what accrues in a step is discounted as if it did so evenly; the sum of rewards, each
        times the product of the discounts before it, is then the discounted return.

        Args:
            raw: what came in the step, or in each of E.
            dt: its duration, s.
            rows: which runs.
        """
        if self._rival is not None:
            raw = raw - self._rival.paid[rows]
        if self._discount_time == np.inf:
            return raw / self._reward_unit, 1.0
        gone = -np.expm1(-dt / self._discount_time)
        share = gone * self._discount_time / np.maximum(dt, 1e-300) + (dt == 0)
        return raw * share / self._reward_unit, 1.0 - gone

    def close(self, rows: Any) -> None:
        """Open all actions of runs that are over, so that a softmax over the open ones stays a number."""
        self.observation["action_mask"][rows] = 1

    def report(self, e: int) -> Report:
        """Return what `Env.step` returns of run `e`, in fresh arrays."""
        raw, dt, clock, in_system, illegal, terminated, truncated = self.steps.item(e)
        metrics = dict(self.unknown)
        if terminated or truncated:
            self.close(e)
            metrics = {name: values.item() for name, values in self.metrics(np.array([e])).items()}
        observation = self.shown(e)
        reward, discount = self.rewards(raw, dt, e)
        info = {
            "dt": dt,
            "clock": clock,
            "n_in_system": in_system,
            "action_mask": observation["action_mask"],
            "raw_reward": raw,
            "discount": discount,
            "illegal_action": illegal,
            "episode_metrics": metrics,
        }
        return observation, reward, terminated, truncated, info


def summary(response: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean `(rows,)` and the number of response times `(rows, n)` that are not NaN; NaN where there is none.

    These are the metrics of any kind of jobs.
    """
    left = ~np.isnan(response)
    total, jobs = np.where(left, response, 0.0).sum(axis=1), left.sum(axis=1)
    return {"mean_response_time": np.where(jobs > 0, total, np.nan) / np.maximum(jobs, 1), "jobs": jobs}


def _scaled(raw: np.ndarray, factors: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Write a part of observations in its units, and return it."""
    scale(raw.reshape(len(raw), -1), factors.ravel(), seen.reshape(len(raw), -1))
    return seen


def _apart(drawn: Drawn) -> Iterator[Drawn]:
    """Return the work and the truth of each of several runs."""
    for k, work in enumerate(drawn.work):
        yield Drawn(work, {name: table[k] for name, table in drawn.truth.items()})


def _tables(drawn: Drawn) -> dict[str, bytes]:
    """Return all numbers of a run."""
    return {name: np.asarray(table).tobytes() for name, table in {"work": drawn.work, **drawn.truth}.items()}
