"""What a bit is worth to the queue: the cost of a wrong bit by size, the best bits, and where errors do least and most.

With one bit of advice E[T] depends on the bits only through two numbers, the share p of jobs that are called short and
the work w = E[S; called short] (`closed_forms.one_bit`, `one_bit_lcfs`):

    E[T] = base + (a - b p) / (1 - lambda w),

without preemption  base = E[S], a = W, b = rho W;  where every arriving short preempts  base = 0, a = E[S] + W, b = W;
W = lambda E[S^2] / (2 (1 - rho)) is the mean wait of FCFS. To call a job of size x short in place of long moves E[T] by

    lambda t / (1 - lambda w) (x - T*)  per unit of probability,  t = (a - b p) / (1 - lambda w),  T* = b / (lambda t).

So a wrong bit costs in proportion to |x - T*|: a short that is called long at most T* units, a long that is called
short without bound. T* is the best threshold where the bits are the best ones, and without preemption the wait is then
E[S] / T* times that of FCFS. Since E[T] is a ratio of linear functions, all that is optimal is a threshold:

* of all bits that can be told from some features, the best call short where E[S | features] < T*;
* of all ways to be wrong about a given share of jobs, the best is wrong where |x - T*| is least, and the worst where it
  is largest, both with their own T* (Dinkelbach, "On Nonlinear Fractional Programming", Management Science 1967).

Sources: Mitzenmacher, "Queues with Small Advice", ACDA 2021, for E[T]; the rest is ours.
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import stable_load

ROUNDS = 100


@dataclass(frozen=True)
class OneBitAdvice:
    """An M/G/1 that is told one bit of each job.

    Attributes:
        mean: E[S], s.
        second: E[S^2], s^2.
        load: lambda E[S], in (0, 1).
        preemptive: whether a job that is called short preempts every running job (`one-bit-lcfs`), or none (`one-bit`).
    """

    mean: float
    second: float
    load: float
    preemptive: bool = False

    def __post_init__(self) -> None:
        stable_load(self.load)

    @property
    def _line(self) -> tuple[float, float, float, float]:
        """The numbers base, a, b and lambda."""
        lam = self.load / self.mean
        wait = 0.5 * lam * self.second / (1 - self.load)
        return (0.0, self.mean + wait, wait, lam) if self.preemptive else (self.mean, wait, self.load * wait, lam)

    def mean_response_time(self, share: np.ndarray | float, work: np.ndarray | float) -> np.ndarray | float:
        """Return E[T], s, where so many jobs are called short, which bring so much work.

        Args:
            share: P(called short).
            work: E[S; called short], s.
        """
        base, a, b, lam = self._line
        return base + (a - b * share) / (1 - lam * work)

    def indifferent_size(self, share: float, work: float) -> float:
        """Return T*, s: the size of the jobs whose bit makes no difference."""
        base, _, b, lam = self._line
        return b / (lam * (float(self.mean_response_time(share, work)) - base))

    def cost_of_error(self, x: np.ndarray, share: float, work: float) -> np.ndarray:
        """Return by how much E[T] rises per probability of jobs of size x whose bit turns wrong `(n,)`; T* is right."""
        base, _, _, lam = self._line
        ratio = float(self.mean_response_time(share, work)) - base
        return lam * ratio / (1 - lam * work) * np.abs(x - self.indifferent_size(share, work))

    def best_bits(self, p: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return which kinds of jobs the best bits call short `(n,)`.

        Args:
            p: probability of each kind `(n,)`, of all that can be told apart.
            means: E[S | kind] `(n,)`, s.
        """
        order = np.argsort(means, kind="stable")
        share, work = np.cumsum(p[order]), np.cumsum((p * means)[order])
        least = int(np.argmin(self.mean_response_time(np.append(0.0, share), np.append(0.0, work))))
        short = np.zeros(len(p), bool)
        short[order[:least]] = True
        return short

    def errors(self, x: np.ndarray, p: np.ndarray, threshold: float, error: float, worst: bool = False) -> np.ndarray:
        """Return the probability that the bit of a job of each size is wrong `(n,)`, placed for the best or the worst.

        Args:
            x: sizes `(n,)`, s.
            p: their probabilities `(n,)`.
            threshold: s; a right bit says short for sizes up to it.
            error: share of all jobs whose bit is wrong, no more and no less.
            worst: whether E[T] shall be as large as can be.

        Raises:
            BadInput: the share is none.
        """
        if not 0 <= error <= 1:
            raise BadInput(f"error={error!r} must be a share, 0 to 1")
        short, wrong = x <= threshold, np.full(len(x), float(error))
        for _ in range(ROUNDS):
            middle = self.indifferent_size(*self.called_short(x, p, threshold, wrong))
            harm = np.where(short, middle - x, x - middle)  # of a wrong bit; less than 0 where the right one does harm
            found = _filled(-harm if worst else harm, p, error)
            if np.array_equal(found, wrong):
                break
            wrong = found
        return wrong

    def called_short(
        self, x: np.ndarray, p: np.ndarray, threshold: float, wrong: np.ndarray | float
    ) -> tuple[float, float]:
        """Return the share and the work, s, of the jobs that are called short; `wrong` is the error by size `(n,)`."""
        called = p * np.where(x <= threshold, 1 - wrong, wrong)
        return float(called.sum()), float(called @ x)


def _filled(cost: np.ndarray, p: np.ndarray, share: float) -> np.ndarray:
    """Return numbers in [0, 1] `(n,)` of mean `share` under p that are 1 where the cost is least."""
    order = np.argsort(cost, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(p[order])[:-1]])
    filled = np.empty(len(p))
    filled[order] = np.clip((share * p.sum() - before) / np.where(p[order] > 0, p[order], 1.0), 0.0, 1.0)
    return filled
