"""The power of d choices with predicted classes, two (one bit) or more, in the limit of many queues.

The model, of which `one_bit_choices` is the case of two classes:

1. n queues, one server each, n -> inf. Jobs arrive Poisson of rate lambda n. Each is of one of several true types with
   exponential sizes, and is told one of k classes, with probabilities that depend on its type alone.
2. A job samples d queues independently (with replacement) and joins the one where it counts the fewest jobs that WAIT;
   ties are broken at random. What it counts is `counted`: those of its own class (`alike`), those that go before it,
   which are of its own class or a better one (`ahead`), or all of them (`all`). The job in service does not count, so
   that an idle queue ties with a busy one; with `idle_first`, sampled idle queues come before all busy ones.
3. A queue is not preemptive: when a job ends, the one that came first in the best class that waits starts.

The state of a queue is idle or (type r in service, i_1, ..., i_k jobs of each class waiting). The true type of a
starting job follows from its class by Bayes, and is independent of everything before. With tail_c(m) the share of
queues where a job of class c counts at least m, a queue where it counts m gets jobs of class c at rate

    lambda_c (tail_c(m)^d - tail_c(m + 1)^d) / (tail_c(m) - tail_c(m + 1)),

which makes the shares of states a system of ordinary differential equations. Queues with `longest` jobs of a class get
no more of them; the share of jobs lost so is reported.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.theory.erlang import server_count, stable_load

SETTLED = 1e-11
MAX_ROUNDS = 1000
MIXED = 6  # rounds
MAX_STATES = 50_000
COUNTED = ("alike", "ahead", "all")


@dataclass(frozen=True)
class ClassChoicesResult:
    """The steady state of the limit.

    Attributes:
        mean_response_time: E[T] over all jobs, s.
        response_time: E[T], s `(types, k)`; nan where no job is of the pair.
        mean_wait: E[W], s, of each class `(k,)`; nan where there is none.
        busy: share of queues that serve each true type `(types,)`.
        lost: share of the jobs that the truncation turns away.
        residual: largest rate of change of any state's share, 1/s; 0 at a fixed point.
        shares: of the states `(states,)`: idle, then [r, i_1, ..., i_k] in C order.
    """

    mean_response_time: float
    response_time: np.ndarray
    mean_wait: np.ndarray
    busy: np.ndarray
    lost: float
    residual: float
    shares: np.ndarray


@dataclass(frozen=True)
class ClassChoices:
    """The model of the module's text.

    Attributes:
        load: lambda E[S] per queue, in (0, 1).
        types: probability of each true type; they sum to 1.
        means: mean size of each type, s.
        told: P(class | type), a row for each type, the class that goes first in the first place.
        choices: d, queues sampled by a job.
        counted: which waiting jobs an arrival counts: alike, ahead or all.
        idle_first: whether sampled idle queues come before all busy ones.
        longest: most waiting jobs of a class that a queue is given; `ClassChoicesResult.lost` says if it is enough.
    """

    load: float
    types: tuple[float, ...]
    means: tuple[float, ...]
    told: tuple[tuple[float, ...], ...]
    choices: int = 2
    counted: str = "alike"
    idle_first: bool = False
    longest: int = 10

    def __post_init__(self) -> None:
        stable_load(self.load)
        server_count(self.choices)
        if self.counted not in COUNTED:
            raise BadInput(f"counted={self.counted!r}; {nearest(self.counted, COUNTED)}")
        if not 1 <= self.longest <= 100:
            raise BadInput(f"longest={self.longest!r} must be a whole number from 1 to 100, for example 10")
        table = np.array([self.types, *np.transpose(self.told)])
        if table.ndim != 2 or len(self.means) != len(self.types):
            raise BadInput(f"{len(self.types)} types need as many means, {len(self.means)}, and rows of classes told")
        sums = np.array([table[0].sum(), *table[1:].sum(axis=0)])
        if (table < 0).any() or np.abs(sums - 1).max() > 1e-9:
            raise BadInput("types and every row of told must be probabilities that sum to 1")
        if not all(0 < mean < np.inf for mean in self.means):
            raise BadInput(f"means={self.means!r} must be positive numbers of seconds")
        if self.states > MAX_STATES:
            raise BadInput(
                f"longest={self.longest} with {self.k} classes makes {self.states:,} states; take a lower one"
            )

    @property
    def k(self) -> int:
        """How many classes there are."""
        return len(self.told[0])

    @property
    def states(self) -> int:
        """How many states a queue can be in."""
        return 1 + len(self.types) * (self.longest + 1) ** self.k

    @cached_property
    def pairs(self) -> np.ndarray:
        """P(true type, class) `(types, k)`."""
        return np.array(self.types)[:, None] * np.array(self.told)

    @cached_property
    def rates(self) -> np.ndarray:
        """Arrivals per queue of each class `(k,)`, 1/s."""
        return self.load / float(np.dot(self.types, self.means)) * self.pairs.sum(axis=0)

    @cached_property
    def truth(self) -> np.ndarray:
        """P(true type | class) `(types, k)`; for a class that no job is told it plays no part."""
        total = self.pairs.sum(axis=0)
        none = np.full(self.pairs.shape, 1 / len(self.types))
        return np.divide(self.pairs, total, out=none, where=total > 0)

    @cached_property
    def _waiting(self) -> np.ndarray:
        """Waiting jobs of each class `(k, states - 1)` in every busy state."""
        grid = np.indices((self.longest + 1,) * self.k).reshape(self.k, -1)
        return np.tile(grid, len(self.types))

    @cached_property
    def _seen(self) -> np.ndarray:
        """What an arrival of each class counts in every busy state `(k, states - 1)`."""
        waiting = self._waiting
        if self.counted == "alike":
            return waiting
        return np.cumsum(waiting, axis=0) if self.counted == "ahead" else np.tile(waiting.sum(axis=0), (self.k, 1))

    def arrival_rates(self, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rates, 1/s, at which an idle queue `(k,)` and a busy one in each state `(k, states - 1)` get jobs.

        Args:
            shares: of the states `(states,)`.
        """
        idle_rates, rates = np.empty(self.k), np.empty((self.k, self.states - 1))
        for c, seen in enumerate(self._seen):
            level = np.bincount(seen + self.idle_first, shares[1:])
            level[0] += shares[0]
            tail = np.append(np.cumsum(level[::-1])[::-1], 0.0)
            tail[0] = 1.0
            # (a^d - b^d) / (a - b) as a sum, which does not cancel
            got = self.rates[c] * sum(tail[:-1] ** p * tail[1:] ** (self.choices - 1 - p) for p in range(self.choices))
            idle_rates[c], rates[c] = got[0], got[seen + self.idle_first]
        return idle_rates, rates

    def drift(self, shares: np.ndarray) -> np.ndarray:
        """Return the rate of change of each state's share `(states,)`, 1/s: the right side of the equations."""
        return self._generator(*self.arrival_rates(shares)) @ shares

    @cached_property
    def _moves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
        """Where completions begin and end, and their rates; busy states that take a job of each class; strides."""
        m, types = self.longest + 1, len(self.types)
        stride = m ** np.arange(self.k - 1, -1, -1)
        serving = np.repeat(np.arange(types), m**self.k)
        at = np.arange(self.states - 1)
        rate = (1 / np.array(self.means))[serving]
        first = np.where(self._waiting.any(axis=0), (self._waiting > 0).argmax(axis=0), -1)
        empty = first < 0
        source, target, flow = [1 + at[empty]], [np.zeros(empty.sum(), int)], [rate[empty]]
        for c in range(self.k):
            chosen = first == c
            rest = at[chosen] - serving[chosen] * m**self.k - stride[c]
            for then in range(types):
                source.append(1 + at[chosen])
                target.append(1 + rest + then * m**self.k)
                flow.append(rate[chosen] * self.truth[then, c])
        open_to = [at[self._waiting[c] < self.longest] for c in range(self.k)]
        return np.concatenate(source), np.concatenate(target), np.concatenate(flow), open_to, stride

    def _generator(self, idle_rates: np.ndarray, rates: np.ndarray) -> csc_matrix:
        source, target, flow, open_to, stride = self._moves
        n, types, alone = self.states, len(self.types), (self.longest + 1) ** self.k
        begin = 1 + np.arange(types) * alone
        ends = [(source, target, flow)]
        ends += [(1 + at, 1 + at + stride[c], rates[c][at]) for c, at in enumerate(open_to)]
        ends.append((np.zeros(types, int), begin, self.truth @ idle_rates))
        a, b, f = (np.concatenate(part) for part in zip(*ends, strict=True))
        places = np.concatenate([b, a]), np.concatenate([a, a])
        return csc_matrix((np.concatenate([f, -f]), places), shape=(n, n))

    def solve(self) -> ClassChoicesResult:
        """Return the steady state.

        Given the rates at which queues get jobs, one queue is a Markov chain whose steady state is a linear system; its
        shares give the next rates, until nothing changes. Anderson's mixing of the last rounds makes them few.

        Raises:
            BadInput: the iteration does not settle, which may happen close to load 1; the message says how far it came.
        """
        shares = np.eye(1, self.states)[0]
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
        p = np.append(1.0, splu(chain[1:, 1:], "MMD_AT_PLUS_A").solve(-chain[1:, [0]].toarray().ravel()))
        p = np.maximum(p, 0.0)
        return p / p.sum()

    def _result(self, shares: np.ndarray) -> ClassChoicesResult:
        _, rates = self.arrival_rates(shares)
        full = self._waiting == self.longest
        lost = (rates * full) @ shares[1:]
        joined = self.rates - lost
        wait = np.divide(self._waiting @ shares[1:], joined, out=np.full(self.k, np.nan), where=joined > 0)
        response = np.where(self.pairs > 0, wait[None, :] + np.array(self.means)[:, None], np.nan)
        mean = float(np.nansum(self.pairs * np.nan_to_num(response)))
        residual = float(np.abs(self.drift(shares)).max())
        serving = shares[1:].reshape(len(self.types), -1).sum(axis=1)
        return ClassChoicesResult(mean, response, wait, serving, float(lost.sum() / self.rates.sum()), residual, shares)
