"""What every kind of system offers: it lays out tables, calls kernels and names what an agent can decide.

A system is a frozen dataclass of its own fields, in one file, with a line in `systems/__init__.py`. All else finds it
there: scenarios, the command line, rollouts, environments, boards, pages and the conformance tests.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.systems.run import Run
from llmqueue_gym.workloads.traces import load_trace

if TYPE_CHECKING:
    from llmqueue_gym.systems.agents.base import Agent
    from llmqueue_gym.systems.episodes import Episodes
    from llmqueue_gym.systems.scenario import Scenario
    from llmqueue_gym.systems.view import View

Row = dict[str, Any]


class Drawn(NamedTuple):
    """What a seed gives: tables that a policy may read, and what only engines hold.

    Attributes:
        work: `JOB` or `REQUEST` rows `(n,)`, sorted by arrival, predictions included.
        truth: tables by name; `sizes` `(n,)` is among them in every system.
    """

    work: np.ndarray
    truth: dict[str, Any]

    @property
    def sizes(self) -> np.ndarray:
        """True sizes `(n,)`, s of service, or output tokens."""
        return self.truth["sizes"]


@dataclass(frozen=True)
class System(ABC):
    """What serves. A subclass adds its fields, each described in its docstring, and writes the abstract methods.

    Attributes:
        name: in the registry.
        title: in words.
        policies: the table of the policies that take its decisions.
        defaults: values of the scenario's common fields where they are not told.
        spelled: other names of these fields here, such as `n_requests` for `n_jobs`.
        view: what an agent sees of it, or None where no agent can play.
        cost: what is scored, in words; less is better.
        base: policy with score 0.
        beside: whether `simulate` sets what theory knows beside its numbers; not where that takes longer than the run.
        covered: policies of which `known` gives values or bounds, in words.
        options: names of options of the command line, by field, where they are not those of the fields.
        unnamed: such names where the command line does not name the system, and what they tell: `policy` or a field.
        run_length: `n_jobs` of `llmqueue simulate`, where that of the scenario says little.
        objectives: limits within which a job is to be served, by name, with words; they are what goodput counts.
        metrics: module whose `measure` gives the metrics of a run, and whose `LATENCIES` can be compared job by job.
        report: module that tells of a run on the command line; see `cli.simulate`.
        timed: whether what each job did can be drawn as a timeline; see `evaluation.timeline`.
        compared: policies that `llmqueue compare` compares unless others are named.
        recorded: makes of a recorded trace and further arguments the fields of a scenario; None where it has no trace.
        settled: fields that something else says here, so that there is no option for them, and what that is.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    policies: ClassVar[Policies]
    defaults: ClassVar[Mapping[str, Any]] = {}
    spelled: ClassVar[Mapping[str, str]] = {}
    view: ClassVar["type[View] | None"] = None
    cost: ClassVar[str] = "mean response time, s"
    base: ClassVar[str] = "fcfs"
    beside: ClassVar[bool] = True
    covered: ClassVar[str] = ""
    options: ClassVar[Mapping[str, str]] = {"n_jobs": "jobs"}
    unnamed: ClassVar[Mapping[str, str]] = {}
    run_length: ClassVar[int | None] = None
    objectives: ClassVar[Mapping[str, str]] = {}
    metrics: ClassVar[str] = "llmqueue_gym.evaluation.metrics"
    report: ClassVar[str] = "llmqueue_gym.cli.simulate"
    timed: ClassVar[bool] = False
    compared: ClassVar[tuple[str, ...]] = ()
    recorded: ClassVar[Callable[..., dict[str, Any]] | None] = None
    settled: ClassVar[Mapping[str, str]] = {}

    @property
    def lossy(self) -> bool:
        """Whether jobs are lost in overload, so that the load may be 1 or more."""
        return False

    @property
    def unread(self) -> tuple[str, ...]:
        """Fields that nothing reads as the others are set, which a reader of results can do without."""
        return ()

    def work_moments(self, scenario: "Scenario") -> tuple[float, ...] | None:
        """Return the first four moments of the time that a job keeps all servers busy, or None where none are known."""
        return None

    @property
    def closed(self) -> bool:
        """Whether jobs come as others end, so that there is neither a load nor a rate."""
        return False

    @classmethod
    def asked(cls, policy: Any) -> dict[str, Any]:
        """Return fields that a policy asks for, where the command line does not tell them."""
        return {}

    @staticmethod
    def read(path: str, format: str = "auto", unit: str | None = None) -> Any:
        """Return what is recorded in a file, as `recorded` takes it; for the arguments see `load_trace`."""
        return load_trace(path, format, **({} if unit is None else {"unit": unit}))

    def check(self, scenario: "Scenario") -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse a scenario that makes no sense here; BadInput names the bad value."""

    def overload(self, scenario: "Scenario", policy: Any) -> str | None:
        """Return what is wrong where a load below one is too much with what a policy adds to it, or None."""
        return None

    @abstractmethod
    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return the work and the truth of a seed; all but predictions is the same for every policy."""

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return what a policy may be computed from, by the names of `prepare`'s arguments."""
        return {}

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return natural units of what happens here, "s" among them, in raw numbers; see `View.scales`."""
        return {"s": 1.0}

    @abstractmethod
    def simulate(self, drawn: Drawn, policy: Any, **facts: Any) -> Run:
        """Play a policy to the end of the work, which is not changed.

        Args:
            drawn: of `draw`, or made by hand.
            policy: a policy of `policies`.
            facts: those of `facts`, for policies that are computed from them.

        Raises:
            BadInput: a function cannot be compiled, or gives NaN.
        """

    @abstractmethod
    def bound(self, drawn: Drawn) -> float:
        """Return a cost that no policy undercuts on this work, even one that is told the truth and the future."""

    def known(self, scenario: "Scenario", policy: Any) -> list[Row]:
        """Return what theory knows of a policy here: rows of metric, value, kind and source; see `systems.known`."""
        return []

    def remarks(self, run: Run, policy: Any) -> list[str]:
        """Return what a reader of a run's numbers has to know of the policy, as words to follow its name."""
        return []

    def open(self, scenario: "Scenario", view: "View", size: int) -> "Episodes":
        """Return E runs side by side that stop where the agent decides."""
        raise BadInput(f"system {self.name!r} has no decisions for an agent")

    def agent(self, policy: Any, scenario: "Scenario", view: "View") -> "Agent":
        """Return the agent that decides as a policy does."""
        raise BadInput(f"system {self.name!r}: its policies play in closed loop alone")

    def numbers(self, run: Run) -> dict[str, float]:
        """Return what a board keeps of a run: the `cost`, the 99th percentile of the response times, and more."""
        times = run.response_times
        return {"cost": float(times.mean()), "p99": float(np.percentile(times, 99))}

    def more(self, run: Run) -> dict[str, float]:
        """Return what the command line tells of a run beside its response times, by name."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return its fields in words, for the record."""
        return {field.name: _words(getattr(self, field.name)) for field in fields(self)}


def _words(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_words(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no number for it
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
