"""A policy is a rank function and its traits: lower rank is served first (the definition of SOAP).

One definition has four uses: `theory` analyses it, `engines` simulate it, `envs` play it as a baseline, and a
learned policy is the same thing with network weights in `params`. A user's policy is a plain function:

    def rank(job, params):
        return job.predicted - job.age

Source: Scully, Harchol-Balter, Scheller-Wolf, "SOAP: One Clean Analysis of All Age-Based Scheduling Policies",
SIGMETRICS 2018.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable, TruthError, nearest
from llmqueue_gym.policies.reading import columns_read

READABLE = ("arrival", "predicted", "weight", "age", "klass", "deadline", "need")
_TRUTH = ("size", "true_size", "sizes", "remaining", "truth", "service_time", "completion")

Shape = Literal["constant", "falling", "general"]


@dataclass(frozen=True)
class Policy:
    """A scheduling discipline.

    Attributes:
        name: its name in the literature.
        rank: plain function `rank(job, params) -> float` of one row of the job table.
        params: numbers for `rank`; a policy that computes them from the laws has `prepare` instead.
        preemptive: whether a better job takes the server from the running one.
        shape: how the rank of a job in service moves with its age. "general" is always right; "constant" and
            "falling" promise that a running job can only be overtaken by an arrival, which is faster.
        lcfs_up_to: jobs of equal rank are served first come first served, but last come first served where that
            rank is at most this number.
        predictor: the predictor that the policy brings along (`srpt` is `sprpt` with "exact"), or None.
        prepare: `prepare(size, predictor) -> params (k,)`, for ranks that are computed from the laws.
        formula: name of its closed form in `theory.closed_forms`, or None.
        source: paper or theorem.
    """

    name: str
    rank: Callable[[Any, np.ndarray], float]
    params: tuple[float, ...] = ()
    preemptive: bool = True
    shape: Shape = "general"
    lcfs_up_to: float = -np.inf
    predictor: str | None = None
    prepare: Callable[[Any, Any], np.ndarray] | None = None
    formula: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.shape not in ("constant", "falling", "general"):
            raise BadInput(f"shape={self.shape!r}; choose constant, falling or general")
        for column in self.reads():
            if column in _TRUTH:
                raise TruthError(
                    f"policy {self.name!r} reads job.{column}: true sizes are hidden from policies; "
                    "for a clairvoyant policy use the predictor 'exact' and read job.predicted"
                )
            if column not in READABLE:
                raise BadInput(
                    f"policy {self.name!r} reads job.{column}, which does not exist; {nearest(column, READABLE)}"
                )

    def reads(self) -> set[str]:
        """Return the columns of the job table that the rank function reads."""
        return columns_read(self.rank, READABLE)

    def params_for(self, size: Any = None, predictor: Any = None) -> np.ndarray:
        """Return the float64 parameters `(k,)` of the rank function for a size law and a bound predictor."""
        blind = predictor is not None and not predictor.informative
        if blind and self.prepare is None and "predicted" in self.reads():
            raise NotApplicable(
                f"policy {self.name!r} ranks by prediction, but the predictor predicts nothing; "
                "choose another predictor, or a blind policy such as fcfs, las or gittins-blind"
            )
        if self.prepare is None:
            return np.array(self.params, dtype=np.float64)
        if size is None:
            raise BadInput(f"policy {self.name!r} computes its rank from the laws: pass the size law and the predictor")
        return np.ascontiguousarray(self.prepare(size, predictor), dtype=np.float64)

    def with_exact_sizes(self, name: str) -> "Policy":
        """Return the exact-information version under its own name: the same rank, told the true size."""
        return replace(self, name=name, predictor="exact")


def from_function(rank: Callable[[Any, np.ndarray], float], **traits: Any) -> Policy:
    """Make a policy of a plain function; it is taken as preemptive and of general shape unless told otherwise."""
    if not callable(rank) or not hasattr(rank, "__code__") or rank.__code__.co_argcount != 2:
        raise BadInput(f"{rank!r} is not a policy: give a registered name or a function rank(job, params)")
    return Policy(**{"name": rank.__name__, "rank": rank, **traits})
