"""Poisson arrivals and exponential sizes on servers of different speeds: one exact policy, bounds for all others.

`rates` are the completions per second `(k,)` of each server when busy, and `lam` arrivals, 1/s, fewer than all rates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import spsolve

from llmqueue_gym.errors import BadInput, NotApplicable, Unstable

MAX_EXACT = 12  # 2^12 sets of busy servers


@dataclass(frozen=True)
class UnequalServers:
    """A queue with unequal servers.

    Attributes:
        mean_jobs: E[N], jobs waiting or served.
        mean_response_time: E[T], s.
        mean_wait: E[W], s, of jobs in the queue; nan where jobs move between servers.
        delay_probability: P(an arrival finds every server busy).
        busy: the share of time that each server is busy `(k,)`, fastest first.
    """

    mean_jobs: float
    mean_response_time: float
    mean_wait: float
    delay_probability: float
    busy: np.ndarray


def fastest_first(rates: ArrayLike, lam: float) -> UnequalServers:
    """Return the exact queue in which an arrival takes the fastest idle server and stays there, else waits FCFS.

    The state is the set of busy servers; once all are busy, the number in the queue is geometric with ratio lambda /
    total. For two servers this is the classical solution (Gumbel, Operations Research 8, 1960). The policy never leaves
    a server idle while a job waits, which is not always best: it can pay to keep a very slow server idle (Lin and
    Kumar, IEEE Transactions on Automatic Control 29, 1984).

    Raises:
        NotApplicable: more than 12 servers.
    """
    mu = _rates(rates, lam)
    k = len(mu)
    if k > MAX_EXACT:
        raise NotApplicable(f"{k} unequal servers: the exact solution takes at most {MAX_EXACT}; use shared_fastest")
    sets = np.arange(1 << k)
    busy = (sets[:, None] >> np.arange(k)) & 1  # bit i: server i, fastest first
    first_idle = np.argmin(busy[:-1], axis=1)
    rows, cols, flow = [sets[:-1]], [sets[:-1] | (1 << first_idle)], [np.full(len(sets) - 1, float(lam))]
    for i in range(k):
        on = sets[busy[:, i] == 1]
        rows.append(on)
        cols.append(on ^ (1 << i))
        flow.append(np.full(len(on), mu[i]))
    source, target, rate = (np.concatenate(part) for part in (rows, cols, flow))
    n = len(sets)
    balance = csr_matrix((rate, (target, source)), shape=(n, n)) - csr_matrix((rate, (source, source)), shape=(n, n))
    # What flows from "all busy" to a queue of one flows back, so the sets balance among themselves.
    balance = balance.tolil()
    balance[0] = 1.0
    p = spsolve(balance.tocsc(), np.eye(1, n)[0])
    ratio = lam / mu.sum()
    full = p[-1] / (1 - ratio)  # all busy, with any number in the queue
    p[-1] = full
    p /= p.sum()
    waiting = p[-1] * ratio / (1 - ratio)
    jobs = float(p @ busy.sum(axis=1) + waiting)
    return UnequalServers(jobs, jobs / lam, float(waiting / lam), float(p[-1]), p @ busy)


def shared_fastest(rates: ArrayLike, lam: float) -> UnequalServers:
    """Return the queue in which n jobs always occupy the n fastest servers, moving at no cost: a floor for all others.

    The number of jobs is a birth and death chain whose death rate at every n is the largest that any policy has there.
    Coupled with the chain of any other policy (also one that leaves servers idle) it has no more jobs at any time, so
    its E[N] and E[T] are lower bounds for every policy that does not know the sizes.
    """
    mu = _rates(rates, lam)
    k = len(mu)
    logs = np.concatenate([[0.0], np.cumsum(np.log(lam / np.cumsum(mu)))])  # p_n / p_0, n = 0 ... k
    ratio = lam / mu.sum()
    p = np.exp(logs - logs.max())
    p[k] /= 1 - ratio
    p /= p.sum()
    jobs = float(p @ np.arange(k + 1) + p[k] * ratio / (1 - ratio))
    busy = np.cumsum(p[::-1])[::-1][1:]
    return UnequalServers(jobs, jobs / lam, float("nan"), float(p[k]), busy)


def one_fast_server(rates: ArrayLike, lam: float) -> float:
    """Return E[T], s, of the M/M/1 of the total rate: a simpler and lower floor than `shared_fastest`.

    One server of the total speed can imitate any schedule of the k servers by sharing itself.
    """
    return 1 / float(_rates(rates, lam).sum() - lam)


def _rates(rates: ArrayLike, lam: float) -> np.ndarray:
    mu = np.sort(np.atleast_1d(np.asarray(rates, float)))[::-1]
    if mu.ndim != 1 or len(mu) == 0 or not np.all((mu > 0) & (mu < np.inf)):
        raise BadInput(f"rates={rates!r} must be one or more positive numbers, 1/s")
    if not lam > 0:
        raise BadInput(f"lam={lam!r} must be a positive number of arrivals per second")
    if lam >= mu.sum():
        raise Unstable(f"lam={lam:g} is unstable: the servers complete {mu.sum():g} jobs per second together")
    return mu
