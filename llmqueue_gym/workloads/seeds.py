"""The words that NumPy makes of a seed, ten times sooner: short episodes spend most of their time on being seeded.

Source: `numpy.random.SeedSequence`, after O'Neill, "Developing a seed_seq Alternative" (2015). NumPy promises that its
numbers stay what they are.
"""

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence

from llmqueue_gym._jit import kernel

MOST = 2**63  # seeds are less

_POOL = 4
_LOW, _HALF, _SHIFT = np.uint64(2**32 - 1), np.uint64(32), np.uint64(16)
_INIT_A, _MULT_A = np.uint64(0x43B0D7E5), np.uint64(0x931E8875)
_INIT_B, _MULT_B = np.uint64(0x8B51F9DD), np.uint64(0x58F38DED)
_MIX_L, _MIX_R = np.uint64(0xCA01F9DD), np.uint64(0x4973F715)


class Spawned(ISpawnableSeedSequence):
    """The child of a SeedSequence as PCG64 takes it."""

    def __init__(self, seed: int, key: np.ndarray, words: np.ndarray):
        """Keep the words `(4,)` that `spawn` writes for a seed and a key."""
        self._seed, self._key, self._words = seed, key, words
        self._parent: np.random.SeedSequence | None = None

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> np.ndarray:
        """Return the four words of 64 bits that PCG64 asks for."""
        return self._words

    def spawn(self, n_children: int) -> list[np.random.SeedSequence]:  # type: ignore[override]
        """Return children, as `Generator.spawn` asks for them."""
        if self._parent is None:
            self._parent = np.random.SeedSequence(self._seed, spawn_key=self._key.tolist())
        return self._parent.spawn(n_children)


@kernel
def _hashed(value, factor, multiplier):
    """Return a word of 32 bits, scrambled, and the factor for the next one."""
    grown = (factor * multiplier) & _LOW
    value = ((value ^ factor) * grown) & _LOW
    return value ^ (value >> _SHIFT), grown


@kernel
def spawn(seeds, key, words):
    """Write to `words` `(E, 4)` what `SeedSequence(seed, spawn_key=key).generate_state(4, np.uint64)` returns for each.

    Args:
        seeds: `(E,)`, from 0 to `MOST`, which they are less than.
        key: uint64 `(k,)`, each less than 2^32.
        words: uint64.
    """
    pool = np.zeros(_POOL, np.uint64)
    for e in range(len(seeds)):
        pool[0], pool[1] = np.uint64(seeds[e]) & _LOW, np.uint64(seeds[e]) >> _HALF
        pool[2], pool[3] = np.uint64(0), np.uint64(0)
        factor = _INIT_A
        for i in range(_POOL):
            pool[i], factor = _hashed(pool[i], factor, _MULT_A)
        for i in range(_POOL + len(key)):  # each word is mixed into all of the pool, its own into the others
            for j in range(_POOL):
                if i != j:
                    value, factor = _hashed(pool[i] if i < _POOL else key[i - _POOL], factor, _MULT_A)
                    mixed = (((_MIX_L * pool[j]) & _LOW) + (_LOW - ((_MIX_R * value) & _LOW)) + np.uint64(1)) & _LOW
                    pool[j] = mixed ^ (mixed >> _SHIFT)
        factor = _INIT_B
        for i in range(4):
            low, factor = _hashed(pool[2 * i % _POOL], factor, _MULT_B)
            high, factor = _hashed(pool[(2 * i + 1) % _POOL], factor, _MULT_B)
            words[e, i] = low | (high << _HALF)
