"""Contexts are dropped as soon as their programs go, and computed again when these are back.

Source: the baseline "discard" of InferCept, ICML 2024: a serving engine that knows nothing of programs.
"""

from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.requests import DISCARD


def keep(away, system, params):
    return DISCARD


def discard() -> RetentionPolicy:
    """Drop every context."""
    return RetentionPolicy("discard", keep, source="InferCept, ICML 2024, policy D")
