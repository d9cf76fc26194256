"""The streams of chance of a seed, by name: the only place where a seed becomes random numbers.

Whatever draws the same thing uses the same stream, so the same seed gives the same jobs on every path, another
predictor sees the very same arrivals and sizes, and policies are compared under common random numbers. A new kind of
chance is a new name at the end of the list.
"""

import numpy as np

from llmqueue_gym.errors import BadInput

NAMES = (
    "arrivals",
    "sizes",  # and lengths of requests
    "predictions",
    "patience",
    "choices",  # queues that an arrival looks at
    "ties",  # among queues
    "classes",  # of jobs, with their needs and speed-ups
    "speedups",  # predicted
)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return a stream of a seed: a child of SeedSequence(seed), without the work of seeding its parent.

    Raises:
        BadInput: the seed is negative.
    """
    if seed < 0:
        raise BadInput(f"seed={seed} must not be negative")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(NAMES.index(name),))))


def streams(seed: int, *names: str) -> list[np.random.Generator]:
    """Return several streams of a seed."""
    return [stream(seed, name) for name in names]
