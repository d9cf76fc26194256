"""Programs of calls on replicas: a call comes when those that it waits for have ended and a gap has passed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.program_run import program_run
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True)
class ProgramFleet(Fleet):
    """Replicas that serve programs; what is scored is how long programs take, from their arrival to their last call.

    Attributes:
        router: sends each call to a replica.
    """

    name: ClassVar[str] = "programs"
    title: ClassVar[str] = "Programs of calls on replicas of a language model"
    policies: ClassVar[Policies] = SERVING_POLICIES
    view: ClassVar[type[View] | None] = None  # type: ignore[assignment]
    base: ClassVar[str] = "fcfs"
    cost: ClassVar[str] = "mean time of a program, s"
    unnamed: ClassVar[Mapping[str, str]] = {}
    compared: ClassVar[tuple[str, ...]] = ("fcfs", "sprpt", "gittins-lengths")

    router: str | RoutingPolicy = "least-outstanding"

    @cached_property
    def sender(self) -> RoutingPolicy:
        """The router."""
        made: RoutingPolicy = ROUTING_POLICIES(self.router)
        return made

    @property
    def chained(self) -> bool:
        """Whether requests are calls of programs, which come after one another."""
        return True

    def check(self, scenario: "Scenario") -> None:
        """Refuse what no program can be."""
        super().check(scenario)
        if scenario.load is not None:
            raise BadInput(f"load={scenario.load:g}: what programs ask for depends on their gaps; give a rate")

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return calls and their truth, with the `programs` that they make up."""
        return self.under(policy).drawn(scenario, seed)

    def drawn(self, scenario: "Scenario", seed: int) -> Drawn:
        """Do so for the order that is set."""
        return super().draw(scenario, seed, self.sender)

    def under(self, policy: Any) -> "ProgramFleet":  # type: ignore[override]
        """Return the replicas that serve in the order of a policy."""
        return self if policy is None else replace(self, order=policy)

    def simulate(self, drawn: Drawn, policy: ServingPolicy, **facts: Any) -> Run:  # type: ignore[override]
        """Serve the programs to the end, calls in the order of the policy."""
        run = super(ProgramFleet, self.under(policy)).simulate(drawn, self.sender, **facts)
        return replace(run, player=policy.name)

    def came_of(self, run: Run, drawn: Drawn) -> Run:
        """Return the run of programs."""
        return program_run(run, drawn.truth["programs"])

    def numbers(self, run: Run) -> dict[str, float]:
        """Return mean and 99th percentile of the times of programs; who is never done is late."""
        times = np.where(run.done, run.response_times, np.inf)
        return {"cost": float(times.mean()), "p99": float(np.percentile(times, 99, method="higher"))}
