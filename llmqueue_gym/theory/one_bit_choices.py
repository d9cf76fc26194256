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

The state of a queue is idle or (true type r in service, i predicted shorts waiting, j predicted longs waiting). The
true type of a starting job follows from its bit by Bayes, and is independent of everything before. With tail_k(m) the
share of queues where at least m jobs of bit k wait, a queue with m of them gets jobs of bit k at rate

    lambda_k (tail_k(m)^d - tail_k(m + 1)^d) / (tail_k(m) - tail_k(m + 1)),

which makes the shares of states a system of ordinary differential equations. Queues with `longest` jobs of a bit get no
more of them; the share of jobs lost so is reported.

That the equations follow from these rules is checked: 250 and 1000 simulated queues that play them, extrapolated in
1/n, have the same mean response times by type and bit within .4 % (`experiments/several_servers_against_theory.py`).
Whether the rules are the paper's is not.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import server_count, stable_load

SETTLED = 1e-11
MAX_ROUNDS = 1000
MIXED = 6  # rounds


@dataclass(frozen=True)
class ChoicesResult:
    """The steady state of the limit.

    Attributes:
        mean_response_time: E[T] over all jobs, s.
        response_time: E[T], s `(2, 2)`: [true type, bit], 0 for short and 1 for long; nan where no job is of the pair.
        mean_wait: E[W], s, of predicted shorts and of predicted longs `(2,)`; nan where there are none.
        busy: share of queues that serve a true short, and a true long `(2,)`.
        lost: share of the jobs that the truncation turns away.
        residual: largest rate of change of any state's share, 1/s; 0 at a fixed point.
        shares: of the states `(states,)`: idle, then [r, i, j] in C order.
    """

    mean_response_time: float
    response_time: np.ndarray
    mean_wait: np.ndarray
    busy: np.ndarray
    lost: float
    residual: float
    shares: np.ndarray


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
        longest: most waiting jobs of a bit that a queue is given; `ChoicesResult.lost` says whether it is enough.
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
        stable_load(self.load)
        for name in ("short_share", "short_error", "long_error"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name}={getattr(self, name)!r} must be a probability, 0 to 1")
        for name in ("short_mean", "long_mean"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInput(f"{name}={getattr(self, name)!r} must be a positive number of seconds")
        server_count(self.choices)
        if not 1 <= self.longest <= 100:
            raise BadInput(f"longest={self.longest!r} must be a whole number from 1 to 100, for example 30")

    def without_bits(self) -> "OneBitChoices":
        """Return the same jobs and rules where every bit says short: FCFS, and the fewest waiting jobs decide.

        With `idle_first` that is the plain power of d choices of FCFS queues.
        """
        return replace(self, short_error=0.0, long_error=1.0)

    # Rates of one queue.

    @property
    def wrong_share(self) -> float:
        """Share of all bits that are wrong."""
        return float(self.pairs[0, 1] + self.pairs[1, 0])

    @cached_property
    def pairs(self) -> np.ndarray:
        """P(true type, bit) `(2, 2)`."""
        s, e, f = self.short_share, self.short_error, self.long_error
        return np.array([[s * (1 - e), s * e], [(1 - s) * f, (1 - s) * (1 - f)]])

    @property
    def rates(self) -> np.ndarray:
        """Arrivals per queue of predicted shorts and of predicted longs `(2,)`, 1/s."""
        mean = self.short_share * self.short_mean + (1 - self.short_share) * self.long_mean
        return self.load / mean * self.pairs.sum(axis=0)

    @cached_property
    def truth(self) -> np.ndarray:
        """P(true type | bit) `(2, 2)`: [true type, bit]; for a bit that no job has it plays no part."""
        total = self.pairs.sum(axis=0)
        return np.divide(self.pairs, total, out=np.full((2, 2), 0.5), where=total > 0)

    def arrival_rates(self, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rates, 1/s, at which an idle queue `(2,)` and one with m waiting `(2, longest + 1)` get each bit.

        Args:
            shares: of the states `(states,)`.
        """
        busy = shares[1:].reshape(2, self.longest + 1, self.longest + 1).sum(axis=0)
        idle_rates, rates = np.empty(2), np.empty((2, self.longest + 1))
        for k in range(2):
            level = busy.sum(axis=1 - k)
            level = np.append(shares[0], level) if self.idle_first else level + shares[0] * np.eye(1, len(level))[0]
            tail = np.append(np.cumsum(level[::-1])[::-1], 0.0)
            tail[0] = 1.0
            # (a^d - b^d) / (a - b) as a sum, which does not cancel
            got = self.rates[k] * sum(tail[:-1] ** p * tail[1:] ** (self.choices - 1 - p) for p in range(self.choices))
            idle_rates[k], rates[k] = got[0], got[1:] if self.idle_first else got
        return idle_rates, rates

    def drift(self, shares: np.ndarray) -> np.ndarray:
        """Return the rate of change of each state's share `(states,)`, 1/s: the right side of the equations."""
        return self._generator(*self.arrival_rates(shares)) @ shares

    @cached_property
    def _moves(self) -> tuple[np.ndarray, ...]:
        """Where each move of a queue begins and ends, and its rate; completions first, then arrivals of each bit."""
        m = self.longest + 1
        state = 1 + np.arange(2 * m * m).reshape(2, m, m)
        done_rate = 1 / np.array([self.short_mean, self.long_mean])
        i, j = np.meshgrid(np.arange(m), np.arange(m), indexing="ij")
        source, target, rate = [], [], []
        for r in range(2):
            for chosen, bit, left in (((i > 0), 0, (-1, 0)), ((i == 0) & (j > 0), 1, (0, -1))):
                for then in range(2):
                    source.append(state[r][chosen])
                    target.append(state[then][i[chosen] + left[0], j[chosen] + left[1]])
                    rate.append(np.full(chosen.sum(), done_rate[r] * self.truth[then, bit]))
            source.append(state[r, :1, 0])
            target.append(np.zeros(1, int))
            rate.append(done_rate[r : r + 1])
        done = [np.concatenate(part) for part in (source, target, rate)]
        first = state[:, :-1, :].ravel(), state[:, 1:, :].ravel(), np.tile(i[:-1].ravel(), 2)
        second = state[:, :, :-1].ravel(), state[:, :, 1:].ravel(), np.tile(j[:, :-1].ravel(), 2)
        start = np.zeros(4, int), state[[0, 1, 0, 1], 0, 0]
        return (*done, *first, *second, *start)

    def _generator(self, idle_rates: np.ndarray, rates: np.ndarray) -> csc_matrix:
        a, b, rate, a0, b0, m0, a1, b1, m1, a2, b2 = self._moves
        flow = np.concatenate([rate, rates[0][m0], rates[1][m1], (idle_rates[:, None] * self.truth.T).ravel()])
        source, target = np.concatenate([a, a0, a1, a2]), np.concatenate([b, b0, b1, b2])
        n = 1 + 2 * (self.longest + 1) ** 2
        ends = np.concatenate([target, source]), np.concatenate([source, source])
        return csc_matrix((np.concatenate([flow, -flow]), ends), shape=(n, n))

    # The steady state.

    def solve(self) -> ChoicesResult:
        """Return the steady state.

        Given the rates at which queues of each length get jobs, one queue is a Markov chain whose steady state is a
        linear system; its shares give the next rates, until nothing changes. Anderson's mixing of the last rounds
        makes them few.

        Raises:
            BadInput: the iteration does not settle, which may happen close to load 1; the message says how far it came.
        """
        shares = np.zeros(1 + 2 * (self.longest + 1) ** 2)
        shares[0] = 1.0
        results: list[np.ndarray] = []
        steps: list[np.ndarray] = []
        for _ in range(MAX_ROUNDS):
            new = self._steady(*self.arrival_rates(shares))
            if np.abs(new - shares).max() < SETTLED:
                return self._result(new)
            results, steps = [*results[-MIXED:], new], [*steps[-MIXED:], new - shares]
            shares = new
            if len(steps) > 1:
                weights = np.linalg.lstsq(np.diff(steps, axis=0).T, steps[-1], rcond=None)[0]
                shares = np.maximum(new - weights @ np.diff(results, axis=0), 0.0)
                shares /= shares.sum()
        raise BadInput(f"load={self.load:g}: shares still move by {np.abs(steps[-1]).max():.1e}; try a lower load")

    def _steady(self, idle_rates: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Return the shares for which the chain of one queue is in balance."""
        chain = self._generator(idle_rates, rates)
        # The share of idle is set, those of the others follow from it.
        p = np.append(1.0, splu(chain[1:, 1:]).solve(-chain[1:, [0]].toarray().ravel()))
        p = np.maximum(p, 0.0)
        return p / p.sum()

    def _result(self, shares: np.ndarray) -> ChoicesResult:
        _, rates = self.arrival_rates(shares)
        busy = shares[1:].reshape(2, self.longest + 1, self.longest + 1)
        m = np.arange(self.longest + 1)
        at = np.array([busy.sum(axis=(0, 2)), busy.sum(axis=(0, 1))])  # shares of busy queues by waiting jobs of a bit
        lost = at[:, -1] * rates[:, -1]
        joined = self.rates - lost
        wait = np.divide(at @ m, joined, out=np.full(2, np.nan), where=joined > 0)
        service = np.array([self.short_mean, self.long_mean])
        response = np.where(self.pairs > 0, wait[None, :] + service[:, None], np.nan)
        mean = float(np.nansum(self.pairs * np.nan_to_num(response)))
        residual = float(np.abs(self.drift(shares)).max())
        serving = busy.sum(axis=(1, 2))
        return ChoicesResult(mean, response, wait, serving, float(lost.sum() / self.rates.sum()), residual, shares)


# 55 % of the bits are wrong, and E[T] is 11.28 s against 12.24 s without bits (11.07 against 12.18 with `idle_first`):
# most shorts are called long, but few longs are called short, and those are what others wait for. No general rule: with
# short_mean=0.5, long_mean=5.5 the same bits do harm.
MOSTLY_WRONG = OneBitChoices(0.9, short_share=0.9, short_mean=0.2, long_mean=8.2, short_error=0.6, long_error=0.1)
