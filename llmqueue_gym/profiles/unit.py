"""The model of theory: an iteration takes one unit of time, and a token one unit of memory."""

import numpy as np

from llmqueue_gym.profiles.base import Profile


def unit(kv_tokens: int = 16_492) -> Profile:
    """Every iteration takes 1 s, whatever its batch."""
    return Profile(
        name="unit",
        model="any",
        gpu="any",
        form="roofline",
        numbers=np.array([1.0, 1.0, 0, 0, 0]),
        kv_tokens=kv_tokens,
        kv_bytes_per_token=1.0,
        source="the discrete rounds of Jaillet et al., arXiv 2502.07115, whose experiment has room for 16492 tokens",
        error="none, by definition",
    )
