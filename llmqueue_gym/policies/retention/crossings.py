"""From which time away on a context is better discarded or swapped than preserved, by what each wastes.

Preserving wastes memory in proportion to the time away, discarding and swapping waste the same whatever it is. So of
one context, with given loads beside it, preserving is best up to a time, and from there on always the same other way.
"""

from typing import NamedTuple

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention.costs import Costs
from llmqueue_gym.policies.retention.waste import wastes_by


class Crossings(NamedTuple):
    """Times away of one context, s.

    Attributes:
        discard: at which preserving wastes as much as discarding.
        swap: at which preserving wastes as much as swapping.
    """

    discard: float
    swap: float

    @property
    def first(self) -> float:
        """The time away, s, up to which preserving wastes least."""
        return min(self)

    @property
    def after(self) -> str:
        """What wastes least from there on, "swap" or "discard"; swap where both waste the same, as in LAMPS."""
        return "swap" if self.swap <= self.discard else "discard"


def crossings(costs: Costs, context: int, scheduled: int = 0, held: int = 0) -> Crossings:
    """Return the crossing points of a context.

    Args:
        costs: published ones, or `costs_of` a profile and rules.
        context: its tokens, in whole blocks.
        scheduled: tokens of an iteration of those who run.
        held: tokens of their KV blocks.

    Raises:
        BadInput: there is no context, or a load is negative.
    """
    if context < 1 or scheduled < 0 or held < 0:
        raise BadInput(
            f"context={context}, scheduled={scheduled}, held={held}: loads must not be negative, a context 1"
        )
    discard, swap = wastes_by(context, scheduled, held, costs)
    return Crossings(discard / context, swap / context)
