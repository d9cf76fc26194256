"""What is predicted of the chance that a draft of a request is accepted: the truth and a normal error. Ours."""

import numpy as np


def predicted_acceptance(true: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """Return predicted chances `(n,)`; what leaves [0, 1] is taken to the nearer end.

    Args:
        true: `(n,)`.
        error: standard deviation; each request takes one normal number, so that errors of all sizes are alike.
        rng: the stream that belongs to these predictions alone.
    """
    return np.clip(true + error * rng.standard_normal(len(true)), 0.0, 1.0)
