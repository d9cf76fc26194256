"""Programs of calls on replicas: a call comes when those that it waits for have ended and a gap has passed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.retention import RETENTION_POLICIES, RetentionPolicy
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.policies.stopping import STOPPING_POLICIES, StoppingPolicy
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.program_run import heirs, program_run
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True)
class ProgramFleet(Fleet):
    """Replicas that serve programs; what is scored is how long programs take, from their arrival to their last call.

    Attributes:
        router: sends each call to a replica.
        retention: what happens to the context of a call, in the time until another one goes on with it.
        stopping: when the answers that the calls of a program have given suffice, so that the others are cancelled.
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
    retention: str | RetentionPolicy = "discard"
    stopping: str | StoppingPolicy = "never"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retention == "discard":
            return
        if self.caches:
            raise BadInput(
                f"retention={self.keeper.name!r} beside caching={self.bound_rules.caching}, which keeps what it has "
                "room for; choose caching=none, or retention=discard"
            )
        if self.splits or self.migrate_every or any(one.rules.batching != "passes" for one in self.members):
            raise BadInput(f"retention={self.keeper.name!r} needs replicas that read, decode and batch by passes")
        if any(one.rules.asynchronous for one in self.members):
            raise BadInput(f"retention={self.keeper.name!r} beside asynchronous=true; choose asynchronous=false")
        if getattr(self.keeper, "moves", False):
            for kind in self.distinct:
                kind.profile.check_transfers(f"retention={self.keeper.name!r}")

    @cached_property
    def keeper(self) -> RetentionPolicy:
        """What happens to contexts whose programs are away."""
        made: RetentionPolicy = RETENTION_POLICIES(self.retention)
        return made

    @cached_property
    def rule(self) -> StoppingPolicy:
        """When the answers of a program suffice."""
        made: StoppingPolicy = STOPPING_POLICIES(self.stopping)
        return made

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

    def follows(self, f: Any, r: Any, rows: slice, given: Requests) -> tuple[Any, Any]:
        """Return what `go_on` takes for retention and stopping, and let replicas keep contexts where any is kept."""
        return self._retains(r, rows, given), self._stops()

    def _retains(self, r: Any, rows: slice, given: Requests) -> Any:
        assert given.programs is not None
        r.requests["heir"][rows] = np.where(heirs(given.programs) < 0, -1, rows.start + heirs(given.programs))
        if self.retention == "discard":
            return None
        r.state["retains"] = r.state["keeps"] = True
        keep, waste, fix, _, swap_out = self.keeper.compiled()
        member = self.members[0]
        numbers = self.keeper.params_for(profile=member.profile, rules=member.rules)
        has = tuple(getattr(self.keeper, name) is not None for name in ("waste", "fix", "swap_out"))
        return keep, waste, fix, swap_out, *has, self.keeper.again, numbers

    def _stops(self) -> Any:
        if self.stopping == "never":
            return None
        return self.rule.compiled()[0], self.rule.params_for()

    def came_of(self, run: Run, drawn: Drawn, f: Any) -> Run:
        """Return the run of programs."""
        return program_run(run, drawn.truth["programs"], f.programs)

    def numbers(self, run: Run) -> dict[str, float]:
        """Return mean and 99th percentile of the times of programs; who is never done is late."""
        times = np.where(run.done, run.response_times, np.inf)
        return {"cost": float(times.mean()), "p99": float(np.percentile(times, 99, method="higher"))}
