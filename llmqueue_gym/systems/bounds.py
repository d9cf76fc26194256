"""What no policy can beat on the same jobs: floors of the mean response time, and the share that is lost at least.

One server k times as fast can imitate any schedule of k servers, and SRPT is best on it, so its mean is a floor
(Schrage 1968; Grosof, Scully, Harchol-Balter, SRPT for Multiserver Systems, 2018). A job of size p that needs c servers
is there one of size c p. So is the mean size, as nobody takes less time than his own size; and a third floor lies above
both where servers are few and busy. Let M be the mean time at which a job is worked on. A job takes at least p in all,
so it ends at M + p / 2 or later, and the mean of M less the arrival is least where the fast server always takes the job
of least original size, whatever is left of it (Goemans 1997; Goemans, Queyranne, Schulz, Skutella, Wang, Single Machine
Scheduling with Release Dates, SIAM J. Discrete Math 2002; for parallel machines Chou, Queyranne, Simchi-Levi 2006). The
floor is the greatest of the three.

A run starts empty and lasts until all jobs have left, and all of them count: of a part of the jobs, SRPT need not have
the least total.
"""

import heapq

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.engines import single_server
from llmqueue_gym.engines.state import HEAP, fresh_state
from llmqueue_gym.jobs import job_table, outcome_table
from llmqueue_gym.policies.sprpt import srpt


def srpt_mean(arrivals: np.ndarray, sizes: np.ndarray) -> float:
    """Return the mean response time of SRPT on one server, s, the least of all policies.

    Args:
        arrivals: sorted `(n,)`, s.
        sizes: true ones `(n,)`, s.
    """
    policy, sizes = srpt(), np.require(sizes, np.float64, ["C", "W"])
    jobs, outcome = job_table(arrivals, sizes), outcome_table(len(sizes))
    tables = (records(jobs), sizes, records(outcome), records(np.zeros(len(sizes), HEAP)))
    traits = (policy.preemptive, True, policy.lcfs_up_to)
    single_server.simulate(records(fresh_state())[0], *tables, policy.compiled()[0], policy.params_for(), *traits)
    return float((outcome["completion"] - jobs["arrival"]).mean())


def floor(
    arrivals: np.ndarray, sizes: np.ndarray, needs: np.ndarray | int, total_speed: float, fastest: float = 1.0
) -> float:
    """Return a floor of the mean response time of any policy, s.

    Args:
        arrivals: sorted `(n,)`, s.
        sizes: true ones `(n,)`, s on a server of speed 1, positive.
        needs: servers that each occupies `(n,)`.
        total_speed: of all servers.
        fastest: speed of the fastest server.
    """
    pooled = np.ascontiguousarray(sizes * needs / total_speed)
    begun = _mean_busy_delay(np.ascontiguousarray(arrivals, np.float64), pooled)
    shortest = float(np.mean(sizes)) / fastest
    return max(srpt_mean(arrivals, pooled), shortest, float(begun) + 0.5 * shortest)


def floor_of_choices(arrivals: np.ndarray, times: np.ndarray, shares: np.ndarray, prices: np.ndarray) -> float:
    """Return a floor of the mean of response time and price of any policy, where each job is served in one of m ways.

    The three floors above hold of the way that each job is served in, whatever else is done for it, with the least
    share of all servers' work that it can take. A price is paid once for that way, so each floor adds the least that it
    leaves open: of the price alone; of time and price; of half of the time and the price.

    Args:
        arrivals: sorted `(n,)`, s.
        times: of each job in each way `(n, m)`, s, positive.
        shares: of all servers' work that a job takes meanwhile `(m,)`.
        prices: of each job in each way `(n, m)`, s, not negative.
    """
    pooled = np.ascontiguousarray((times * shares).min(axis=1))
    begun = float(_mean_busy_delay(np.ascontiguousarray(arrivals, np.float64), pooled))
    cheapest = srpt_mean(arrivals, pooled) + float(prices.min(axis=1).mean())
    alone = float((times + prices).min(axis=1).mean())
    return max(cheapest, alone, begun + float((0.5 * times + prices).min(axis=1).mean()))


def lost_share(arrivals: np.ndarray, sizes: np.ndarray, patience: np.ndarray, speeds: np.ndarray) -> float:
    """Return the share of impatient jobs that is lost at least.

    The last start is at most when the last one gives up, so but for one job a server all that is served fits in all
    servers' time until then; the smallest jobs are most.
    """
    room = float(np.sum(speeds)) * float((arrivals + patience).max())
    within = int(np.searchsorted(np.cumsum(np.sort(sizes)), room, side="right"))
    return 1 - min(within + len(speeds), len(sizes)) / len(sizes)


@kernel
def _mean_busy_delay(arrivals, sizes):
    """Return the mean of M less the arrival, s, on one server that takes the job of least original size first.

    A job's M less its arrival is the time integral of the share of it that is left, and the integral is that of their
    sum: it falls at a rate of one over the size of the job in service.
    """
    n, now, shares, total = len(arrivals), 0.0, 0.0, 0.0
    queue = [(np.inf, np.inf)]  # size, what is left; the last has no end and keeps the list typed
    for i in range(n + 1):
        until = arrivals[i] if i < n else np.inf
        while len(queue) > 1 and now < until:
            size, left = queue[0]
            step = min(left, until - now)
            total += shares * step - 0.5 * step * step / size
            now += step
            shares -= step / size
            if step == left:
                heapq.heappop(queue)
            else:
                heapq.heapreplace(queue, (size, left - step))
        if len(queue) == 1:
            shares = 0.0
        if i < n:
            now = arrivals[i]
            heapq.heappush(queue, (sizes[i], sizes[i]))
            shares += 1.0
    return total / n
