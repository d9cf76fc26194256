"""Several models opened for an agent: the call that is asked about, what each model has, and the state of E systems."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines import choosing
from llmqueue_gym.engines.choosing_steps import look, step_batch
from llmqueue_gym.requests import CALL, MODEL
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.job_episodes import JobEpisodes
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import choice_scene
from llmqueue_gym.systems.view import RESPONSE_TIME, Column, Columns, Cost, View, check_counts

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

PER_CALL = ("prompt", "win", "luck")
PER_ANSWER = ("tokens", "right", "quality", "verified", "feedback")
TOTALS = ("price", "spent", "clock")


@dataclass(frozen=True, kw_only=True)
class ChoiceView(View):
    """What an agent sees and decides: which model a call goes to, and whether one more is asked.

    Attributes:
        at_once: models that can be asked when a call comes; it is asked for one after another, at the same time.
    """

    jobs: ClassVar[Columns] = {  # a row is a model, the weakest first
        "quality": Column("chance that it answers the call rightly, as predicted"),
        "tokens": Column("output that it would take, as predicted", "tokens"),
        "price": Column("of the call, USD, as predicted", "usd"),
        "wait": Column("until it would begin, s, as predicted", "s"),
        "service": Column("from then on, s, as predicted", "s"),
        "asked": Column("1 where it has been asked for this call"),
        "trials": Column("answers to calls of this kind of which the user has said something", "calls"),
        "reward": Column("share of them that the user called right"),
        "taken": Column("share of its seats that are taken"),
        "waiting": Column("calls without a seat", "calls"),
    }
    system: ClassVar[Columns] = {
        "answered": Column("1 where the call has an answer and it is asked whether that is enough"),
        "verified": Column("chance that its best answer so far is right, as verified; 0 before the first"),
        "asked": Column("models that were asked for it so far"),
        "prompt": Column("its prompt, tokens", "tokens"),
        "win": Column("chance that the strongest model is right and the weakest is not, as predicted"),
        "klass": Column("its kind"),
        "luck": Column("a number in [0, 1) of the call, for rules that leave something to chance"),
        "time_in_system": Column("since its arrival, s", "s"),
        "weight": Column("its cost per second in system"),
        "load": Column("share of all seats that are taken"),
        "spent": Column("on a call so far, of all calls, USD", "usd"),
        "calls": Column("that came before this one", "calls"),
        "since_decision": Column("since the last decision, s", "s"),
    }
    actions: ClassVar[str] = (
        "the model that is asked; or one more than there are: enough, once one was asked. One that is not open stands "
        "for the first that is"
    )
    rewards: ClassVar[Mapping[str, Cost]] = RESPONSE_TIME  # prices are in s of response time
    paid: ClassVar[Mapping[str, str]] = {}

    at_once: int = 1

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_counts(self, "at_once")

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`: the models."""
        return len(scenario.system.served)  # type: ignore[attr-defined]

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the models, and one more."""
        return self.n_slots(scenario) + 1


class ChoiceEpisodes(JobEpisodes):
    """The state of E systems.

    Attributes:
        states: `CHOOSING_STATE` rows `(E,)`.
        told: `TOLD` rows `(E, n)`.
        lots: `LOT` rows `(E, n, m)`.
        copies: `COPY` rows `(E, n, m)`.
        called: `CALLED` rows `(E, n)`.
        stations: `STATION` rows `(E, m)`.
        seats: `SEAT` rows `(E, seats)`.
        tally: `TALLY` rows `(E, kinds, m)`.
    """

    in_units = True

    def __init__(self, scenario: "Scenario", view: ChoiceView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        n, m, kinds = int(scenario.n_jobs), len(system.served), system.kinds(scenario)
        self.states, self.stations = records(beginning(size)), records(no_lines(size, m))
        self.told, self.lots = (
            records(np.zeros((size, n), choosing.TOLD)),
            records(np.zeros((size, n, m), choosing.LOT)),
        )
        self.copies, self.called = records(np.zeros((size, n, m), choosing.COPY)), records(no_answers(size, n))
        self.seats = records(np.zeros((size, int(system.serving["seats"].sum())), choosing.SEAT))
        self.tally = records(np.zeros((size, kinds, m), choosing.TALLY))
        self.outcome = records(np.tile(choosing.answer_table(n), (size, 1)))
        self._nothing = choosing.answer_table(n).view(np.int64)
        self._fresh = beginning()[0], no_lines(m), no_answers(n)
        self.serving, self.terms = records(np.array(system.serving)), records(system.terms)
        self.call, self.models = records(np.zeros(1, CALL)), records(np.zeros(m, MODEL))

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these calls, at models where nobody is."""
        super().give(e, drawn)
        n = drawn.work.shape[-1]
        self.states[e], self.stations[e], self.called[e] = self._fresh
        words, lots = told_of(drawn).view(np.float64), lots_of(drawn).view(np.float64)
        self.told.view(np.float64)[e, : words.shape[-1]] = words
        self.lots.view(np.float64)[e, :n] = lots
        self.copies["status"][e] = choosing.NOT
        self.tally["trials"][e], self.tally["praised"][e] = 0, 0.0

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.told, self.lots, self.copies),
            *(self.called, self.outcome, self.stations, self.seats, self.serving, self.tally, self.terms[0]),
            *(self.call[0], self.models, self.actions, *self.observation.values(), *self.factors),
            *(int(self.view.at_once), float(self.view.horizon)),
        )

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        return replace(super().run(e, player, elapsed), totals=totals_of(self.states[e]))

    def seen(self, e: int = 0) -> dict[str, Any]:
        """Return the `CALL` record `(1,)`, the `MODEL` rows `(1, m)`, and whether the call has an answer `(1,)`."""
        state = self.states[e]
        call, models = np.zeros(1, CALL), np.zeros(len(self.serving), MODEL)
        answered = False
        if state["asked"] >= 0:
            tables = (self.jobs, self.told, self.lots, self.copies, self.called, self.stations, self.seats)
            fixed = self.serving, self.tally[e], self.terms[0], records(call)[0], records(models)
            look(state, *(table[e] for table in tables), *fixed)
            answered = bool(self.called["best"][e, state["asked"]] >= 0)
        return {"call": call, "models": models[None], "answered": np.array([answered])}

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return choice_scene(self, title)


