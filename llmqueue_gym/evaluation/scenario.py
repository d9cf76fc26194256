"""A scenario: which jobs come, and what is predicted of them. With a seed it fixes every random number of a run."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.empirical import Empirical
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.workloads import Workload, arrival_process
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.instance import draw


@dataclass(frozen=True)
class Scenario:
    """Jobs of a size law at a load, with predictions. Each part is a spec, such as `weibull:shape=0.5`, or the object.

    Attributes:
        size: law of the true sizes.
        predictor: prediction model; a policy that brings its own, such as `srpt`, is given that one.
        load: arrival rate times mean size.
        arrivals: arrival process.
        n_jobs: jobs in a run.
        workload: anything with `sample(n, arrival_rng, size_rng)`, such as a `TraceWorkload`; where given, it stands
            in for arrivals and load, and for the size law too if it has `size` (a law) or `sizes` (`(rows,)`).
    """

    size: str | Distribution = "exponential"
    predictor: str | Predictor = "exponential"
    load: float = 0.8
    arrivals: str | ArrivalProcess = "poisson"
    n_jobs: int = 100_000
    workload: Any = None

    def __post_init__(self) -> None:
        if self.n_jobs < 1:
            raise BadInput(f"n_jobs={self.n_jobs}: at least one job is needed")
        _ = self.source, self.bound_predictor()  # a wrong part is found here, not at the first run

    @cached_property
    def law(self) -> Distribution:
        """The size law."""
        if hasattr(self.workload, "size"):
            return self.workload.size
        if hasattr(self.workload, "sizes"):
            return Empirical.fit(self.workload.sizes)
        return size_law(self.size)

    @cached_property
    def source(self) -> Any:
        """What jobs are sampled from."""
        if self.workload is not None:
            return self.workload
        return Workload(self.law, self.load, arrival_process(self.arrivals))

    @cached_property
    def _own_predictor(self) -> Predictor:
        return predictor(self.predictor).bind(self.law)

    def bound_predictor(self, policy: Policy | None = None) -> Predictor:
        """Return the predictor that a policy gets, bound to the size law."""
        if policy is None or policy.predictor is None:
            return self._own_predictor
        return predictor(policy.predictor).bind(self.law)

    def draw(self, policy: Policy | None, seed: int) -> Instance:
        """Return the jobs of a seed; arrivals and sizes are the same for every policy and predictor."""
        return draw(self.source, self.bound_predictor(policy), self.n_jobs, seed)

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario in words, for the record."""
        if self.workload is not None:
            jobs: dict[str, Any] = {"workload": " ".join(repr(self.workload).split())}
        else:
            jobs = {"size": str(self.size), "load": self.load, "arrivals": str(self.arrivals)}
        return {**jobs, "predictor": str(self.predictor), "n_jobs": self.n_jobs}
