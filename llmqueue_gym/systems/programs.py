"""Programs of calls on replicas: a call comes when those that it waits for have ended and a gap has passed."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.programs import PROGRAM_POLICIES
from llmqueue_gym.policies.retention import RETENTION_POLICIES, RetentionPolicy
from llmqueue_gym.policies.routing import ROUTING_POLICIES, RoutingPolicy
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.policies.stopping import STOPPING_POLICIES, StoppingPolicy
from llmqueue_gym.predictors.programs import FORESIGHTS, Foresight, foresee
from llmqueue_gym.programs import check_answers, check_programs, depths
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.agents.programs import ProgramAgent
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.capacity import Capacity, Progress, recorded_rate
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.members import LONGEST, Member
from llmqueue_gym.systems.program_floor import program_floor, shortest_iteration
from llmqueue_gym.systems.program_models import may_serve, numbered
from llmqueue_gym.systems.program_run import ProgramRun, first_calls, following, heirs, program_run
from llmqueue_gym.systems.program_view import ProgramEpisodes, ProgramView
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_between, check_flags
from llmqueue_gym.workloads.requests import ProgramWorkload, TracePrograms
from llmqueue_gym.workloads.requests.program_workload import CallsAlone
from llmqueue_gym.workloads.streams import stream, streams
from llmqueue_gym.workloads.traces.programs import ProgramTrace, load_programs

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True)
class ProgramFleet(Fleet):
    """Replicas that serve programs; what is scored is how long programs take, from their arrival to their last call.

    Attributes:
        router: sends each call to a replica.
        retention: what happens to the context of a call, in the time until another one goes on with it.
        stopping: when the answers that the calls of a program have given suffice, so that the others are cancelled.
        foresight: how well gaps, calls and tokens to come, answers and depths are foreseen; see `llmqueue predictors`.
        wrong: s of a program's time that a wrong answer costs as much as.
        gang: whether calls of a program that become ready together begin together or not at all; needs `hold`.
        size: of the scenario: the law of programs; see `llmqueue workloads`.
        load: of the scenario: share of what can be served, were calls to come by themselves with every context anew.
        rate: of the scenario: programs per s, in place of the load.
        n_jobs: of the scenario: programs in a run, or as many as the workload has.
    """

    name: ClassVar[str] = "programs"
    title: ClassVar[str] = "Programs of calls on replicas of a language model"
    policies: ClassVar[Policies] = PROGRAM_POLICIES
    view: ClassVar[type[View]] = ProgramView  # type: ignore[assignment]
    decided: ClassVar[str] = "order"  # the field that a policy of this system takes the place of
    base: ClassVar[str] = "fcfs"
    report: ClassVar[str] = "llmqueue_gym.cli.programs"
    timed: ClassVar[bool] = False
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
    spelled: ClassVar[Mapping[str, str]] = {"law": "size", "n_programs": "n_jobs"}
    options: ClassVar[Mapping[str, str]] = {"size": "law", "n_jobs": "programs"}
    defaults: ClassVar[Mapping[str, Any]] = {**Fleet.defaults, "size": "tool-calls", "n_jobs": 1000}
    metrics: ClassVar[str] = "llmqueue_gym.evaluation.programs"
    objectives: ClassVar[Mapping[str, str]] = {"e2e_slo": "most s from a program's arrival to its end, for goodput"}
    settled: ClassVar[Mapping[str, str]] = {
        "order": "the policy is the order of calls",
        "concurrency": "programs come by themselves, each call of them after others; give a rate",
        "classes": "their law says of what kind each call is",
        "scored": "their times are",
    }

    router: str | RoutingPolicy = "least-outstanding"
    retention: str | RetentionPolicy = "discard"
    stopping: str | StoppingPolicy = "never"
    foresight: str | Foresight = "foresight"
    wrong: float = 0.0
    gang: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.sender, self.keeper, self.rule, self.foresees
        check_between(self, 0, LONGEST, "wrong")
        check_flags(self, "gang")
        if self.gang and not self.hold:
            raise BadInput("gang needs calls that wait at the router, as they do with hold")
        if not self.keeps:
            return
        prepare = self.keeper.prepare
        if prepare is not None and "gap" in inspect.signature(prepare).parameters:
            name = self.keeper.name
            raise BadInput(f"retention={name!r} needs the law of the gaps: {name}:gap=exponential")
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
            self.check_moves(f"retention={self.keeper.name!r}")

    @cached_property
    def discipline(self) -> ServingPolicy:
        """The order in which calls are served."""
        made: ServingPolicy = PROGRAM_POLICIES(self.order)
        return made

    @cached_property
    def keeper(self) -> RetentionPolicy:
        """What happens to contexts whose programs are away."""
        made: RetentionPolicy = RETENTION_POLICIES(self.retention)
        return made

    @property
    def keeps(self) -> bool:
        """Whether any context is kept while its program is away."""
        return self.keeper.name != "discard"

    @property
    def stops(self) -> bool:
        """Whether a program may stop before all of its calls have ended."""
        return self.rule.name != "never"

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
    def unread(self) -> tuple[str, ...]:
        """Fields that nothing reads as the others are set."""
        return (*super().unread, *self.settled)

    @property
    def chained(self) -> bool:
        """Whether requests are calls of programs, which come after one another."""
        return True

    def check(self, scenario: "Scenario") -> None:
        """Refuse what no program can be."""
        for name, instead in self.settled.items():
            if (told := getattr(self, name)) != getattr(type(self), name):
                raise BadInput(f"{name}={told!r} has no place where there are programs: {instead}")
        if scenario.workload is not None and not hasattr(scenario.workload, "answers"):
            raise BadInput(f"workload={scenario.workload!r} gives no programs; see workloads.requests.ProgramSamples")
        if scenario.load is not None and scenario.workload is not None:
            raise BadInput(f"load={scenario.load:g} of recorded programs is not known; give a rate, programs per s")
        if scenario.rate is not None and not isinstance(scenario.workload, (TracePrograms, type(None))):
            raise BadInput(f"rate={scenario.rate:g} has no place beside a workload that comes at its own; leave it out")
        super().check(scenario)

    def source(self, scenario: "Scenario") -> Any:
        """Return what programs are drawn from; a law at the rate, or at 1 program/s where a load is told."""
        if isinstance(scenario.workload, TracePrograms) and scenario.rate is not None:
            return replace(scenario.workload, rate_scale=1.0, rate=float(scenario.rate), arrivals=scenario.arrivals)
        if scenario.workload is not None:
            return scenario.workload
        return ProgramWorkload(scenario.size, float(scenario.rate or 1.0), scenario.arrivals, self.longest)

    @staticmethod
    def read(path: str, format: str = "auto") -> ProgramTrace:  # type: ignore[override]
        """Return the programs that are recorded in a file; for the arguments see `load_programs`."""
        return load_programs(path, format)

    @classmethod
    def recorded(  # type: ignore[override]
        cls,
        trace: ProgramTrace,
        rate_scale: float | None = None,
        load: float | None = None,
        rate: float | None = None,
        arrivals: str | None = None,
        max_tokens: int | None = None,
    ) -> dict[str, Any]:
        """Return the fields of a scenario in which recorded programs are replayed.

        Args:
            trace: recorded programs to serve, in place of a law, at their own rate unless told otherwise.
            rate_scale: with a trace, factor on its rate; gaps are as they are.
            load: of the scenario; not of recorded programs.
            rate: of the scenario; programs/s, in place of the recorded beginnings.
            arrivals: arrival process in place of the recorded beginnings.
            max_tokens: most tokens of prompt and output together; programs with a longer call are left out.
        """
        if rate_scale is not None and rate is not None:
            raise BadInput(f"rate_scale={rate_scale:g} and rate={rate:g} both set the rate; give one of them")
        if rate is None and arrivals is not None:
            rate = trace.rate * (rate_scale or 1.0)
        own = {"rate": rate, "arrivals": arrivals or "poisson"} if rate else {"rate_scale": rate_scale or 1.0}
        workload = TracePrograms(trace, max_tokens=max_tokens, **own)  # type: ignore[arg-type]
        return {"workload": workload, "n_jobs": len(workload), "load": load, "rate": rate}

    def sustains(self, scenario: "Scenario", progress: Progress | None = None) -> Capacity:
        """Return what all replicas sustain, programs/s, whose calls come by themselves, each context computed anew."""
        calls = float(scenario.source.calls)
        told: dict[str, Any] = {"workload": CallsAlone(scenario.source), "n_jobs": int(scenario.n_jobs * calls) + 1}
        found = super().sustains(replace(scenario, system=Replica(), load=None, rate=None, **told), progress)
        return found._replace(rate=found.rate / calls, backlog_rate=found.backlog_rate / calls)

    def last_of(self, drawn: Drawn) -> float:
        """Return when the last program begins, s."""
        return float(drawn.work["arrival"][first_calls(drawn.truth["programs"])].max())

    def rate_of(self, drawn: Drawn) -> float:
        """Return at which rate programs of a run begin, programs/s."""
        return recorded_rate(drawn.work[first_calls(drawn.truth["programs"])])

    def rate_scale(self, scenario: "Scenario") -> float:
        """Return the factor on the rate of what is sampled."""
        return 1.0 if scenario.load is None else float(scenario.load * self.sustains(scenario).rate)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return calls and their truth: the `programs` that they make up, their `answers`, and what is `foreseen`."""
        drawn = super(ProgramFleet, self.under(policy)).draw(scenario, seed, self.sender)
        work, programs = drawn.work, numbered(drawn.truth["programs"], scenario.workload, self.models)
        rng = stream(seed, "programs.answers")
        answers = scenario.source.answers(work, drawn.sizes, programs, rng)
        rngs = streams(seed, "programs.gaps", "programs.calls", "programs.tokens", "programs.right", "programs.depth")
        foreseen = foresee(self.foresees, work, drawn.sizes, programs, answers, rngs)
        work["program"], work["depth"] = programs.program, depths(programs)
        work["to_come"], work["path_to_come"] = foreseen.to_come, foreseen.path
        work["gap"], work["returned"] = following(programs, foreseen)
        thought = work["prompt"] - work["prompt"][first_calls(programs)][programs.program]  # that a call goes on from
        work["unsettled"] = np.nan_to_num(foreseen.depth[programs.program] - thought)
        return Drawn(work, {**drawn.truth, "programs": programs, "answers": answers, "foreseen": foreseen})

    def asked_of(self, member: Member, drawn: Drawn) -> np.ndarray | bool:
        """Tell which calls the model of a replica may serve `(n,)`."""
        return may_serve(drawn.truth["programs"], self.models.index(member.profile.model) + 1)

    def under(self, policy: Any) -> "ProgramFleet":  # type: ignore[override]
        """Return the replicas that do as a policy says."""
        return self if policy is None else replace(self, **{self.decided: policy})

    def let_decide(self, decides: str) -> "ProgramFleet":
        """Return the replicas as they are where an agent decides that; see `ProgramView`.

        They hold calls that it picks among, keep contexts that it is asked about, and stop no program by themselves.
        """
        fields: dict[str, Any] = {"hold": True} if "order" in decides else {}
        if "retain" in decides:
            self.check_moves("the agent")
            fields["retention"] = "preserve"
        if "stop" in decides:
            fields["stopping"] = "never"
        return replace(self, **fields)

    def check_moves(self, who: str) -> None:
        """Refuse replicas of which it is not known how long a context takes to the host."""
        for kind in self.distinct:
            kind.profile.check_transfers(who)

    def simulate(self, drawn: Drawn, policy: ServingPolicy, **facts: Any) -> Run:  # type: ignore[override]
        """Serve the programs to the end, as the policy says.

        Raises:
            BadInput: what is drawn is no table of programs, or as `Fleet.simulate` says.
        """
        seats = sum(member.rules.max_seqs or len(drawn.work) for member in self.members) if self.gang else None
        check_programs(drawn.truth["programs"], len(drawn.work), seats, drawn.work["arrival"])
        if drawn.truth.get("answers") is not None:
            check_answers(drawn.truth["programs"], drawn.truth["answers"])
        run = super(ProgramFleet, self.under(policy)).simulate(drawn, self.sender, **facts)
        return replace(run, player=policy.name)

    def follows(self, f: Any, r: Any, rows: slice, given: Requests) -> tuple[Any, Any]:
        """Return what `go_on` takes for retention and stopping, and let replicas keep contexts where any is kept."""
        assert given.programs is not None
        heir = heirs(given.programs)
        r.requests["heir"][rows] = np.where(heir < 0, -1, rows.start + heir)
        r.state["retains"] = r.state["keeps"] = self.keeps
        return self.asks()

    def asks(self) -> tuple[Any, Any]:
        """Return what `go_on` takes for retention and stopping: None for both where neither is there.

        Else there is a tuple for either, so that there are few kinds of arguments to compile for.
        """
        if not (self.keeps or self.stops):
            return None, None
        keep, waste, fix, _, swap_out = self.keeper.compiled()
        member = self.members[0]
        numbers = self.keeper.params_for(profile=member.profile, rules=member.rules)
        has = tuple(getattr(self.keeper, name) is not None for name in ("waste", "fix", "swap_out"))
        retain = numbers, self.keeps, self.keeper.again, *has, keep, waste, fix, swap_out
        return retain, (self.rule.params_for(), self.stops, self.rule.compiled()[0])

    def came(self, drawn: Drawn) -> np.ndarray | None:
        """Return when calls come that wait for nobody `(n,)`, s, where there are gangs; else None."""
        return drawn.work["arrival"] if self.gang else None

    def checked(self, others: tuple[Any, Any]) -> list[tuple[Any, np.ndarray]]:
        """Return the policies of retention and stopping, each with the numbers that it was given."""
        return [(policy, asked[0]) for policy, asked in zip((self.keeper, self.rule), others, strict=True) if asked]

    def came_of(self, run: Run, drawn: Drawn, f: Any) -> Run:
        """Return the run of programs."""
        return program_run(run, drawn.truth["programs"], f.programs, drawn.truth.get("answers"))

    def bound(self, drawn: Drawn) -> float:
        """Return a mean time of programs that no policy undercuts; see `program_floor`."""
        stops = self.decided == "stopping" or self.stops
        return program_floor(drawn, self.shortest_iteration, stops, float(self.wrong))

    @cached_property
    def shortest_iteration(self) -> float:
        """The shortest iteration in which a token is computed at any replica, s."""
        return min(shortest_iteration(kind.profile) for kind in self.distinct)

    def numbers(self, run: Run) -> dict[str, float]:
        """Return mean and 99th percentile of the times of programs; who is never done is late.

        The cost is the mean with what wrong answers cost; their share of the programs that have answered is `wrong`.
        """
        times = np.where(run.done, run.response_times, np.inf)
        found = {"cost": float(times.mean()), "p99": float(np.percentile(times, 99, method="higher"))}
        if isinstance(run, ProgramRun) and run.right is not None:
            wrong = ~run.right & (run.ended["answers"] > 0)  # type: ignore[index]
            found["cost"] += self.wrong * float(wrong.mean())
            found["wrong"] = float(wrong.mean())
        return found

    def remarks(self, run: Run, policy: Any) -> list[str]:
        """Return what of a rule of stopping is not carried out here: its order, and probes of its own."""
        rule, words = self.under(policy).rule, []
        if rule.rank is not None:
            words.append("has an order that is not carried out here; `thought-srpt` is such an order of calls")
        if rule.every:
            words.append(f"is asked at the probes that the law has, and not every {rule.every} tokens")
        if rule.name != "never" and run is not None and getattr(run, "right", True) is None:
            words.append("is never asked: these programs give no answers")
        return words

    def open(self, scenario: "Scenario", view: Any, size: int) -> ProgramEpisodes:  # type: ignore[override]
        """Return E fleets."""
        return ProgramEpisodes(scenario, view, size)

    def agent(self, policy: Any, scenario: "Scenario", view: Any) -> Agent:  # type: ignore[override]
        """Return the agent that does as the policy says, and for the rest as the fleet does."""
        return ProgramAgent(policy, scenario, view)
