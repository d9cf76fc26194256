"""Speculative decoding opened for an agent: the request whose draft is due, and the state of E replicas."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines import speculating
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.engines.speculating_steps import step_batch
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.job_episodes import JobEpisodes
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import speculative_scene
from llmqueue_gym.systems.view import Column, Columns, Group, View, check_flags

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

TOTALS = ("steps", "verified", "drafted", "tried", "accepted", "seconds", "clock")


@dataclass(frozen=True, kw_only=True)
class SpeculativeView(View):
    """What an agent sees and decides: how many tokens a request drafts next.

    Attributes:
        each: whether each request has a draft of its own, or all of a step get that of the first.
    """

    jobs: ClassVar[Columns] = {  # the request whose draft is due
        "present": Column("1, or 0 where no draft is due any more"),
        "predicted": Column("predicted output, tokens", "tokens"),
        "age": Column("output so far, tokens", "tokens"),
        "time_in_system": Column("since its arrival, s", "s"),
        "weight": Column("its cost per second in system"),
        "told": Column("chance that its drafts are accepted, as predicted when it came"),
        "tried": Column("its draft tokens that were looked at so far, up to the first refused one of each draft"),
        "accepted": Column("how many of them were accepted"),
    }
    system: ClassVar[Columns] = {
        "batch": Column("requests in the seats", "seats"),
        "waiting": Column("requests without a seat", "seats"),
        "tried": Column("draft tokens of all requests that were looked at so far", "tried"),
        "accepted": Column("how many of them were accepted", "tried"),
        "since_decision": Column("since the last decision, s", "s"),
    }
    actions: ClassVar[str] = "the tokens of the next draft of the request, from 0 on"
    graded: ClassVar[bool] = True

    each: bool = True

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_flags(self, "each")

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        scales = super().scales(scenario)
        return {**scales, "tried": scales["tokens"] * int(scenario.n_jobs)}

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`: the request in question."""
        return 1

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the lengths of drafts that there are."""
        return int(scenario.system.most) + 1  # type: ignore[attr-defined]

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return the request in question, among which nobody is chosen."""
        return (Group(0, 1),)


class SpeculativeEpisodes(JobEpisodes):
    """The state of E replicas.

    Attributes:
        states: `SPECULATING_STATE` rows `(E,)`.
        held: `SEATED` rows `(E, seats)`.
        told: `(E, n)`, predicted chances of acceptance.
        chances: `(E, n)`, the true ones.
        luck: `(E, m)`, a number for each output token; wider where an episode has more of them.
        first: `(E, n + 1)`, where those of each request begin.
    """

    in_units = True

    def __init__(self, scenario: "Scenario", view: SpeculativeView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        n = int(scenario.n_jobs)
        self.states = records(np.zeros(size, speculating.SPECULATING_STATE))
        self.states["asked"], self.states["drafting_until"], self.states["busy_until"] = -1, np.inf, np.inf
        self._fresh = self.states[0].copy()
        self.held = records(np.zeros((size, int(system.seats)), speculating.SEATED))
        self.told, self.chances, self.first = np.zeros((size, n)), np.zeros((size, n)), np.zeros((size, n + 1), int)
        self.luck, self.shape = np.zeros((size, 1)), np.array(system.law_of_acceptance.shape)
        self.terms, self.batch = records(system.terms), records(np.zeros(1, BATCH))
        self.draft = records(system.seen)
        self.numbers = system.cost_profile.numbers

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests."""
        super().give(e, drawn)
        truth, n, tokens = drawn.truth, drawn.work.shape[-1], drawn.truth["luck"].shape[-1]
        self.states[e] = self._fresh
        self.told[e, :n], self.chances[e, :n], self.first[e, : n + 1] = (
            truth["told"],
            truth["acceptance"],
            truth["first"],
        )
        if tokens > self.luck.shape[1]:
            wider = np.zeros((len(self.luck), tokens + tokens // 4))
            wider[:, : self.luck.shape[1]] = self.luck
            self.luck = wider
        self.luck[e, :tokens] = truth["luck"]

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        tables = self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.told, self.outcome, self.held
        chance = self.luck, self.first, self.chances, self.shape
        fixed = self.terms[0], self.numbers, self.batch[0], self.draft[0]
        shown = self.actions, *self.observation.values(), *self.factors
        step_batch(*tables, *chance, *fixed, *shown, bool(self.view.each), float(self.view.horizon))

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        return replace(super().run(e, player, elapsed), totals=totals_of(self.states[e]))

    def seen(self, e: int = 0) -> dict[str, Any]:
        """Return the `JOB` row `(1,)` and the `DRAFT` record `(1,)` of the request whose draft is due."""
        state, draft = self.states[e], np.array(self.draft)
        place = int(state["asked"])
        row = int(self.held[e, max(place, 0)]["row"])
        for name, value in (("told", self.told[e, row]), ("all_tried", state["tried"]), ("batch", state["taken"])):
            draft[name] = value
        draft["all_accepted"], draft["waiting"] = state["accepted"], state["arrived"] - state["begun"]
        for name in ("tried", "accepted"):
            draft[name] = self.held[e, max(place, 0)][name]
        return {"job": np.array(self.jobs[e, row : row + 1]), "draft": draft}

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return speculative_scene(self, title)


def totals_of(state: np.ndarray) -> dict[str, float]:
    """Return the sums over a run, from its `SPECULATING_STATE`."""
    return {name: float(state[name]) for name in TOTALS}
