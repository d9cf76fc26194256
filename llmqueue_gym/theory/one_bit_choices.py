"""The power of d choices with one bit of advice, in the limit of many queues. A RECONSTRUCTION, not a printed formula.

Mitzenmacher, "Queues with Small Advice", ACDA 2021, derives such a limit; its equations are not at hand, and the
description here (state, and what a job compares) leaves the rules open that are marked (*). The model solved:

1. n queues, one server each, n -> inf. Jobs arrive Poisson of rate lambda n. A job is truly short with probability
   `short_share`; true shorts and longs have exponential sizes of means `short_mean` and `long_mean`.
2. The bit is wrong with probability `short_error` for a true short and `long_error` for a true long, independently.
3. A job samples d queues independently (with replacement). It joins the one where the fewest jobs with its own bit
   WAIT; the job in service does not count (*). Ties are broken at random, so an idle queue ties with a busy one where
   no job of the bit waits (*); with `idle_first`, sampled idle queues come before all busy ones.
4. A queue is not preemptive. When a job ends, the predicted short that came first starts; if no predicted short waits,
   the predicted long that came first. A job that joins an idle queue starts at once.

The equations are those of `class_choices` with two types and two classes, of which an arrival counts its own.

That the equations follow from these rules is checked: 250 and 1000 simulated queues that play them, extrapolated in
1/n, have the same mean response times by type and bit within .4 % (`experiments/several_servers_against_theory.py`).
Whether the rules are the paper's is not.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.class_choices import ClassChoices, ClassChoicesResult


@dataclass(frozen=True)
class OneBitChoices:
    """The model of the module's text.

    Attributes:
        load: lambda E[S] per queue, in (0, 1).
        short_share: probability that a job is truly short.
        short_mean: mean size of true shorts, s.
        long_mean: mean size of true longs, s.
        short_error: probability that a true short is predicted long.
        long_error: probability that a true long is predicted short.
        choices: d, queues sampled by a job.
        idle_first: whether sampled idle queues come before all busy ones.
        longest: most waiting jobs of a bit that a queue is given; `ClassChoicesResult.lost` says whether it is enough.
    """

    load: float
    short_share: float = 0.5
    short_mean: float = 0.5
    long_mean: float = 1.5
    short_error: float = 0.0
    long_error: float = 0.0
    choices: int = 2
    idle_first: bool = False
    longest: int = 30

    def __post_init__(self) -> None:
        for name in ("short_share", "short_error", "long_error"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name}={getattr(self, name)!r} must be a probability, 0 to 1")
        for name in ("short_mean", "long_mean"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInput(f"{name}={getattr(self, name)!r} must be a positive number of seconds")
        _ = self.classes  # a wrong part is found here

    def without_bits(self) -> "OneBitChoices":
        """Return the same jobs and rules where every bit says short: FCFS, and the fewest waiting jobs decide.

        With `idle_first` that is the plain power of d choices of FCFS queues.
        """
        return replace(self, short_error=0.0, long_error=1.0)

    @property
    def wrong_share(self) -> float:
        """Share of all bits that are wrong."""
        return float(self.pairs[0, 1] + self.pairs[1, 0])

    @property
    def pairs(self) -> np.ndarray:
        """P(true type, bit) `(2, 2)`, short before long."""
        return self.classes.pairs

    @cached_property
    def classes(self) -> ClassChoices:
        """The same as a model of two types and two classes."""
        s, e, f = self.short_share, self.short_error, self.long_error
        told = ((1 - e, e), (f, 1 - f))
        means = (self.short_mean, self.long_mean)
        return ClassChoices(self.load, (s, 1 - s), means, told, self.choices, "alike", self.idle_first, self.longest)

    def drift(self, shares: np.ndarray) -> np.ndarray:
        """Return the rate of change of each state's share `(states,)`, 1/s: the right side of the equations."""
        return self.classes.drift(shares)

    def solve(self) -> ClassChoicesResult:
        """Return the steady state; its arrays are by true type and bit, short before long.

        Raises:
            BadInput: the iteration does not settle, which may happen close to load 1.
        """
        return self.classes.solve()


# 55 % of the bits are wrong, and E[T] is 11.28 s against 12.24 s without bits (11.07 against 12.18 with `idle_first`):
# most shorts are called long, but few longs are called short, and those are what others wait for. No general rule: with
# short_mean=0.5, long_mean=5.5 the same bits do harm.
MOSTLY_WRONG = OneBitChoices(0.9, short_share=0.9, short_mean=0.2, long_mean=8.2, short_error=0.6, long_error=0.1)
