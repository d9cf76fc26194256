"""A serving policy: a rank, as for every queue here, and small rules for the other decisions of a serving engine.

The rank orders the waiting requests, and running ones for preemption; lower is served first. All functions are plain
Python functions of a row of the request table, a record of the replica, and numbers:

    def rank(request, system, params):
        return request.predicted - request.generated

They can read every column of `requests.REQUEST`, but for those that would tell which call comes later, and of
`requests.SYSTEM` (clock, step_time, mean_step_time, free, blocks, running, waiting, iterations). The true output length
is in neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.requests import REQUEST, ROOM, SYSTEM

Function = Callable[[Any, Any, np.ndarray], float]  # (request, system, params) -> number

ADMISSIONS = ("fits", "reserve", "peak")
PREEMPTIONS = ("recompute", "swap", "free")
OWNERS = ("tenant", "class")
HIDDEN = (ROOM, "heir", "behind")  # the latter two tell who comes later
READABLE = tuple(name for name in REQUEST.names or () if name not in HIDDEN)
_OF_PROGRAMS = ("to_come", "path_to_come", "gap", "returned", "strategy", "unsettled")
PREDICTIONS = frozenset(("predicted", "first_predicted", "lower", "upper", *_OF_PROGRAMS))


@dataclass(frozen=True)
class ServingPolicy(BasePolicy):
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
        owners: where a function reads `request.received`, whose accounts these are, of each "tenant" or of each
            "class"; see `engines.batching.accounts`. The policy then picks who is admitted one after another.
        shares: of the owners, by number, by which what they receive is divided; 1 for all others.
        lifts: whether who comes back after a while is lifted to the least of those who wait.
        preemption: "recompute", "swap", "free", or None for what the rule set says.
        predictor: length predictor that the policy brings along, or None.
        prepare: `prepare(profile, rules) -> params (k,)`, for ranks computed from the cost profile.
        rules: changes of the rule set that belong to the policy, such as its batch size.
        source: paper or repository.
    """

    kind: ClassVar[str] = "serving policy"
    functions: ClassVar[tuple[str, ...]] = ("rank", "victim", "length", "progress")
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("request", REQUEST, READABLE, PREDICTIONS),
        Shown("system", SYSTEM, SYSTEM.names or (), frozenset()),
    )

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
    owners: Literal["tenant", "class"] = "tenant"
    shares: tuple[float, ...] = ()
    lifts: bool = True
    preemption: Literal["recompute", "swap", "free"] | None = None
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
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
        self.check()
        if self.owners not in OWNERS:
            raise BadInput(f"policy {self.name!r}: owners={self.owners!r}; {nearest(self.owners, OWNERS)}")
        if not all(0 < share < np.inf for share in self.shares):
            raise BadInput(f"policy {self.name!r}: shares={self.shares} must be positive and finite")
        if self.keeps_accounts and (self.merged or self.displaces or self.skips):
            raise BadInput(f"policy {self.name!r} reads request.received, so it can neither merge, displace nor skip")

    @property
    def keeps_accounts(self) -> bool:
        """Whether it asks what owners of requests have received."""
        return "received" in self.reads()

    def check_owners(self, requests: np.ndarray, most: int) -> None:
        """Refuse requests `(n,)` whose owners have numbers for which there is no account.

        Args:
            requests: `REQUEST` rows.
            most: accounts that there are.
        """
        column = "klass" if self.owners == "class" else "tenant"
        if self.keeps_accounts and not (requests[column].min() >= 0 and requests[column].max() < most):
            raise BadInput(
                f"policy {self.name!r}: number each {self.owners} from 0 on; there are numbers from "
                f"{requests[column].min()} to {requests[column].max()} and {most:,} accounts"
            )

    @classmethod
    def from_function(cls, function: Function, **traits: Any) -> "ServingPolicy":
        """Make a policy of a plain function `rank(request, system, params)`; the queue is ranked in every iteration."""
        return super().from_function(function, **{"ages": True, **traits})

    @property
    def uses_predictions(self) -> bool:
        """Whether predictions make a difference to it."""
        return super().uses_predictions or (self.admission != "fits" and self.length is None)
