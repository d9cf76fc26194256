"""Contexts stay until their programs are back.

Source: the baseline "preserve" of InferCept, ICML 2024; paged attention with nothing else decided.
"""

from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.requests import PRESERVE


def keep(away, system, params):
    return PRESERVE


def preserve() -> RetentionPolicy:
    """Keep every context."""
    return RetentionPolicy("preserve", keep, source="InferCept, ICML 2024, policy P")
