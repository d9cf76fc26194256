"""Replicas that cache prefixes, whichever way their rules say: room for it, and what the requests consist of."""

from typing import Any

from llmqueue_gym.engines.batching import cache, radix_tables
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.requests import Requests


def let_cache(replica: Any, rules: Rules) -> Any:
    """Return the tables of empty replicas with room for what they cache."""
    return radix_tables.let_grow(replica, rules) if rules.caching == "radix" else cache.let_cache(replica, rules)


def with_contexts(replica: Any, run: int, runs: int, given: Requests, rules: Rules) -> Any:
    """Return the tables with what the requests of one of E runs consist of, which are there already."""
    if rules.caching == "radix":
        return radix_tables.with_texts(replica, run, runs, given)
    return cache.with_contexts(replica, run, runs, given, rules.block_size)
