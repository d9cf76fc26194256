"""A serving policy: a rank, as for every queue here, and small rules for the other decisions of a serving engine.

The rank orders the waiting requests, and running ones for preemption; lower is served first. All functions are plain
Python functions of a row of the request table, a record of the replica, and numbers:

    def rank(request, system, params):
        return request.predicted - request.generated

They can read every column of `requests.REQUEST` and of `requests.SYSTEM` (clock, step_time,
mean_step_time, free, blocks, running, waiting, iterations). The true output length is in neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from llmqueue_gym.errors import BadInput, TruthError, nearest
from llmqueue_gym.policies.reading import columns_read
from llmqueue_gym.requests import REQUEST

Function = Callable[[Any, Any, np.ndarray], float]  # (request, system, params) -> number

ADMISSIONS = ("fits", "reserve", "peak")
PREEMPTIONS = ("recompute", "swap", "free")
_TRUTH = ("output", "outputs", "output_tokens", "truth", "true_output", "remaining", "completion", "size", "sizes")


@dataclass(frozen=True)
class ServingPolicy:
    """How a replica orders, admits and preempts requests, within a rule set.

    Attributes:
        name: its name in the literature; "-like" where the exact rule is not public.
        rank: order of service; None is first come first served, with preempted requests back at the front.
        params: numbers for all functions; a policy that computes them has `prepare` instead.
        ages: whether the rank of a waiting request moves with time, so that the queue is ranked in every iteration.
        victim: who is preempted first (largest value) where memory is short; None takes the rank.
        length: output tokens that admission counts on; None takes the present prediction.
        progress: number that the policy keeps for a request (`request.note`), after each iteration; None keeps none. A
            request was in that iteration if its `last_scheduled` is `system.clock`.
        admission: "fits" as the rule set says; "reserve" holds room for `length` tokens, and who outgrows it is
            preempted; "peak" looks ahead to the fullest instant until the running requests end.
        merged: whether running and waiting requests are one queue, of which the first fill each batch.
        keeps: in a merged queue, whether who is left out keeps its cache until the memory is needed.
        spare: in a merged queue, blocks that are kept free by preempting ahead of need.
        displaces: whether a waiting request may preempt a running one of larger `victim` value to get in.
        margin: by which the value has to be larger.
        skips: whether admission goes past a request that does not fit.
        preemption: "recompute", "swap", "free", or None for what the rule set says.
        predictor: length predictor that the policy brings along, or None.
        prepare: `prepare(profile, rules) -> params (k,)`, for ranks computed from the cost profile.
        rules: changes of the rule set that belong to the policy, such as its batch size.
        source: paper or repository.
    """

    name: str
    rank: Function | None = None
    params: tuple[float, ...] = ()
    ages: bool = False
    victim: Function | None = None
    length: Function | None = None
    progress: Function | None = None
    admission: Literal["fits", "reserve", "peak"] = "fits"
    merged: bool = False
    keeps: bool = True
    spare: int = 0
    displaces: bool = False
    margin: float = 0.0
    skips: bool = False
    preemption: Literal["recompute", "swap", "free"] | None = None
    predictor: str | None = None
    prepare: Callable[[Any, Any], np.ndarray] | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if self.admission not in ADMISSIONS:
            raise BadInput(f"policy {self.name!r}: admission={self.admission!r}; {nearest(self.admission, ADMISSIONS)}")
        if self.preemption is not None and self.preemption not in PREEMPTIONS:
            raise BadInput(
                f"policy {self.name!r}: preemption={self.preemption!r}; {nearest(self.preemption, PREEMPTIONS)}"
            )
        if self.merged and self.rank is None:
            raise BadInput(f"policy {self.name!r}: a merged queue needs a rank")
        for column in self.reads():
            if column in _TRUTH:
                raise TruthError(
                    f"policy {self.name!r} reads request.{column}: true output lengths are hidden from policies; "
                    "for a clairvoyant policy use the predictor 'exact' and read request.predicted"
                )
            if column not in (REQUEST.names or ()):
                raise BadInput(
                    f"policy {self.name!r} reads request.{column}, which does not exist; "
                    f"{nearest(column, REQUEST.names or ())}"
                )

    @property
    def functions(self) -> tuple[Function, ...]:
        """The functions that it has."""
        return tuple(f for f in (self.rank, self.victim, self.length, self.progress) if f is not None)

    def reads(self) -> set[str]:
        """Return the columns of the request table that its functions read."""
        columns: set[str] = set()
        for function in self.functions:
            columns |= columns_read(function, REQUEST.names or ())
        return columns

    @property
    def uses_predictions(self) -> bool:
        """Whether predictions make a difference to it."""
        predicted = {"predicted", "first_predicted", "lower", "upper"}
        return bool(self.reads() & predicted) or (self.admission != "fits" and self.length is None)

    def params_for(self, profile: Any = None, rules: Any = None) -> np.ndarray:
        """Return the float64 parameters `(k,)` for a cost profile and a rule set."""
        if self.prepare is None:
            return np.array(self.params, dtype=np.float64)
        if profile is None:
            raise BadInput(f"policy {self.name!r} computes its rank from the cost profile: pass it")
        return np.ascontiguousarray(self.prepare(profile, rules), dtype=np.float64)


def from_function(rank: Function, **traits: Any) -> ServingPolicy:
    """Make a policy of a plain function `rank(request, system, params)`; the queue is ranked anew every iteration."""
    if not callable(rank) or not hasattr(rank, "__code__") or rank.__code__.co_argcount != 3:
        raise BadInput(f"{rank!r} is not a serving policy: give a name or a function rank(request, system, params)")
    return ServingPolicy(**{"name": rank.__name__, "rank": rank, "ages": True, **traits})
