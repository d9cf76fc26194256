"""Numbers that laws of programs are drawn from: whole ones around a mean, and lengths and times that are log-normal."""

import numpy as np
from scipy import stats

from llmqueue_gym.workloads.requests.lengths import whole_tokens


def lognormal(mean: np.ndarray | float, deviation: np.ndarray | float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return log-normal numbers `(n,)` of a mean and a standard deviation, one normal number of `rng` each."""
    variance = np.log1p((np.asarray(deviation) / mean) ** 2)
    return mean * np.exp(np.sqrt(variance) * rng.standard_normal(n) - variance / 2)


def tokens(mean: np.ndarray | float, sigma: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return whole tokens `(n,)`, at least 1, log-normal before rounding; sigma is that of the logarithm."""
    return whole_tokens(mean * np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2))


def count_law(mean: float, deviation: float, most: int) -> np.ndarray:
    """Return P(k) of k = 1 to most `(most,)`: a gamma number of a mean and a deviation, rounded, and moved in between.

    What lies below 1 counts as 1, and what lies above the most as the most.
    """
    law = stats.gamma((mean / deviation) ** 2, scale=deviation**2 / mean)
    up_to = law.cdf(np.arange(1, most) + 0.5)
    return np.diff(np.concatenate([[0.0], up_to, [1.0]]))


def counts(law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n of the numbers from 1 on whose probabilities are told, int64, one uniform number of `rng` each."""
    return 1 + np.searchsorted(np.cumsum(law), rng.random(n), side="right").clip(max=len(law) - 1)
