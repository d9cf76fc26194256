"""One server whose policy may watch its predictor: each job that leaves shows how wrong its prediction was.

The jobs are those of `mg1`, and policies that do not watch play as there, so that both can be compared job by job.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.monitored import simulate
from llmqueue_gym.engines.state import fresh_state
from llmqueue_gym.jobs import MEMORY, outcome_table
from llmqueue_gym.policies.base import Policies, Policy
from llmqueue_gym.policies.monitored import MONITORED_POLICIES
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.job_system import tables_of
from llmqueue_gym.systems.mg1 import MG1, RESOLUTION
from llmqueue_gym.systems.run import Run

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True)
class Monitored(MG1):
    """One server whose policy may watch its predictor; the load is the arrival rate times the mean size."""

    name: ClassVar[str] = "monitored"
    title: ClassVar[str] = "One server, predictions are watched"
    policies: ClassVar[Policies] = MONITORED_POLICIES
    view: ClassVar[None] = None  # type: ignore[assignment]
    compared: ClassVar[tuple[str, ...]] = ("fcfs", "las", "sprpt", "gittins", "trust-until-alarm", "blend")

    def simulate(self, drawn: Drawn, policy: Any, **facts: Any) -> Run:
        """Run every job to its completion. In `totals` stand the state of a policy that learns, and what it saw."""
        if isinstance(policy, Policy):
            return super().simulate(drawn, policy, **facts)
        (rank, learn), params = policy.compiled(), policy.params_for(**facts)
        jobs, sizes = tables_of(drawn, policy)
        outcome, live, scale = outcome_table(len(jobs)), np.zeros(len(jobs), np.int64), float(sizes.mean())
        numbers = (rank, learn, params, policy.shape == "general", RESOLUTION, scale)
        for n in (0, len(jobs)):  # the first call loads the kernel, which takes time
            memory, start, state = np.zeros(1, MEMORY), time.perf_counter(), records(fresh_state())[0]
            simulate(state, records(memory)[0], records(jobs[:n]), sizes, records(outcome), live, *numbers)
        elapsed = time.perf_counter() - start
        policy.refuse_failure(params, jobs)
        return Run(policy.name, jobs, sizes, outcome, elapsed, self, totals={"state": float(memory["state"][0])})

    def known(self, scenario: "Scenario", policy: Any) -> list[Row]:
        """Return the exact mean response time of a policy that does not watch, where arrivals are Poisson."""
        return super().known(scenario, policy) if isinstance(policy, Policy) else []
