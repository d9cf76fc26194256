"""Drafts of one length, but not beyond the predicted end of the output, where they would be thrown away.

Who outlives its prediction drafts as before.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation.base import SpeculationPolicy


def draft(job, seen, params):
    left = np.ceil(job.predicted - job.age)
    return params[0] if left < 1 else min(params[0], left - 1)


def to_the_end(g: int = 3) -> SpeculationPolicy:
    """Drafts that end with the output.

    Args:
        g: tokens, 0 or more.
    """
    if g < 0:
        raise BadInput(f"to-the-end: g={g} tokens; 0 or more")
    return SpeculationPolicy("to-the-end", draft, params=(float(g),), source="ours")
