"""Replicas of plans whose answers are known."""

import numpy as np

from llmqueue_gym.planning import Kind
from llmqueue_gym.profiles.base import Profile


def constant(seconds, price=1.0, most=64, seats=1):
    """A replica of so many seats whose iterations take a constant time."""
    numbers = np.array([0.0, seconds, 0.0, 0.0, 0.0])
    made = Profile("constant", "", "", "roofline", numbers, 10**6, 1.0, "a test")
    return Kind("one", made, f"vllm-v1:max_seqs={seats}", price, most)
