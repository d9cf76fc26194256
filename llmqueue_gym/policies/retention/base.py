"""A policy of what happens to a context while its program is away, at a tool or with a human.

A user's policy is a plain function of the context (`requests.AWAY`) and of the replica that has it (`requests.SYSTEM`):

    def keep(away, system, params):
        return 2.0 if away.context > 1000 else 0.0

It returns the s for which the context is kept from now on: 0 discards it at once, infinity preserves it until the
program is back, and a number between them is a time to live. `requests.SWAP` moves it to the host.

Where several contexts are away, it matters to some policies which one is worst: their `waste` says how bad each is,
and `away.worst` holds the largest. Who is kept though it is the worst goes first where memory is short.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.requests import AWAY, SYSTEM

Function = Callable[[Any, Any, Any], float]  # (away, system, params) -> number
PREDICTIONS = frozenset(("predicted_gap", "next_prompt", "predicted", "calls_left"))
NOBODY = -float("inf")  # waste of a context that is no victim


@dataclass(frozen=True)
class RetentionPolicy(BasePolicy):
    """What happens to contexts whose programs are away.

    Attributes:
        name: its name in the literature; "-like" where the exact rule is not public.
        keep: plain function `keep(away, system, params) -> float`, asked when the call ends.
        waste: how bad it is that a context is here; minus infinity for one that is no victim. None where nobody is.
        fix: what is fixed when the call comes, before it is scheduled, by the loads of then: a value of `keep`, which
            `away.strategy` holds from then on; what `waste` gives then is in `away.stored`. None fixes nothing.
        swap_in: KV blocks that may come back from the host in an iteration; None for no limit.
        swap_out: KV blocks that may go there.
        again: whether it is asked again in every iteration.
        leaves: how the worst goes where memory is short: "discard", or "swap" within the limit.
        params: numbers for all functions.
        prepare: function that computes `params` from what its arguments are named after: `gap`, the law of the time
            away, `profile`, `rules`; or None.
        predictor: predictor that the policy brings along, or None.
        source: paper or repository.
    """

    kind: ClassVar[str] = "retention policy"
    functions: ClassVar[tuple[str, ...]] = ("keep", "waste", "fix", "swap_in", "swap_out")
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("away", AWAY, AWAY.names or (), PREDICTIONS),
        Shown("system", SYSTEM, SYSTEM.names or (), frozenset()),
    )

    name: str
    keep: Function
    waste: Function | None = None
    fix: Function | None = None
    swap_in: Function | None = None
    swap_out: Function | None = None
    again: bool = False
    leaves: Literal["discard", "swap"] = "discard"
    params: tuple[float, ...] = ()
    prepare: Callable[..., Any] | None = None
    predictor: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.leaves not in ("discard", "swap"):
            raise BadInput(f"{self.name}: leaves={self.leaves!r}; choose discard or swap")
        self.check()

    @property
    def ranked(self) -> bool:
        """Whether it says who is worst."""
        return self.waste is not None
