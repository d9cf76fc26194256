"""One server on which predictions cost, opened for an agent: what it sees and decides, and the state of E servers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.predicting import TERMS, fresh
from llmqueue_gym.engines.predicting_steps import step_batch
from llmqueue_gym.engines.state import HEAP
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import STAGE
from llmqueue_gym.policies.predicting.base import check_edges
from llmqueue_gym.predictors.cost import WHERE, PredictorCost
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.job_episodes import JobEpisodes
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import predict_scene
from llmqueue_gym.systems.view import RESPONSE_TIME, Column, Columns, Cost, SlotView, check_positive

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

KINDS = ("none", "cheap", "expensive", "profile")  # what can be predicted of a job, by the codes of stages


@dataclass(frozen=True, kw_only=True)
class PredictView(SlotView):
    """What an agent sees and decides: what is predicted of whom, and who is served.

    Attributes:
        pause: age at which the agent is asked once more what comes next for a job, s.
        edges: of the classes that the cheap prediction tells apart, s, ascending.
    """

    jobs: ClassVar[Columns] = {
        "present": Column("1 where the slot holds a job that can be served"),
        "predicted": Column("predicted size, s; 0 until it has been bought", "s"),
        "age": Column("service received so far, s", "s"),
        "time_in_system": Column("since its arrival, s", "s"),
        "weight": Column("cost per second in system, 1 unless the workload says otherwise"),
        "in_service": Column("1 where it ran last and its stage is not over"),
        "kind": Column("what the server would do for it: 0 serve, 1 predict cheaply, 2 expensively, 3 profile"),
        "done": Column("how much of that it has had, s", "s"),
        "cheap": Column("1 + its class by the cheap prediction; 0 until that has been bought"),
        "sized": Column("1 where its size has been predicted"),
        "coin": Column("a number in [0, 1) of the job alone, for policies that leave something to chance"),
    }
    system: ClassVar[Columns] = {
        "in_system": Column("number of jobs in system", "slots"),
        "unseen": Column("how many of them are in no slot", "slots"),
        "predicting": Column("how many of them wait for a prediction or are being predicted", "slots"),
        "since_decision": Column("since the last decision, s", "s"),
        "asked": Column("1 where it is asked what comes next for a job, whose columns these are; else they are 0"),
        "asked_predicted": Column("its predicted size, s", "s"),
        "asked_age": Column("its service so far, s", "s"),
        "asked_time_in_system": Column("since its arrival, s", "s"),
        "asked_weight": Column("its cost per second in system"),
        "asked_cheap": Column("1 + its class by the cheap prediction; 0 until that has been bought"),
        "asked_sized": Column("1 where its size has been predicted"),
        "asked_coin": Column("its number in [0, 1)"),
    }
    actions: ClassVar[str] = (
        "the slot of the job to serve; or, where it is asked what comes next for a job, behind all slots: none, which "
        "serves it, cheap, expensive, and where the costs have one profile. One that is not open stands for the first "
        "that is"
    )
    rewards: ClassVar[Mapping[str, Cost]] = RESPONSE_TIME  # prices are in s of response time
    paid: ClassVar[Mapping[str, str]] = {}

    pause: float = np.inf
    edges: tuple[float, ...] = (1.0,)

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_positive(self, "pause", infinite=True)
        if not isinstance(self.edges, (tuple, list)) or not all(isinstance(edge, (int, float)) for edge in self.edges):
            raise BadInput(f"edges={self.edges!r} must be numbers, as in (1.0,)")
        check_edges("the view", tuple(self.edges))

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the number of slots, and what can be predicted."""
        return int(self.slots) + len(kinds_of_prediction(scenario.system.costs))  # type: ignore[attr-defined]


def kinds_of_prediction(costs: PredictorCost) -> tuple[str, ...]:
    """Return what an agent can let be predicted at these costs."""
    return KINDS if costs.profile > 0 else KINDS[:-1]


