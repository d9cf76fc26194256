"""Programs that fork into branches on servers of their own, and end when all branches have.

Sources: Flatto, Hahn, "Two Parallel Queues Created by Arrivals with Two Demands I", SIAM J. Appl. Math. 1984 (two
branches, exact); Nelson, Tantawi, "Approximate Analysis of Fork/Join Synchronization in Parallel Queues", IEEE Trans.
Computers 1988 (more of them).
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import server_count, stable_load

MOST = 32  # branches for which the approximation was made


def two_branches(load: float, mean: float = 1.0) -> float:
    """Return the mean response time, s: (12 - rho) / 8 times that of the M/M/1, exactly.

    Programs come as a Poisson process, and each puts one exponential call in each of two queues.

    Args:
        load: rho of each server, in (0, 1).
        mean: of a call, s.
    """
    return (12 - stable_load(load)) / 8 * mean / (1 - load)


def branches(n: int, load: float, mean: float = 1.0) -> float:
    """Return the mean response time with n branches, s: exact for one and two, else an approximation for up to 32.

    Nelson and Tantawi found it within 5 % of simulations.
    """
    server_count(n)
    if n > MOST:
        raise BadInput(f"n={n} branches; the approximation is for {MOST} at most")
    if n == 1:
        return mean / (1 - stable_load(load))
    two, harmonic = two_branches(load, mean), sum(1 / i for i in range(1, n + 1))
    share = harmonic / 1.5  # of the harmonic number of two
    return float((share + 4 / 11 * (1 - share) * load) * two)
