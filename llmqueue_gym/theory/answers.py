"""Many answers to one question: how often the most frequent is right, and what it costs to stop before all are there.

Answers are independent and alike: answer j comes with probability p_j, and answer 0 is the right one. Ties of votes are
decided at random.

Sources: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", ICLR 2023 (the vote); Aggarwal et al.,
"Let's Sample Step by Step: Adaptive-Consistency", EMNLP 2023 (the posterior); Fu et al., "Efficiently Scaling LLM
Reasoning with Certaindex", NeurIPS 2025 (certaindex, probes). The sums are ours.
"""

from collections.abc import Callable, Sequence
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.special import factorial
from scipy.stats import binom

from llmqueue_gym.errors import BadInput

MOST_STATES = 200_000  # counts of votes that a sum goes through
MOST_ANSWERS = 150  # whose factorials are floats


def majority(n: int, right: float) -> float:
    """Return the probability that a majority of n is right where answers are right with a probability or all alike.

    That is the binomial's; half of the ties counts.
    """
    p = _chances((right, 1 - right))[0]
    half = n // 2
    tied = 0.5 * binom.pmf(half, n, p) if _number(n) % 2 == 0 else 0.0
    return float(binom.sf(half, n, p) + tied)


def plurality(n: int, chances: Sequence[float]) -> float:
    """Return the probability that answer 0 has most of n votes, by the multinomial.

    Args:
        n: answers.
        chances: probability of each answer `(m,)`; they sum to one.
    """
    p, n = _chances(chances), _number(n)
    k = np.arange(n + 1)
    terms = p[:, None] ** k / factorial(k)  # of the exponential generating function of each answer's votes
    total = 0.0
    for votes in range(1, n + 1):
        tied = np.zeros((len(p), n - votes + 1))  # (others with as many votes, votes of the others)
        tied[0, 0] = 1.0
        for row in terms[1:, : n - votes + 1]:
            fewer, more = row.copy(), np.zeros_like(tied)
            fewer[votes:] = 0.0
            for t in range(len(p)):
                more[t] += np.convolve(tied[t], fewer)[: n - votes + 1]
                if t > 0 and votes <= n - votes:
                    more[t, votes:] += tied[t - 1, : n - 2 * votes + 1] * row[votes]
            tied = more
        total += terms[0, votes] * float((tied[:, -1] / np.arange(1, len(p) + 1)).sum())
    return float(factorial(n)) * total


class Stopped(NamedTuple):
    """What comes of a rule of stopping.

    Attributes:
        accuracy: probability that the answer is right.
        answers: expected number.
        stopped: probability `(planned + 1,)` that it stops with so many.
    """

    accuracy: float
    answers: float
    stopped: np.ndarray


def stopping(planned: int, chances: Sequence[float], stops: Callable[[tuple[int, ...]], bool]) -> Stopped:
    """Return what comes of a rule that may stop after any answer, by a sum over all counts of votes.

    Args:
        planned: answers at most.
        chances: probability of each answer `(m,)`; they sum to one.
        stops: whether it stops with votes `(m,)`; asked before the last answer alone, as then all is done.
    """
    p, planned = _chances(chances), _number(planned)
    if comb(planned + len(p) - 1, planned) > MOST_STATES:
        raise BadInput(f"planned={planned} votes of {len(p)} answers have more than {MOST_STATES:,} counts; take fewer")
    stopped, accuracy = np.zeros(planned + 1), 0.0
    ahead = {(0,) * len(p): 1.0}
    for given in range(planned + 1):
        after: dict[tuple[int, ...], float] = {}
        for votes, chance in ahead.items():
            if given == planned or (given > 0 and stops(votes)):
                stopped[given] += chance
                most = max(votes)
                accuracy += chance * (votes[0] == most) / votes.count(most)
                continue
            for j, more in enumerate(p):
                if more > 0:
                    then = (*votes[:j], votes[j] + 1, *votes[j + 1 :])
                    after[then] = after.get(then, 0.0) + chance * float(more)
        ahead = after
    return Stopped(accuracy, float(stopped @ np.arange(planned + 1)), stopped)


def posterior(leading: int, second: int) -> float:
    """Return the probability that the answer that leads is the likelier one of the two: P(Beta(a + 1, b + 1) > 1/2)."""
    return float(binom.cdf(leading, leading + second + 1, 0.5))


def entropy(votes: Sequence[int]) -> float:
    """Return the entropy of the shares of votes, bits."""
    cast = np.array([vote for vote in votes if vote > 0], float)
    shares = cast / cast.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def certaindex(votes: Sequence[int]) -> float:
    """Return 1 less the entropy of the votes over log2 of their number, its most; NaN of fewer than two votes."""
    n = sum(votes)
    return 1 - entropy(votes) / float(np.log2(n)) if n > 1 else float("nan")


class Agreed(NamedTuple):
    """What comes of stopping a chain of thought at probes that agree.

    Attributes:
        accuracy: probability that the answer is right.
        probes: expected number.
        stopped: probability `(probes + 1,)` that it stops at each; what never stops is in the last one.
    """

    accuracy: float
    probes: float
    stopped: np.ndarray


def agreement(k: int, chances: np.ndarray, final: float) -> Agreed:
    """Return what comes of stopping at k probes in a row with one answer, by a sum over answers and lengths of runs.

    Probes are independent given their depth, and so is the end.

    Args:
        k: probes that have to agree.
        chances: `(probes, m)`: probability that the probe at each depth gives answer j; answer 0 is right, and what is
            left to one agrees with nothing (empty, or in doubt). A premature placeholder is a column that is large at
            first.
        final: probability that who is never stopped is right.
    """
    rows = np.asarray(chances, float)
    if rows.ndim != 2 or (rows < 0).any() or (rows.sum(axis=1) > 1 + 1e-12).any():
        raise BadInput("chances must be a row of probabilities for each probe, of which none sums to more than one")
    if k < 1:
        raise BadInput(f"k={k} probes; 1 or more")
    runs = np.zeros((rows.shape[1], k))  # [answer, length of its run]
    silent = 1.0  # the probability that no run goes on, which is not counted in `runs`
    stopped, accuracy = np.zeros(len(rows) + 1), 0.0
    for i, row in enumerate(rows):
        begun = silent + runs.sum() - runs.sum(axis=1)  # runs of others, or none
        after = np.zeros((rows.shape[1], k + 1))
        after[:, 2:] = runs[:, 1:] * row[:, None]
        after[:, 1] = begun * row
        silent = (silent + runs.sum()) * (1 - row.sum())
        runs = after[:, :k]
        stopped[i] = after[:, k].sum()
        accuracy += after[0, k]
    stopped[-1] = silent + runs.sum()
    steps = np.append(np.arange(1, len(rows) + 1), len(rows))
    return Agreed(float(accuracy + stopped[-1] * final), float(stopped @ steps), stopped)


def _chances(chances: Sequence[float]) -> np.ndarray:
    p = np.asarray(chances, float)
    if p.ndim != 1 or not (p >= 0).all() or abs(p.sum() - 1) > 1e-9:
        raise BadInput(f"chances={list(chances)} must be probabilities that sum to one")
    return p


def _number(n: int) -> int:
    if n < 1 or n > MOST_ANSWERS or n != int(n):
        raise BadInput(f"n={n} answers; a whole number from 1 to {MOST_ANSWERS}")
    return int(n)
