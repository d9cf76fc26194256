"""What fitting a law to measured sizes needs: the sizes checked, and the likelihood equation solved."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.errors import BadInput


def positive_samples(samples: ArrayLike, law: str) -> np.ndarray:
    """Return `samples` as float64 `(n,)`.

    Raises:
        BadInput: there are none, or one is not a positive finite number; the message names the first.
    """
    array = np.asarray(samples, float)
    if array.ndim != 1 or not array.size:
        raise BadInput(f"size law {law!r} needs a list of samples, not an array of shape {array.shape}")
    bad = np.flatnonzero(~((array > 0) & (array < np.inf)))
    if bad.size:
        raise BadInput(f"size law {law!r}: sample {bad[0] + 1} must be positive and finite, not {array[bad[0]]!s}")
    return array


def likely(score: Callable[[float], float], low: float, high: float, law: str, parameter: str) -> float:
    """Return the root of a monotone `score`, the derivative of the log likelihood, between `low` and `high`.

    Raises:
        BadInput: the likelihood has no maximum there, as for samples that are all equal.
    """
    from scipy import optimize  # which takes a while, and is only needed to fit a law

    if not score(low) * score(high) <= 0:
        raise BadInput(f"size law {law!r} does not fit the samples: no {parameter} from {low:g} to {high:g} is likely")
    return float(optimize.brentq(score, low, high))
