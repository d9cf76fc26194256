"""A policy that watches its predictor: a rank that reads what was learnt, and a function that learns.

    def rank(job, memory, params):  # lower rank is served first
        return job.predicted * memory.state - job.age

    def learn(job, memory, params):  # of a job that has just left: its age is its size
        return memory.state + (job.age / job.predicted - memory.state) / memory.seen

What `learn` returns is `memory.state` from then on; it is 0 at first. A job of which nothing was predicted is given out
as of mean size (see `predictors.partly`) and is not to be learnt from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.jobs import MEMORY
from llmqueue_gym.policies.base import SHOWN_JOB, BasePolicy, Policies, Policy, Shape, Shown

SAMPLE = 20_000  # pairs by which the error of a predictor is known before the run


@dataclass(frozen=True)
class MonitoredPolicy(BasePolicy):
    """The order of a queue, by what was learnt of the predictor.

    Attributes:
        name: its name.
        rank: plain function `rank(job, memory, params) -> float`.
        learn: plain function `learn(job, memory, params) -> float`; None learns nothing.
        params: numbers for both.
        shape: how the rank of a job in service moves with its age, as in `Policy`.
        prepare: `prepare(size, predictor) -> params (k,)`, of the predictor as it is believed to be.
        predictor: the predictor that the policy brings along, or None.
        source: paper or theorem.
    """

    kind: ClassVar[str] = "monitored policy"
    functions: ClassVar[tuple[str, ...]] = ("rank", "learn")
    shown: ClassVar[tuple[Shown, ...]] = (SHOWN_JOB, Shown("memory", MEMORY, MEMORY.names or (), frozenset()))

    name: str
    rank: Callable[[Any, Any, np.ndarray], float]
    learn: Callable[[Any, Any, np.ndarray], float] | None = None
    params: tuple[float, ...] = ()
    shape: Shape = "general"
    prepare: Callable[..., np.ndarray] | None = None
    predictor: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise BadInput(f"shape={self.shape!r}; choose constant, falling or general")
        self.check()


class MonitoredPolicies(Policies):
    """Policies that watch, and beside them plain ones of one server, which do not."""

    def other(self, given: Any) -> Any:
        """Return a plain policy as it is, and the policy that a plain function is."""
        return given if isinstance(given, Policy) else super().other(given)


def log_errors(size: Any, predictor: Any) -> np.ndarray:
    """Return log(Y / S) of a sample of the jobs that are predicted `(k,)`, always the same one.

    Raises:
        NotApplicable: the predictor predicts nothing.
    """
    if not predictor.informative:
        raise NotApplicable("to watch a predictor there must be predictions; choose another predictor, or fcfs or las")
    rng = np.random.Generator(np.random.PCG64(0))
    sizes = size.sample(SAMPLE, rng)
    predicted = predictor.predict(sizes, rng)
    known = (predicted > 0) & (predicted != size.mean)
    return np.log(predicted[known] / sizes[known]) if known.any() else np.zeros(1)