def terms_of(costs: PredictorCost, pause: float) -> np.ndarray:
    """Return the `TERMS` record `(1,)` of what predictions cost."""
    terms = np.zeros(1, TERMS)
    terms["where"], terms["speed"], terms["pause"] = WHERE.index(costs.where), 1 - costs.slow, pause
    for name in ("cheap", "expensive", "profile"):
        terms[name] = getattr(costs, name)
    return terms


def hidden_of(drawn: Drawn, edges: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return what can be bought of each job `(..., n, 2)`, predicted size and class; and `STAGE` rows `(..., n)`."""
    classes = np.searchsorted(np.array(edges, dtype=float), drawn.truth["cheap"], side="left")
    stages = np.zeros(drawn.work.shape, STAGE)
    stages["coin"] = drawn.truth["coin"]
    return np.stack([drawn.truth["predictions"], classes.astype(float)], axis=-1), stages


def totals_of(state: np.ndarray) -> dict[str, float]:
    """Return what was bought in a run, from its `PREDICTING_STATE`."""
    names = {"cheap": "bought_cheap", "expensive": "bought_expensive", "profiled": "profiled", "price": "price"}
    return {name: float(state[column]) for name, column in names.items()} | {"arrived": float(state["arrived"])}


class PredictEpisodes(JobEpisodes):
    """The state of E servers.

    Attributes:
        states: `PREDICTING_STATE` rows `(E,)`.
        stages: `STAGE` rows `(E, n)`.
        hidden: `(E, n, 2)`, the predicted size, s, and the class by the cheap prediction, which can be bought.
        live: `(E, n)`, rows of those who can be served, the earliest first.
        pending: `HEAP` rows `(E, n)`, those at servers of predictions alone.
        free_at: `(E, k)`, s, when each of these is free.
    """

    def __init__(self, scenario: "Scenario", view: PredictView, size: int):
        super().__init__(scenario, view, size)
        n, costs = int(scenario.n_jobs), scenario.system.costs  # type: ignore[attr-defined]
        self.states, self.stages = records(fresh(size)), records(np.zeros((size, n), STAGE))
        self.hidden, self.live = np.zeros((size, n, 2)), np.zeros((size, n), np.int64)
        away = n if costs.where == WHERE[-1] else 1
        self.pending, self.free_at = records(np.zeros((size, away), HEAP)), np.zeros((size, int(costs.servers)))
        self.terms = records(terms_of(costs, float(view.pause)))
        self._fresh = fresh()[0]

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these jobs, of which nothing is predicted."""
        super().give(e, drawn)
        n = drawn.work.shape[-1]
        self.states[e] = self._fresh
        hidden, stages = hidden_of(drawn, tuple(self.view.edges))
        self.hidden[e, :n], self.free_at[e] = hidden, 0.0
        words = stages.view(np.uint8)  # records would be copied column by column
        self.stages.view(np.uint8)[e, : words.shape[-1]] = words

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(
            *(self.states, self.steps, self.n_jobs, self.jobs, self.stages, self.hidden, self.truth, self.outcome),
            *(self.live, self.pending, self.free_at, self.terms[0], self.actions, *self.observation.values()),
            float(self.view.horizon),
        )

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        return replace(super().run(e, player, elapsed), totals=totals_of(np.array(self.states[e])))

    def seen(self, e: int = 0) -> dict[str, Any]:
        """Return `JOB` and `STAGE` rows of those in the slots, and of the job that is asked about `(1,)`, if one is."""
        state = self.states[e]
        rows, asked = self.live[e, : min(self.view.slots, int(state["here"]))], int(state["asked"])
        one = np.arange(asked, asked + 1) if asked >= 0 else np.zeros(0, np.int64)
        told = {"jobs": self.jobs[e, rows], "stages": np.array(self.stages[e, rows])}
        about = {"asked": self.jobs[e, one], "asked_stage": np.array(self.stages[e, one])}
        for stages in (told["stages"], about["asked_stage"]):
            stages["in_system"], stages["predicting"] = state["in_system"], state["predicting"]
        return {**told, **about}

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return predict_scene(self, title)
