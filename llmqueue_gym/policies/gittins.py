"""Gittins: serve the job with the least expected remaining service per chance to finish, over the best horizon.

    rank(y, a) = inf over D > 0 of  E[min(S - a, D) | S > a, Y = y] / P(S - a <= D | S > a, Y = y)

It minimises the mean response time among all policies that see no more than the prediction y and the age a.
`gittins-blind` sees the age alone. The rank is tabulated once per pair of laws and interpolated; its layout is
`params = [m, n, y (m,), age (n,), rank (m * n,)]`, linear in both between the grid points. With exact
predictions m = 0, and the rank is what remains.

Source: Gittins, "Bandit Processes and Dynamic Allocation Indices", 1979; Aalto, Ayesta, Righter, "On the Gittins
index in the M/G/1 queue", 2009; Scully, Grosof, Harchol-Balter, "The Gittins policy is nearly optimal in the M/G/k",
2020.
"""

from functools import lru_cache

import numpy as np

from llmqueue_gym.policies.base import Policy

_SOURCE = "Gittins 1979; Aalto, Ayesta, Righter 2009"


def rank(job, params):
    m, n = int(params[0]), int(params[1])
    if m == 0:
        return job.predicted - job.age
    j, u = 0, 0.0
    if m > 1:  # which two predictions of the grid the job lies between
        lo, hi = 2, 2 + m - 1
        while hi - lo > 1:
            mid = (lo + hi) // 2
            if params[mid] <= job.predicted:
                lo = mid
            else:
                hi = mid
        j = lo - 2
        u = (job.predicted - params[lo]) / (params[hi] - params[lo])
        u = min(max(u, 0.0), 1.0)
    lo, hi = 2 + m, 2 + m + n - 1
    while hi - lo > 1:
        mid = (lo + hi) // 2
        if params[mid] <= job.age:
            lo = mid
        else:
            hi = mid
    i = lo - 2 - m
    v = (job.age - params[lo]) / (params[hi] - params[lo])
    v = min(max(v, 0.0), 1.0)
    row = 2 + m + n + j * n + i
    value = params[row] + v * (params[row + 1] - params[row])  # in this form equal ranks stay equal between grid points
    if u > 0.0:
        row += n
        value += u * (params[row] + v * (params[row + 1] - params[row]) - value)
    return value


def rank_blind(job, params):
    n = int(params[1])
    lo, hi = 3, 3 + n - 1
    while hi - lo > 1:
        mid = (lo + hi) // 2
        if params[mid] <= job.age:
            lo = mid
        else:
            hi = mid
    v = min(max((job.age - params[lo]) / (params[hi] - params[lo]), 0.0), 1.0)
    return params[lo + n] + v * (params[lo + n + 1] - params[lo + n])


@lru_cache(maxsize=8)
def _prepare(size, predictor) -> np.ndarray:
    from llmqueue_gym.theory.gittins import gittins_table  # compiles, so it waits until somebody needs a rank

    y, age, table = gittins_table(size, predictor)
    return np.concatenate([[len(y), len(age)], y, age, table.ravel()])


def _prepare_blind(size, predictor) -> np.ndarray:
    return _prepare(size, None)


def gittins() -> Policy:
    """Gittins index of prediction and age: optimal for mean response among policies that see no more."""
    return Policy("gittins", rank, shape="general", prepare=_prepare, source=_SOURCE)


def gittins_blind() -> Policy:
    """Gittins index of the age alone: optimal for mean response without predictions."""
    return Policy("gittins-blind", rank_blind, shape="general", prepare=_prepare_blind, source=_SOURCE)
