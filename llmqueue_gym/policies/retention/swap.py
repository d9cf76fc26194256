"""Contexts go to the host as soon as their programs go, and come back with these.

Source: the baseline "swap" of InferCept, ICML 2024.
"""

from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.requests import SWAP


def keep(away, system, params):
    return SWAP


def swap() -> RetentionPolicy:
    """Move every context to the host."""
    return RetentionPolicy("swap", keep, source="InferCept, ICML 2024, policy S")
