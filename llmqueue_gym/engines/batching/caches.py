"""Replicas that cache prefixes, whichever way their rules say: room for it, and what the requests consist of."""

from collections.abc import Sequence
from typing import Any

from llmqueue_gym.engines.batching import cache, radix_tables
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import Requests


def let_cache(replica: Any, rules: Sequence[Rules]) -> Any:
    """Return the tables of empty replicas with room for what they cache.

    Args:
        replica: `ReplicaTables`.
        rules: of each replica.

    Raises:
        BadInput: some have trees, and others blocks with identities.
    """
    ways = sorted({own.caching for own in rules} - {"none"})
    if "radix" not in ways:
        return cache.let_cache(replica, rules)
    if len(ways) > 1:
        raise BadInput("replicas with caching=radix have no place beside caching=vllm; choose one of them, or none")
    return radix_tables.let_grow(replica, rules)


def with_contexts(replica: Any, run: int, runs: int, given: Requests, block_size: int, moves: bool = False) -> Any:
    """Return the tables with what the requests of one of E runs consist of, which are there already.

    Args:
        replica: `ReplicaTables`, of which `let_cache` has been seen to.
        run: which one.
        runs: E.
        given: its requests; without contexts nobody shares anything.
        block_size: tokens of a block, of the smallest if replicas differ.
        moves: whether requests move between replicas.
    """
    if (replica.state["caching"] == cache.TREE).any():
        return radix_tables.with_texts(replica, run, runs, given, moves)
    return cache.with_contexts(replica, run, runs, given, block_size, moves)
