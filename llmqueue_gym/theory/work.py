"""Work in system of M/G/1, which no work-conserving policy changes: its moments, and how slowly its mean settles."""

from collections.abc import Sequence

import numpy as np

from llmqueue_gym.theory.erlang import stable_load


def moments_of_work(sizes: Sequence[float], lam: float) -> tuple[float, float, float]:
    """Return E[V], E[V^2] and E[V^3] of the work in system, in s, s^2 and s^3.

    Source: Takacs' recursion, as in Kleinrock, "Queueing Systems", volume 1, section 5.7.

    Args:
        sizes: E[S] to E[S^4] `(4,)`; those that do not exist are inf.
        lam: arrival rate, 1/s.

    Raises:
        Unstable: the load is 1 or more.
    """
    first, second, third, fourth = sizes
    a = lam / (1 - stable_load(lam * first))
    mean = a * second / 2
    square = 2 * mean**2 + a * third / 3
    return mean, square, a * (1.5 * second * square + third * mean + fourth / 4)


def variance_of_mean_work(sizes: Sequence[float], lam: float, n: int) -> float:
    """Return the variance of the mean work that many arrivals meet, s^2: what a run of that length cannot tell.

    The work W that an arrival meets leads to (W + S - A)^+ for the next. With g(w) = lam w^2 / (2 (1 - rho)) + w / (1 -
    rho), the mean of g falls by w - E[W] from one arrival to the next, so g solves Poisson's equation, and the
    asymptotic variance is 2 Cov(W, g(W)) - Var(W).

    Source: Asmussen and Glynn, "Stochastic Simulation", IV.3 (Poisson's equation); on its use Whitt, "Planning queueing
    simulations", Management Science 1989.

    Args:
        sizes: as in `moments_of_work`.
        lam: arrival rate, 1/s.
        n: arrivals in a row.
    """
    mean, square, cube = moments_of_work(sizes, lam)
    left = 1 - lam * sizes[0]
    spread = (lam * (cube - mean * square) + (2 - left) * (square - mean**2)) / left
    return spread / n if np.isfinite(cube) else np.inf
