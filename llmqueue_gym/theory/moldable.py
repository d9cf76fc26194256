"""The best possible for parallel jobs that are all there at time 0: heSRPT, of malleable jobs of one power speed-up.

Servers are divisible, a job on j of them runs j^p times as fast, and shares may change at any time. Then jobs finish in
order of size, and while m are left, the i-th largest holds the share (i/m)^c - ((i-1)/m)^c of the servers, with
c = 1 / (1-p). The sum of response times is that of the x_i (i^c - (i-1)^c)^(1/c) / k^p, with sizes x_1 >= ... >= x_n.

Moldable jobs, which keep a whole number of servers from start to end, can do no better: their schedules are among
those that heSRPT is the best of.

Source: Berg, Vesilo, Harchol-Balter, "heSRPT: Parallel scheduling to minimize mean slowdown", Performance Evaluation
2020, on mean response time; the sum is written out here in a shorter form, which tests compare with a numerical search.
"""

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import server_count


def hesrpt_shares(jobs: int, exponent: float) -> np.ndarray:
    """Return the share of the servers of each job that is left `(jobs,)`, the largest job first.

    Args:
        jobs: how many are left.
        exponent: p, in [0, 1); at 1 the smallest job has all.
    """
    _check(exponent)
    if exponent == 1:
        return np.eye(1, jobs, jobs - 1)[0]
    return np.diff((np.arange(jobs + 1) / jobs) ** (1 / (1 - exponent)))


def hesrpt_response_time(sizes: ArrayLike, servers: int, exponent: float) -> float:
    """Return the least mean response time of jobs that are all there at time 0, s.

    Args:
        sizes: times on one server `(n,)`, s.
        servers: k.
        exponent: p of the speed-up j^p, in [0, 1].

    Raises:
        BadInput: no job, a size that is negative or not finite, fewer than one server, or p outside [0, 1].
    """
    k, x = server_count(servers), np.sort(np.atleast_1d(np.asarray(sizes, float)))[::-1]
    _check(exponent)
    if len(x) == 0 or not (np.isfinite(x) & (x >= 0)).all():
        raise BadInput(f"sizes={x.tolist()} must be finite and not negative, and at least one")
    i = np.arange(1, len(x) + 1)
    weight = i * 1.0
    if exponent < 1:  # i^c would overflow where p is near 1
        weight *= (1 - (1 - 1 / i) ** (1 / (1 - exponent))) ** (1 - exponent)
    return float(weight @ x / k**exponent / len(x))


def _check(exponent: float) -> None:
    if not 0 <= exponent <= 1:
        raise BadInput(f"exponent={exponent:g} of the speed-up must lie in [0, 1], for example 0.5")
