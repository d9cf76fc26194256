"""Jobs that need several servers at once, against the pool: one M/G/1 that never wastes a server.

A job of class i holds `needs[i]` of the k servers for a duration of its own law; its size is duration * need, in
server-seconds. The pool serves jobs one at a time with all k servers, FCFS. Its wait is the reference of ServerFilling,
whose mean response time over the pool's tends to 1 as the load does, where k and all needs are powers of two.

Nothing is claimed about FCFS on the real servers: its head of line leaves servers idle, so it may be unstable at loads
far below 1.

Source: Grosof, Harchol-Balter, Scheller-Wolf, "WCFS: a new framework for analyzing multiserver systems", Queueing
Systems 2022.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.erlang import server_count, stable_load


@dataclass(frozen=True)
class Pool:
    """The resource-pooled M/G/1.

    Attributes:
        load: lambda E[size] / k.
        rate: arrivals lambda, 1/s.
        mean_size: E[duration * need], server-seconds.
        mean_wait: rho E[size^2] / (2 E[size] k (1 - rho)), s.
        mean_response_time: mean_wait + E[size] / k, s, of a pool where each job runs on all servers.
        response_with_durations: mean_wait + E[duration], s: the wait of the pool and the real durations; an estimate
            for a policy that keeps all servers busy, no bound.
    """

    load: float
    rate: float
    mean_size: float
    mean_wait: float
    mean_response_time: float
    response_with_durations: float


def pooled(servers: int, shares: ArrayLike, needs: ArrayLike, durations: Sequence[Any], load: float) -> Pool:
    """Return the pool of a mix of classes at a load.

    Args:
        servers: k.
        shares: probability of each class `(m,)`, summing to 1.
        needs: servers that a job of each class holds `(m,)`, from 1 to k.
        durations: law of the duration of each class `(m,)`, s.
        load: lambda E[size] / k, in (0, 1).
    """
    k = server_count(servers)
    stable_load(load)
    p, need = np.atleast_1d(np.asarray(shares, float)), np.atleast_1d(np.asarray(needs))
    if not len(p) == len(need) == len(durations) > 0:
        raise BadInput(
            f"shares, needs and durations have {len(p)}, {len(need)}, {len(durations)} classes; give as many"
        )
    if not (np.all(p >= 0) and abs(p.sum() - 1) < 1e-9):
        raise BadInput(f"shares={p.tolist()} must be probabilities that sum to 1, not to {p.sum():g}")
    for n in need.tolist():
        if server_count(n) > k:
            raise BadInput(f"a need of {n} servers is more than the {k} there are; give at most {k}")
    first = np.array([law.mean for law in durations])
    second = np.array([law.moment(2) for law in durations])
    if not np.isfinite(second).all():
        worst = durations[int(np.argmax(second))]
        raise NotApplicable(f"duration law {worst} has no second moment, so the pool's wait is infinite")
    mean_size = float(p @ (need * first))
    excess = float(p @ (need**2 * second)) / (2 * mean_size)
    wait = load * excess / (k * (1 - load))
    return Pool(load, load * k / mean_size, mean_size, wait, wait + mean_size / k, wait + float(p @ first))
