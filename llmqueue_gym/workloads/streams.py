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
from llmqueue_gym.workloads.seeds import MOST, Spawned, spawn

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


class Seeds(tuple[int, ...]):
    """Seeds of runs of one length that are drawn together, in tables that lie one after another."""


class Together:
    """A stream of each of some runs, which draw as many numbers each as if they were drawn one run after another.

    So what gives every job numbers of its own, as size laws and most predictors do, draws many runs at once. It has no
    methods but these, and gives that many numbers alone: what asks for anything else cannot draw runs together.

    Attributes:
        apart: the streams.
    """

    def __init__(self, apart: list[np.random.Generator]):
        self.apart, self._size = apart, 0

    def random(self, size: int) -> np.ndarray:
        """Return numbers from [0, 1)."""
        return self._filled("random", size)

    def standard_exponential(self, size: int) -> np.ndarray:
        """Return exponential numbers."""
        return self._filled("standard_exponential", size)

    def standard_normal(self, size: int) -> np.ndarray:
        """Return normal numbers."""
        return self._filled("standard_normal", size)

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        """Return whole numbers, `high` not among them."""
        n = self._each(size)
        return np.concatenate([one.integers(low, high, n) for one in self.apart])

    def _filled(self, kind: str, size: int) -> np.ndarray:
        table = np.empty((len(self.apart), self._each(size)))
        for one, row in zip(self.apart, table, strict=True):
            getattr(one, kind)(out=row)
        return table.ravel()

    def _each(self, size: int) -> int:
        """Return how many numbers each run draws; where some jobs draw again they can only be drawn apart."""
        n, rest = divmod(size, len(self.apart))
        if rest or self._size not in (0, size):
            raise ValueError(f"{size} numbers of {len(self.apart)} runs, which had {self._size} before")
        self._size = size
        return n


def apart(rng: Any) -> list[np.random.Generator]:
    """Return the stream of each run behind one that `stream` returns."""
    return rng.apart if isinstance(rng, Together) else [rng]


def stream(seed: int | Seeds, name: str) -> Any:
    """Return a stream of a seed, or for `Seeds` a `Together`.

    It is a Generator from a child of SeedSequence(seed), without the work of seeding its parent.

    Raises:
        BadInput: the seed is no whole number or negative, or the name is neither in the list nor one with a dot.
    """
    key = _key(name)
    if not isinstance(seed, Seeds):
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
            raise BadInput(f"seed={seed!r} must be a whole number, not negative")
        return _streams((int(seed),), key)[0]
    return Together(_streams(seed, key))


def _streams(seeds: tuple[int, ...], key: np.ndarray) -> list[np.random.Generator]:
    if max(seeds) >= MOST:
        children: Any = [np.random.SeedSequence(seed, spawn_key=key.tolist()) for seed in seeds]
    else:
        words = np.empty((len(seeds), 4), np.uint64)
        spawn(np.array(seeds), key, words)
        children = [Spawned(seed, key, row) for seed, row in zip(seeds, words, strict=True)]
    return [np.random.Generator(np.random.PCG64(child)) for child in children]


@cache
def _key(name: str) -> np.ndarray:
    """Return the spawn key of a stream, uint64 `(k,)`."""
    if name not in NAMES and "." not in name:
        raise BadInput(
            f"unknown stream {name!r}; {nearest(name, NAMES)}; or name it after its system, as in tandem.{name}"
        )
    return np.array((NAMES.index(name),) if name in NAMES else (len(name), *name.encode()), np.uint64)


def streams(seed: int | Seeds, *names: str) -> list[Any]:
    """Return several streams of a seed."""
    return [stream(seed, name) for name in names]
