"""The streams of chance of a seed, by name: the only place where a seed becomes random numbers.

Whatever draws the same thing uses the same stream, so the same seed gives the same jobs on every path, another
predictor sees the very same arrivals and sizes, and policies are compared under common random numbers. A new kind of
chance is a new name at the end of the list; one that a single kind of system has is named after it, with a dot, as in
`tandem.second`, and needs no entry.
"""

import numpy as np

from llmqueue_gym.errors import BadInput, nearest

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
        BadInput: the seed is no whole number or negative, or the name is neither in the list nor one with a dot.
    """
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise BadInput(f"seed={seed!r} must be a whole number, not negative")
    if name not in NAMES and "." not in name:
        raise BadInput(
            f"unknown stream {name!r}; {nearest(name, NAMES)}; or name it after its system, as in tandem.{name}"
        )
    key = (NAMES.index(name),) if name in NAMES else (len(name), *name.encode())
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def streams(seed: int, *names: str) -> list[np.random.Generator]:
    """Return several streams of a seed."""
    return [stream(seed, name) for name in names]