def told_of(drawn: Drawn) -> np.ndarray:
    """Return `TOLD` rows `(..., n)`."""
    table = np.zeros(drawn.work.shape, choosing.TOLD)
    for column, name in zip(PER_CALL, ("prompts", "win", "luck"), strict=True):
        table[column] = drawn.truth[name]
    return table


def lots_of(drawn: Drawn) -> np.ndarray:
    """Return `LOT` rows `(..., n, m)`."""
    table = np.zeros(drawn.truth["tokens"].shape, choosing.LOT)
    for name in PER_ANSWER:
        table[name] = drawn.truth[name]
    return table


def beginning(n: int = 1) -> np.ndarray:
    """Return states `(n,)` of systems to which nobody has come."""
    state = np.zeros(n, choosing.CHOOSING_STATE)
    state["asked"] = -1
    return state


def no_lines(*shape: int) -> np.ndarray:
    """Return `STATION` rows of models at which nobody is."""
    stations = np.zeros(shape, choosing.STATION)
    stations["head"] = stations["last"] = -1
    return stations


def no_answers(*shape: int) -> np.ndarray:
    """Return `CALLED` rows of calls that nobody has answered."""
    called = np.zeros(shape, choosing.CALLED)
    called["best"] = -1
    return called


def totals_of(state: np.ndarray) -> dict[str, float]:
    """Return the sums over a run, from its `CHOOSING_STATE`."""
    return {name: float(state[name]) for name in TOTALS}
