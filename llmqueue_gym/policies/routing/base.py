"""A router is a score: a request looks at some replicas, or at all, and is sent to the one of least score.

A user's router is a plain function of the request and of one replica as it last reported itself (`requests.SITE`):

    def score(request, site, params):
        return site.waiting + site.running

Where a score depends on how the others stand, it reads `site.lowest` and `site.highest`. Then it is asked twice: with
`site.asked` 0 for a number of each replica, and with 1 for the score, when both say what came of the first round.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.policies.dispatch.base import different
from llmqueue_gym.policies.serving.base import PREDICTIONS, READABLE
from llmqueue_gym.requests import REQUEST, SITE

REFUSED = 1e12  # more than any load
Looks = Literal["all", "sample", "turn"]
Ties = Literal["random", "first"]
# Columns that take time to fill, by what they take.
SUMS = frozenset(("pending", "work", "context", "tokens", "wanted", "reading", "idle"))  # a sum over requests
HITS = frozenset(("cached",))  # a look into the cache of each replica
RECORD = frozenset(("known",))  # a record of what was sent
LUCK = frozenset(("luck",))  # a number of each replica
ROUNDS = frozenset(("asked", "lowest", "highest"))  # a second round


@dataclass(frozen=True)
class RoutingPolicy(BasePolicy):
    """A way of sending requests to replicas.

    Attributes:
        name: its name in the literature; "-like" where the exact rule is not public.
        score: plain function `score(request, site, params) -> float`; the least is chosen.
        looks: "all" replicas; "sample": `d` different ones drawn at random, the first of the least; "turn": one after
            another.
        ties: of all replicas, which of several equal ones: "random" or "first".
        d: how many it samples.
        paired: whether who decodes is chosen on arrival, too, by the router of the handover; both then name the replica
            of least score among those of the role in question, then among those that do both. A score of `REFUSED` and
            more says that it would rather not, and the rest is the load all the same.
        borrows: whether the least loaded of the other role does both, until it is empty, where all refuse.
        params: numbers for `score`.
        prepare: `prepare(profile, rules) -> params (k,)`, for a score that is computed from the cost profile.
        predictor: length predictor that the policy brings along, or None.
        source: paper or repository.
    """

    kind: ClassVar[str] = "router"
    functions: ClassVar[tuple[str, ...]] = ("score",)
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("request", REQUEST, READABLE, PREDICTIONS),
        Shown("site", SITE, SITE.names or (), frozenset(("work",))),
    )

    name: str
    score: Callable[[Any, Any, np.ndarray], float]
    looks: Looks = "all"
    ties: Ties = "random"
    d: int = 1
    paired: bool = False
    borrows: bool = False
    params: tuple[float, ...] = ()
    prepare: Callable[..., np.ndarray] | None = None
    predictor: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.looks not in ("all", "sample", "turn"):
            raise BadInput(f"looks={self.looks!r}; choose all, sample or turn")
        if self.ties not in ("random", "first"):
            raise BadInput(f"ties={self.ties!r}; choose random or first")
        if self.d < 1:
            raise BadInput(f"{self.name}: d={self.d} replicas cannot be looked at; at least 1")
        self.check()

    def can_sample(self, replicas: int) -> bool:
        """Tell whether there are as many replicas as it looks at."""
        return self.looks != "sample" or self.d <= replicas

    def choices(self, n: int, replicas: int, rng: np.random.Generator) -> np.ndarray:
        """Return the replicas that each of n requests is shown `(n, d)`; `(n, 0)` where it sees all.

        Raises:
            BadInput: d is more than there are replicas.
        """
        if self.looks != "sample":
            return np.zeros((n, 0), np.int64)
        if not self.can_sample(replicas):
            raise BadInput(f"{self.name}: d={self.d} of {replicas} replicas cannot be sampled; d is at most {replicas}")
        return different(n, self.d, replicas, rng)
