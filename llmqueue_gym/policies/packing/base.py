"""A packing policy: an order of the jobs in system, as for every queue here, and a rule that packs them into servers.

The rule is evaluated at every arrival and completion. A plain rank function is enough for a policy of your own:

    def rank(job, params):
        return (job.predicted - job.age) * job.need
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.base import BasePolicy, Policy

Packing = Literal["prefix", "skip", "filling", "backfill", "max-weight", "quickswap"]
PACKINGS: tuple[str, ...] = get_args(Packing)
_ALWAYS_PREEMPTIVE, _NEVER_PREEMPTIVE = ("filling", "max-weight"), ("backfill", "quickswap")


@dataclass(frozen=True)
class PackingPolicy(BasePolicy):
    """Who is served, where a job occupies several servers at once.

    Attributes:
        name: its name in the literature.
        rank: plain function `rank(job, params) -> float` of one row of the job table; lower comes first, ties go to
            the earlier arrival.
        params: numbers for `rank`.
        packing: the rule. "prefix" stops at the first job that does not fit, "skip" goes on behind it. "filling" takes
            the shortest beginning of the order that needs all servers, and places it by need, largest first.
            "backfill" reserves servers for the first job that does not fit, and goes on with those that by prediction
            do not delay it. "max-weight" serves the packing with the greatest sum, over needs, of jobs in system times
            jobs served; the order counts among jobs of equal need. "quickswap" turns from jobs of one server to jobs
            of all servers and back.
        preemptive: whether jobs in service give way; all servers are then packed anew every time.
        quantum: predicted durations are rounded up to a power of this number, above 1, for "backfill"; 0 does not
            round.
        threshold: jobs of one server in system at which "quickswap" turns to a waiting job of all servers.
        predictor: the predictor that the policy brings along, or None.
        prepare: see `BasePolicy`.
        source: paper or repository.

    Raises:
        BadInput: an unknown rule, one that cannot be as preemptive as told, or a number out of range.
        TruthError: the rank reads the true size.
    """

    kind: ClassVar[str] = "packing policy"

    name: str
    rank: Callable[[Any, np.ndarray], float]
    params: tuple[float, ...] = ()
    packing: Packing = "skip"
    preemptive: bool = True
    quantum: float = 0.0
    threshold: int = 0
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.packing not in PACKINGS:
            raise BadInput(f"policy {self.name!r}: packing={self.packing!r}; {nearest(self.packing, PACKINGS)}")
        wrong = _NEVER_PREEMPTIVE if self.preemptive else _ALWAYS_PREEMPTIVE
        if self.packing in wrong:
            raise BadInput(f"policy {self.name!r}: {self.packing!r} goes with preemptive={not self.preemptive} only")
        if self.quantum != 0 and not 1 < self.quantum < np.inf:
            raise BadInput(f"policy {self.name!r}: quantum={self.quantum:g} must exceed 1, or be 0 for no rounding")
        if self.threshold < 0:
            raise BadInput(f"policy {self.name!r}: threshold={self.threshold} must lie in [0, servers - 1]")
        self.check()

    @property
    def uses_predictions(self) -> bool:
        """Whether predictions make a difference to it."""
        return self.packing == "backfill" or super().uses_predictions

    @property
    def order(self) -> Policy:
        """The order of the jobs, as a policy."""
        return Policy(self.name, self.rank, self.params, self.preemptive, predictor=self.predictor)
