"""The power of d choices: n FCFS queues, each job joins the shortest of d queues that it samples. Exponential sizes.

Poisson arrivals of rate lambda n, service at rate 1 (sizes in s with another mean only scale time). Ties are broken at
random, so with x_i the share of queues with at least i jobs, a job joins a queue of i - 1 jobs at rate
n lambda (x_(i-1)^d - x_i^d) where the d queues are sampled with replacement. Where they are different, as in
`engines.dispatch`, the chance that all have at least i jobs is x_i^d - d (d - 1) / 2 x_i^(d - 1) (1 - x_i) / n, up to
order 1 / n^2: the same limit, and another term of order 1 / n.

Sources: Vvedenskaya, Dobrushin, Karpelevich 1996; Mitzenmacher, "The Power of Two Choices in Randomized Load
Balancing", 2001; Gast and Van Houdt, "A Refined Mean Field Approximation", POMACS 1(2), 2017, theorem 3.1.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded, solve_continuous_lyapunov

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import server_count, stable_load

CUT = 1e-14  # tails below are left out
MAX_LENGTH = 100_000


@dataclass(frozen=True)
class PowerOfD:
    """The limit of many queues, and its correction for n of them.

    Attributes:
        load: lambda E[S] per queue.
        choices: d, queues sampled by a job.
        mean: E[S], s.
        repeats: whether a sample may hold a queue more than once, as in the paper of 2017.

    Raises:
        BadInput: a number is out of range, or a load so near to 1 that queues get too long to list.
    """

    load: float
    choices: int = 2
    mean: float = 1.0
    repeats: bool = False

    def __post_init__(self) -> None:
        stable_load(self.load)
        server_count(self.choices)
        if not 0 < self.mean < np.inf:
            raise BadInput(f"mean={self.mean!r} must be a positive number of seconds")
        if self.choices == 1 and np.log(CUT) / np.log(self.load) > MAX_LENGTH:
            raise BadInput(f"load={self.load!r} with one choice has queues of over {MAX_LENGTH} jobs; try 0.999")

    @property
    def tails(self) -> np.ndarray:
        """P(queue >= i), i = 0, 1, ..., as n -> inf: load^((d^i - 1) / (d - 1)); load^i for d = 1."""
        tails = [1.0]
        while tails[-1] > CUT:
            tails.append(self.load * tails[-1] ** self.choices)  # (d^(i+1) - 1) / (d - 1) = 1 + d (d^i - 1) / (d - 1)
        return np.array(tails[:-1])

    @property
    def correction(self) -> np.ndarray:
        """V_i, i = 0, 1, ...: P(queue >= i) for n queues is tails_i + V_i / n + O(1 / n^2).

        With drift f, Jacobian A and second derivatives B of f at the fixed point, and Q the covariance of the jumps:
        A W + W A' + Q = 0 for the fluctuations W, and A V + (B : W) / 2 + C = 0, where C / n is what different queues
        in a sample change of f.
        """
        x, d, lam = self.tails, self.choices, self.load
        if d == 1:
            return np.zeros(len(x))  # the drift is linear: every queue is an M/M/1 whatever n is
        m = len(x) - 1
        slope = lam * d * x ** (d - 1)  # of lambda x_i^d
        jacobian = np.diag(-slope[1:] - 1) + np.diag(slope[1:-1], -1) + np.diag(np.ones(m - 1), 1)
        # Up and down moves of one level are equally frequent at the fixed point: 2 (x_i - x_(i+1)).
        noise = np.diag(2 * (x[1:] - np.append(x[2:], 0.0)))
        spread = np.diag(solve_continuous_lyapunov(jacobian, -noise))
        bend = lam * d * (d - 1) * x ** (d - 2)
        bend[0] = 0.0  # x_0 = 1 does not move
        curved = bend * np.append(0.0, spread)
        pull = 0.5 * (curved[:-1] - curved[1:])
        if not self.repeats:
            fewer = 0.5 * lam * d * (d - 1) * x ** (d - 1) * (1 - x)
            pull -= fewer[:-1] - fewer[1:]
        banded = np.zeros((3, m))
        banded[0, 1:], banded[1], banded[2, :-1] = 1.0, np.diag(jacobian), np.diag(jacobian, -1)
        return np.append(0.0, solve_banded((1, 1), banded, -pull))

    def queue_tails(self, queues: float = np.inf) -> np.ndarray:
        """Return P(queue >= i), i = 0, 1, ..., for n queues, refined by 1 / n; the limit where n is inf."""
        if queues == np.inf:
            return self.tails
        return self.tails + self.correction / server_count(queues)  # type: ignore[arg-type]

    def mean_jobs(self, queues: float = np.inf) -> float:
        """Return E[jobs per queue], in queue or served; the error for n queues is of order 1 / n^2."""
        return float(self.queue_tails(queues)[1:].sum())

    def mean_response_time(self, queues: float = np.inf) -> float:
        """Return E[T], s, by Little's law."""
        return self.mean_jobs(queues) * self.mean / self.load
