"""What replicas get in addition where they cache prefixes: blocks with identities, or a radix tree, and the texts."""

from llmqueue_gym.engines.batching.cache import BLOCKS, TREE, fresh_cache
from llmqueue_gym.engines.batching.radix_tables import fresh_tree, written_out
from llmqueue_gym.engines.batching.rules import EVICTIONS, Rules
from llmqueue_gym.engines.batching.tables import ReplicaTables
from llmqueue_gym.requests import Requests

_NO_PAGES = 1 << 40  # tokens; texts of a tree have no blocks of their own


def with_cache(replica: ReplicaTables, rules: Rules) -> ReplicaTables:
    """Return the tables with room for what the rules cache."""
    size, blocks, n = len(replica.system), int(replica.system["blocks"].max()), len(replica.requests)
    replica.state["released_last"] = rules.released_last
    if rules.caching == "vllm":
        replica.state["caching"] = BLOCKS
        return replica._replace(cache=fresh_cache(size, blocks, n))
    replica.state["caching"] = TREE
    by_hits, ordered = EVICTIONS[rules.eviction], rules.queue != "fcfs"
    tree = fresh_tree(size, blocks, n, rules.block_size, by_hits, ordered)
    return replica._replace(cache=fresh_cache(size, 0, n), radix=tree)


def with_texts(replica: ReplicaTables, run: int, runs: int, given: Requests, rules: Rules) -> ReplicaTables:
    """Return the tables with what the requests of one of E runs consist of; see `Cache.filled`."""
    if rules.caching == "vllm":
        return replica._replace(cache=replica.cache.filled(run, runs, given, rules.block_size))
    rows = slice(run * (len(replica.requests) // runs), (run + 1) * (len(replica.requests) // runs))
    replica.radix.texts[rows] = 0
    return replica._replace(cache=replica.cache.filled(run, runs, written_out(given), _NO_PAGES))
