"""Programs of calls on replicas: a call comes when those that it waits for have ended and a gap has passed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.programs import PROGRAM_POLICIES
from llmqueue_gym.policies.retention import RETENTION_POLICIES, RetentionPolicy
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.policies.stopping import STOPPING_POLICIES, StoppingPolicy
from llmqueue_gym.predictors.programs import FORESIGHTS, Foresight, foresee
from llmqueue_gym.programs import depths, earliest_ends
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.capacity import Capacity, Progress
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.program_run import first_calls, following, heirs, program_run
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View
from llmqueue_gym.workloads.requests.program_workload import CallsAlone, ProgramWorkload
from llmqueue_gym.workloads.streams import stream, streams

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True)
class ProgramFleet(Fleet):
    """Replicas that serve programs; what is scored is how long programs take, from their arrival to their last call.

    Attributes:
        router: sends each call to a replica.
        retention: what happens to the context of a call, in the time until another one goes on with it.
        stopping: when the answers that the calls of a program have given suffice, so that the others are cancelled.
        foresight: how well gaps, calls and tokens to come, answers and depths are foreseen; see `predictors.programs`.
    """

    name: ClassVar[str] = "programs"
    title: ClassVar[str] = "Programs of calls on replicas of a language model"
    policies: ClassVar[Policies] = PROGRAM_POLICIES
    view: ClassVar[type[View] | None] = None  # type: ignore[assignment]
    base: ClassVar[str] = "fcfs"
    report: ClassVar[str] = "llmqueue_gym.cli.programs"
    timed: ClassVar[bool] = False
    recorded: ClassVar[Any] = None
    cost: ClassVar[str] = "mean time of a program, s"
    unnamed: ClassVar[Mapping[str, str]] = {}
    compared: ClassVar[tuple[str, ...]] = (
        "fcfs",
        "program-fcfs",
        "sprpt",
        "plas-like",
        "program-srpt",
        "critical-path",
    )
    spelled: ClassVar[Mapping[str, str]] = {"law": "size", "n_calls": "n_jobs"}
    options: ClassVar[Mapping[str, str]] = {"size": "law", "n_jobs": "calls"}
    defaults: ClassVar[Mapping[str, Any]] = {**Fleet.defaults, "size": "tool-calls"}

    router: str | RoutingPolicy = "least-outstanding"
    retention: str | RetentionPolicy = "discard"
    stopping: str | StoppingPolicy = "never"
    foresight: str | Foresight = "foresight"

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
    def foresees(self) -> Foresight:
        """How well programs are foreseen."""
        made: Foresight = FORESIGHTS(self.foresight)
        return made

    @cached_property
    def sender(self) -> RoutingPolicy:
        """The router."""
        made: RoutingPolicy = ROUTING_POLICIES(self.router)
        return made

    def words_of(self, scenario: "Scenario") -> str:
        """Return in words what programs are drawn from."""
        return str(getattr(scenario.source, "law", scenario.source))

    @property
    def chained(self) -> bool:
        """Whether requests are calls of programs, which come after one another."""
        return True

    def check(self, scenario: "Scenario") -> None:
        """Refuse what no program can be."""
        super().check(scenario)
        if scenario.load is not None and scenario.workload is not None:
            raise BadInput(f"load={scenario.load:g} of recorded programs is not known; give a rate, programs per s")

    def source(self, scenario: "Scenario") -> Any:
        """Return what programs are drawn from; a law at the rate, or at 1 program/s where a load is told."""
        if scenario.workload is not None:
            return scenario.workload
        longest = self.max_tokens or self.bound_rules.longest
        return ProgramWorkload(scenario.size, float(scenario.rate or 1.0), scenario.arrivals, longest)

    def sustains(self, scenario: "Scenario", progress: Progress | None = None) -> Capacity:
        """Return what all replicas sustain of the calls by themselves, every context computed anew for each."""
        return super().sustains(replace(scenario, workload=CallsAlone(scenario.source), load=None, rate=None), progress)

    def rate_scale(self, scenario: "Scenario") -> float:
        """Return the factor on the rate of what is sampled."""
        if scenario.load is None:
            return 1.0
        return float(scenario.load * self.sustains(scenario).rate / scenario.source.calls)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return calls and their truth: the `programs` that they make up, their `answers`, and what is `foreseen`."""
        drawn = super(ProgramFleet, self.under(policy)).draw(scenario, seed, self.sender)
        work, programs = drawn.work, drawn.truth["programs"]
        rng = stream(seed, "programs.answers")
        answers = scenario.source.answers(work, drawn.sizes, programs, rng)
        rngs = streams(seed, "programs.gaps", "programs.calls", "programs.tokens", "programs.right", "programs.depth")
        foreseen = foresee(self.foresees, work, drawn.sizes, programs, answers, rngs)
        work["program"], work["depth"] = programs.program, depths(programs)
        work["to_come"], work["path_to_come"] = foreseen.to_come, foreseen.path
        work["gap"], work["returned"] = following(programs, foreseen)
        thought = work["prompt"] - work["prompt"][first_calls(programs)][programs.program]  # that a call goes on from
        work["unsettled"] = np.nan_to_num(foreseen.depth[programs.program] - thought)
        return Drawn(work, {**drawn.truth, "answers": answers, "foreseen": foreseen})

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
        return numbers, self.keeper.again, *has, keep, waste, fix, swap_out

    def _stops(self) -> Any:
        if self.stopping == "never":
            return None
        return self.rule.params_for(), self.rule.compiled()[0]

    def came_of(self, run: Run, drawn: Drawn, f: Any) -> Run:
        """Return the run of programs."""
        return program_run(run, drawn.truth["programs"], f.programs, drawn.truth.get("answers"))

    def bound(self, drawn: Drawn) -> float:
        """Return a mean time of programs that no policy undercuts: what they take alone, every prompt in a cache.

        Of a path of calls it is the gaps, and for each token of output the shortest iteration that there is. Where a
        program may be stopped it is the earliest that any of its answers can be there.
        """
        programs, answers = drawn.truth["programs"], drawn.truth.get("answers")
        ends = earliest_ends(programs, drawn.work["arrival"], drawn.sizes * self.shortest_iteration)
        count = int(programs.program.max()) + 1
        over, began, first = np.full(count, -np.inf), np.full(count, np.inf), np.full(count, np.inf)
        np.maximum.at(over, programs.program, ends)
        np.minimum.at(began, programs.program, drawn.work["arrival"])
        if self.stopping != "never" and answers is not None:
            gives = answers.cluster >= 0
            np.minimum.at(first, programs.program[gives], ends[gives])
            over = np.minimum(over, first)
        return float((over - began).mean())

    @cached_property
    def shortest_iteration(self) -> float:
        """The shortest iteration in which a token is computed at any replica, s."""
        times = []
        for kind in self.distinct:
            for alone in ({"decodes": 1, "context": 1.0}, {"prefills": 1, "prefill_tokens": 1, "prompt_tokens": 1}):
                batch = np.zeros(1, BATCH)
                batch["tokens"] = 1
                for name, value in alone.items():
                    batch[name] = value
                times.append(iteration_time(FORMS.index(kind.profile.form), kind.profile.numbers, records(batch)[0]))
        return float(min(times))

    def numbers(self, run: Run) -> dict[str, float]:
        """Return mean and 99th percentile of the times of programs; who is never done is late."""
        times = np.where(run.done, run.response_times, np.inf)
        return {"cost": float(times.mean()), "p99": float(np.percentile(times, 99, method="higher"))}
