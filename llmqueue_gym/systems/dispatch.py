"""Many servers with a queue each: an arrival is sent to one of them for good, and served there in a given order.

An agent sends every arrival: it sees all queues or some that are drawn at random, with predicted work. With `sees=2` it
is the supermarket model with predictions (Mitzenmacher and Dell'Amico, arXiv 1905.12155).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines import dispatch
from llmqueue_gym.engines.dispatch_steps import SENT, idle_sites, step_batch
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.jobs import QUEUE, outcome_table
from llmqueue_gym.policies import policy as queue_policy
from llmqueue_gym.policies.base import Policies, Policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES, DispatchPolicy
from llmqueue_gym.policies.dispatch.fewest_jobs import join_shortest_queue, power_of_d
from llmqueue_gym.systems import theorems
from llmqueue_gym.systems.agents.dispatch import DispatchAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.central import RESOLUTION, SHAPES
from llmqueue_gym.systems.job_episodes import JobEpisodes
from llmqueue_gym.systems.job_system import Servers, tables_of
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import queues_scene
from llmqueue_gym.systems.view import Column, Columns, Group, View, check_counts, check_positive
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# Ranks a * predicted - b * age of the orders that a step can serve in without a pointer to compiled code.
STEP_ORDERS: dict[str, tuple[float, float]] = {
    "fcfs": (0.0, 0.0),
    "spjf": (1.0, 0.0),
    "pspjf": (1.0, 0.0),
    "sprpt": (1.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class DispatchView(View):
    """What an agent sees. Once all jobs have been sent an episode runs to its end, since nothing is left to decide.

    The horizon is looked at when a job arrives.

    Attributes:
        sees: queues drawn at random that an arrival can see and join; None for all.
        split: s; the agent sees how many waiting jobs are predicted on the same side of it as the arrival.
    """

    jobs: ClassVar[Columns] = {  # the visible queues; where all are visible, row s is server s, the fastest first
        "present": Column("1: every row holds a queue"),
        "jobs": Column("jobs in the queue, the one in service included"),
        "work": Column("sum of their predicted sizes, s", "s"),
        "left": Column("the same, less what they have received, s; a job that outlives its prediction has 0", "s"),
        "alike": Column("waiting jobs predicted on the same side of split as the arrival"),
        "speed": Column("s of service per s"),
        "index": Column("number of the server", "servers"),
    }
    system: ClassVar[Columns] = {
        "predicted": Column("predicted size of the job that has arrived, s; 0 when all have left", "s"),
        "weight": Column("its cost per second in system; likewise"),
        "in_system": Column("jobs in system with it", "servers"),
        "unseen": Column("how many of them are in queues that are not visible", "servers"),
        "since_decision": Column("since the last decision, s", "s"),
        "tie": Column(
            "where all queues are visible, a number in [0, 1) that policies choose by among equal ones; else 0"
        ),
    }
    actions: ClassVar[str] = "the row of the queue that the job joins for good; every row is open"

    sees: int | None = None
    split: float = np.inf

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_positive(self, "split", infinite=True)
        system: Any = scenario.system
        if self.sees is not None:
            check_counts(self, "sees")
            if self.sees > system.servers:
                hint = f"choose 1 to {system.servers}, or None for all of them"
                raise BadInput(f"sees={self.sees} queues of {system.servers}; {hint}")
        if str(system.order) not in STEP_ORDERS:
            order, known = str(system.order), "environments serve their queues in fewer orders"
            raise BadInput(f"order={order!r}: {known}; {nearest(order, STEP_ORDERS)}")

    def n_slots(self, scenario: "Scenario") -> int:
        """Return how many queues an arrival sees."""
        return int(scenario.system.servers if self.sees is None else self.sees)  # type: ignore[attr-defined]

    n_actions = n_slots

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return the queues, of which few are worth a look beside the first."""
        return (Group(0, self.n_slots(scenario), 0, 3),)


