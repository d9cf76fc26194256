"""Processor sharing on one server, and discriminatory processor sharing of exponential classes.

Sources: Kleinrock, "Time-Shared Systems: A Theoretical Treatment", J. ACM 1967; Fayolle, Mitrani, Iasnogorodski,
"Sharing a Processor among Many Job Classes", J. ACM 1980, whose equations are quoted in Altman, Avrachenkov, Ayesta,
"A Survey on Discriminatory Processor Sharing", Queueing Systems 2006.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import stable_load


def processor_sharing(x: np.ndarray | float, load: float) -> np.ndarray:
    """Return E[T | S = x] = x / (1 - load), s, for any law of sizes; so the mean slowdown is 1 / (1 - load)."""
    return np.asarray(x, float) / (1 - stable_load(load))


def discriminatory_sharing(rates: np.ndarray, means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean response time of each class `(k,)`, s, where shares are in proportion to weights.

    Sizes of class j are exponential with mean 1/mu_j, arrivals Poisson with rate lambda_j, and g_j is the weight. The
    mean response times T solve, for every class k,

        T_k = 1/mu_k + sum over j of lambda_j g_j (T_k + T_j) / (mu_j g_j + mu_k g_k)

    Args:
        rates: arrivals of each class `(k,)`, 1/s.
        means: mean size of each class `(k,)`, s.
        weights: of each class `(k,)`, positive.

    Raises:
        BadInput: a number is not positive.
        Unstable: the load is 1 or more.
    """
    lam, mean, g = (np.asarray(given, float) for given in (rates, means, weights))
    if not (np.all(lam > 0) and np.all(mean > 0) and np.all(g > 0)):
        raise BadInput(f"rates={rates}, means={means}, weights={weights} must be positive")
    stable_load(float(lam @ mean))
    speed = g / mean
    share = lam * g / (speed + speed[:, None])
    return np.linalg.solve(np.diag(1 - share.sum(axis=1)) - share, mean)
