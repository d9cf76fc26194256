"""What no policy can beat on the same jobs: a floor of the mean response time, a ceiling of the share that is served.

One server k times as fast can imitate any schedule of k servers, and SRPT is best on it, so its mean is a floor
(Schrage 1968; Grosof, Scully, Harchol-Balter, SRPT for Multiserver Systems, 2018). A job of size p that needs c servers
is there one of size c p. So is the mean size, as nobody takes less time than his own size; and a third floor lies above
both where servers are few and busy. Let M be the mean time at which a job is worked on. A job takes at least p in all,
so it ends at M + p / 2 or later, and the mean of M less the arrival is least where the fast server always takes the job
of least original size, whatever is left of it (Goemans 1997; Goemans, Queyranne, Schulz, Skutella, Wang, Single Machine
Scheduling with Release Dates, SIAM J. Discrete Math 2002; for parallel machines Chou, Queyranne, Simchi-Levi 2006). The
floor is the greatest of the three. That the jobs are a part of all, as after a warm-up, leaves it a floor.

Of jobs that give up, the servers cannot in the long run complete more work than they have time for, so the smallest
jobs that keep them busy are the most that can be served. That is an expectation: a short run can lie above it.
"""

import functools
import heapq

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.distributions import size_law
from llmqueue_gym.evaluation.bench.servers.cases import Case
from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.jobs import Instance, job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.theory.impatience import Fluid, NoisyOverload


def floor(arrivals: np.ndarray, sizes: np.ndarray, needs: np.ndarray, servers: int) -> float:
    """Return a floor of the mean response time of any policy, s.

    Args:
        arrivals: sorted `(n,)`, s.
        sizes: true ones `(n,)`, s, positive.
        needs: servers that each occupies `(n,)`.
        servers: how many there are, each of speed 1.
    """
    pooled = np.ascontiguousarray(sizes * needs / servers)
    run = simulate(Instance(job_table(arrivals, pooled), pooled), policy("srpt"))
    begun = _mean_busy_delay(np.ascontiguousarray(arrivals, np.float64), pooled)
    return float(max(run.response_times.mean(), sizes.mean(), begun + 0.5 * sizes.mean()))


def ceiling(case: Case) -> float:
    """Return the share of the jobs that can be served in the long run, told the true sizes."""
    return fluid_sjf(case.size, "exact", case.load).served


@functools.cache
def fluid_sjf(size: str, told: str, load: float) -> Fluid:
    """Return what least prediction first serves in the fluid limit, the most by those predictions without preemption.

    Its threshold is the best one of two classes, too: those below are just what there is time for.
    """
    return NoisyOverload(size_law(size), predictor(told), load).noisy_sjf()


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