@dataclass(frozen=True)
class Dispatch(Servers):
    """A queue for each server.

    Attributes:
        order: of the jobs in each queue, a policy of one server. By default the one that Mitzenmacher and Dell'Amico
            (arXiv 1905.12155) find best most often.
    """

    name: ClassVar[str] = "dispatch"
    title: ClassVar[str] = "A queue for each server"
    policies: ClassVar[Policies] = DISPATCH_POLICIES
    view: ClassVar[type[View]] = DispatchView
    covered: ClassVar[str] = (
        "random with any order; with fcfs and exponential sizes round-robin and power-of-d; on equal servers"
    )
    base: ClassVar[str] = "random"
    usual: ClassVar[int] = 10
    unnamed: ClassVar[Mapping[str, str]] = {"dispatch": "policy", "policy": "order"}
    run_length: ClassVar[int] = 1_000_000

    order: str | Policy = "sprpt"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.discipline  # a wrong part is found here, not at the first run

    @cached_property
    def discipline(self) -> Policy:
        """The order inside a queue, as a policy."""
        return queue_policy(self.order)

    def check(self, scenario: "Scenario") -> None:
        """Refuse an order that cannot be computed here."""
        super().check(scenario)
        self.discipline.params_for(**self.facts(scenario, self.discipline))

    def predictor(self, scenario: "Scenario", policy: Any = None) -> Any:
        """Return the predictor that the dispatcher and the order get: that of either, if it brings one along."""
        brings = policy if policy is not None and policy.predictor is not None else self.discipline
        return super().predictor(scenario, brings)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs, their sizes, the `choices` `(n, d)` that a policy has (d = 0: all), and `ties` `(n,)`."""
        jobs, truth = super().draw(scenario, seed, policy)
        n = len(jobs)
        looks = "all" if policy is None else policy.looks
        choices = np.zeros((n, 0), np.int64)
        if policy is not None:
            choices = policy.choices(n, self.servers, stream(seed, "choices"))
        ties = stream(seed, "ties").random(n) if looks == "all" else np.zeros(n)
        return Drawn(jobs, {**truth, "choices": choices, "ties": ties})

    def simulate(self, drawn: Drawn, policy: DispatchPolicy, **facts: Any) -> Run:
        """Send every job to a queue and run it to its completion there."""
        order = self.discipline
        (rank,), params = order.compiled(), order.params_for(**facts)
        (score,), numbers = policy.compiled(), policy.params_for(**{"speeds": self.server_speeds, **facts})
        jobs, sizes = tables_of(drawn)
        choices, ties = drawn.truth["choices"], drawn.truth["ties"]
        traits = (order.preemptive, SHAPES[order.shape], order.lcfs_up_to, RESOLUTION, float(sizes.mean()))

        def play(n: int) -> tuple[np.ndarray, np.ndarray, float]:
            table, outcome, links = jobs[:n].copy(), outcome_table(n), np.zeros(n, np.int64)
            tables = (records(table), sizes[:n], records(outcome), links, records(idle_sites(self.server_speeds)))
            scratch = (records(np.zeros(1, QUEUE)), np.zeros(self.servers))
            draws = (choices[:n], ties[:n])
            start = time.perf_counter()
            dispatch.simulate(*tables, *scratch, *draws, score, numbers, policy.split, rank, params, *traits)
            return table, outcome, time.perf_counter() - start

        play(1)  # the first call in a process loads or compiles the kernel
        jobs, outcome, elapsed = play(len(jobs))
        policy.refuse_failure(numbers, jobs)
        order.refuse_failure(params, jobs)
        return Run(policy.name, jobs, sizes, outcome, elapsed, self)

    def known(self, scenario: "Scenario", policy: DispatchPolicy) -> list[Row]:
        """Return exact values, limits and bounds."""
        return theorems.dispatch(policy, scenario)

    def open(self, scenario: "Scenario", view: Any, size: int) -> "DispatchEpisodes":
        """Return E clusters."""
        return DispatchEpisodes(scenario, view, size)

    def agent(self, policy: DispatchPolicy, scenario: "Scenario", view: Any) -> DispatchAgent:
        """Return the agent that joins the queue of least score."""
        return DispatchAgent(policy, scenario, view)


class DispatchEpisodes(JobEpisodes):
    """The state of E clusters of k servers; an arrival sees d queues, or all where d = 0.

    Attributes:
        states: `SENT` rows `(E,)`.
        links: `(E, n)`, see `engines.dispatch`.
        sites: `SITE` rows `(E, k)`.
        times: `(E, 2 k)`, s, see `engines.dispatch_steps`.
        choices: `(E, n, d)`, the servers that each job sees.
        ties: `(E, n)`, numbers in [0, 1) with which a policy may choose among equal queues.
        queues: `QUEUE` rows `(E, visible)`, what is seen at the present decision, in float64.
    """

    in_units = True

    def __init__(self, scenario: "Scenario", view: DispatchView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        n, servers, order = int(scenario.n_jobs), int(system.servers), system.discipline
        self.states, self.links = records(np.zeros(size, SENT)), np.zeros((size, n), np.int64)
        self.sites = records(np.tile(idle_sites(system.server_speeds), (size, 1)))
        self.times = np.full((size, 2 * servers), np.inf)
        self.choices = np.zeros((size, n, int(view.sees or 0)), np.int64)
        self.ties = np.zeros((size, n))
        self.queues = records(np.zeros((size, view.n_slots(scenario)), QUEUE))
        self.observation["action_mask"][:] = 1
        self._idle = idle_sites(system.server_speeds)
        # An agent sees what a policy that looks at so many queues would see.
        self._looks = join_shortest_queue() if view.sees is None else power_of_d(view.sees)
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.outcome, self.links, self.sites),
            *(self.times, self.choices, self.ties, self.queues, self.actions, self.observation["jobs"]),
            *(self.observation["system"], *self.factors, np.array(STEP_ORDERS[str(system.order)]), float(view.split)),
            *(order.preemptive, SHAPES[order.shape], order.lcfs_up_to, float(view.horizon)),
        )

    def draw(self, seed: Any, scenario: "Scenario | None" = None) -> Drawn:
        """Return the jobs of a seed and the queues that they see."""
        return (scenario or self.scenario).draw(seed, self._looks)

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these jobs, at idle servers."""
        super().give(e, drawn)
        n = drawn.work.shape[-1]
        self.states[e] = np.zeros(1, SENT)[0]
        self.sites.view(np.int64)[e] = self._idle.view(np.int64)  # records would be copied column by column
        self.times[e] = np.inf
        self.choices[e, :n] = drawn.truth["choices"]
        self.ties[e, :n] = drawn.truth["ties"]

    def advance(self) -> None:
        """Carry out `actions` in every run, up to the next arrival."""
        step_batch(*self._arguments)

    def seen(self, e: int = 0) -> Mapping[str, Any]:  # type: ignore[override]
        """Return the `JOB` row `(1,)` of the arrival, the `QUEUE` rows that it sees, a number in [0, 1) for ties."""
        last = int(self.states["arrived"][e]) - 1
        return {"job": self.jobs[e, last : last + 1], "queues": self.queues[e], "tie": self.ties[e, last]}

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return queues_scene(self, title)
