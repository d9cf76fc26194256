"""The best time to live where the law of the time away is known: optimal stopping, as `theory.retention` computes it.

A second in memory costs the context's tokens, and to be without it costs to compute it again, or to fetch it from the
host (`drop=swap`), as InferCept and LAMPS reckon these. Their ratio is the break-even time, for which the best time to
live is looked up. With `even` the break-even time is the same for all, and the time to live exact.

Source: Karlin, Manasse, McGeoch and Owicki, Algorithmica 1994, see `theory.retention`; as a policy this library's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.policies.retention.costs import Costs, costs_of
from llmqueue_gym.policies.retention.waste import wastes_by
from llmqueue_gym.requests import SWAP
from llmqueue_gym.theory.retention import best_time, best_times

_COSTS = len(Costs._fields)
_NOTHING = 1e-9  # s; what may be left of a time by rounding alone


def looked_up(even, params):
    """Return the best time for a break-even time: behind the costs stand times, then from which break-even times on."""
    m = (len(params) - _COSTS) // 2
    low, high = 0, m
    while high - low > 1:
        middle = (low + high) // 2
        if params[_COSTS + m + middle] <= even:
            low = middle
        else:
            high = middle
    return params[_COSTS + low]


def keep(away, system, params):
    context = max(away.blocks * away.block_size, 1)
    again, _ = wastes_by(context, away.scheduled, away.held, params)
    return max(looked_up(again / context, params) - away.elapsed, 0.0)


def keep_or_swap(away, system, params):
    context = max(away.blocks * away.block_size, 1)
    _, moved = wastes_by(context, away.scheduled, away.held, params)
    left = looked_up(moved / context, params) - away.elapsed
    return left if left > _NOTHING else SWAP


@dataclass(frozen=True)
class Numbers:
    """The `prepare` of the workload's law."""

    even: float | None

    def __call__(self, gap: Any, profile: Any, rules: Any) -> np.ndarray:
        """Return costs, times to live, and the break-even times from which on each is best."""
        if self.even is not None:
            return np.array([*[0.0] * _COSTS, best_time(gap, 1.0, self.even).seconds, 0.0])
        return np.concatenate([costs_of(profile, rules), *best_times(gap)[::-1]])


@dataclass(frozen=True)
class NumbersOfLaw(Numbers):
    """The `prepare` of a given law."""

    law: Distribution

    def __call__(self, profile: Any, rules: Any) -> np.ndarray:  # type: ignore[override]
        """Return what `Numbers` does."""
        return super().__call__(self.law, profile, rules)


def ttl_optimal(gap: str | None = None, even: float | None = None, drop: str = "discard") -> RetentionPolicy:
    """The best time to live for a known law of the time away.

    Args:
        gap: the law, s, or its spec, with `;` for the comma, as in `hyperexponential:mean=4;p=0.8`; None takes that of
            the workload.
        even: break-even time, s, of all contexts; None reckons it for each.
        drop: what happens at the end of the time, "discard" or "swap".
    """
    if drop not in ("discard", "swap"):
        raise BadInput(f"ttl-optimal: drop={drop!r}; choose discard or swap")
    if even is not None and not 0 <= even < np.inf:
        raise BadInput(f"ttl-optimal: even={even:g} must be finite and not negative, s")
    law = size_law(gap.replace(";", ",") if isinstance(gap, str) else gap) if gap is not None else None
    known = law is not None and even is not None
    return RetentionPolicy(
        "ttl-optimal",
        keep if drop == "discard" else keep_or_swap,
        again=drop == "swap",
        params=tuple(Numbers(even)(law, None, None)) if known else (),
        prepare=None if known else Numbers(even) if law is None else NumbersOfLaw(even, law),
        source="Karlin, Manasse, McGeoch and Owicki, Algorithmica 1994; as a policy this library's",
    )
