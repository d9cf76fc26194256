"""The streams of chance of a seed, by name: the only place where a seed becomes random numbers.

Whatever draws the same thing uses the same stream, so the same seed gives the same jobs on every path, another
predictor sees the very same arrivals and sizes, and policies are compared under common random numbers. A new kind of
chance is a new name at the end of the list; one that a single kind of system has is named after it, with a dot, as in
`tandem.second`, and needs no entry.
"""

from functools import cache
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.workloads.seeds import MOST, Spawned

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
    key = _key(name)
    child: Any = Spawned(int(seed), key) if seed < MOST else np.random.SeedSequence(int(seed), spawn_key=key.tolist())
    return np.random.Generator(np.random.PCG64(child))


@cache
def _key(name: str) -> np.ndarray:
    """Return the spawn key of a stream, uint64 `(k,)`."""
    if name not in NAMES and "." not in name:
        raise BadInput(
            f"unknown stream {name!r}; {nearest(name, NAMES)}; or name it after its system, as in tandem.{name}"
        )
    return np.array((NAMES.index(name),) if name in NAMES else (len(name), *name.encode()), np.uint64)


def streams(seed: int, *names: str) -> list[np.random.Generator]:
    """Return several streams of a seed."""
    return [stream(seed, name) for name in names]
