"""The cells of a radix cache: a tree of texts whose keys and values are held, in the array of numbers of `cache`.

Nodes are named by the place of their first cell, and place 0 names none. A key is a run of tokens, kept as a slice of
the pieces of the request that brought it: the piece in which it begins, the tokens of that before it, and its length.
So keys cost nothing to copy and are compared piece by piece, never token by token. The output of a request is the piece
behind those of its prompt.

Each replica has a tree: its head, then its nodes, the root first, its buckets, and its heap of leaves. Where its queue
is put in order a second tree follows, the probe, of what waits; and then room to sort in.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.engines.batching import cache
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts, Requests

if TYPE_CHECKING:
    from llmqueue_gym.engines.batching.rules import Rules

NONE = 0  # the place of no node
NEVER = 1 << 62  # tokens, more than any text has

# The head of a tree.
PAGE = 0  # tokens; keys are whole pages
BY_HITS = 1  # 1 for lfu, where the leaf of fewest hits is removed first; 0 for lru
TIME = 2  # a count that grows strictly
BIRTHS = 3
USED = 4  # nodes ever in use beside the root
FREE = 5  # first of a chain of nodes that are free again
HEAP = 6  # entries of the heap
LEAVES = 7  # leaves that nobody needs now
EVICTABLE = 8  # tokens of nodes that nobody needs now
PROTECTED = 9  # tokens of the others
UNMATCHED = 10  # times that the queue was put in order without looking into the tree
BUCKETS = 11  # place of the first bucket: the first node of each chain of nodes of like hash
MASK = 12  # buckets - 1
LIST = 13  # place of the heap
PROBE = 14  # place of the other tree
SPACE = 15  # place of the room to sort in
HALF = 16  # cells of half of that
HEAD = 17

# A node.
WALKED = 0  # when it was last walked over
BORN = 1  # the children of a node are in this order
PARENT = 2
CHILDREN = 3  # number of them
KEY = 4  # the piece in which its key begins
SKIPPED = 5  # and the tokens of that before it
TOKENS = 6  # of its key
LOCK = 7  # requests that need it now
HITS = 8
HASH = 9  # of its parent and of the first page of its key
CHAIN = 10  # next node in the same bucket, or next free one
LISTED = 11  # 1 if it stands in the heap
WEIGHT = 12  # while the queue is put in order: waiting requests at it and below
SEAT = 13  # and the seat of the next of them
NODE = 14

# A leaf in the heap of those that may be removed, by what it was when it got there.
LEAF_HITS, LEAF_WALKED, LEAF_NODE = 0, 1, 2
LEAF = 3

# What is sorted, by two numbers.
FIRST, SECOND, ROW = 0, 1, 2
ENTRY = 3

# Of a request, in the cells of its path.
LOCKED = 0  # the last node of its text that it has locked; none while it waits
SHARED = 1  # its first blocks, which belong to the tree
INSERTED = 2  # tokens that it put in
LAST = 3  # the node at which the last look at it ended, when the queue was put in order
POSTPONED = 4  # 1 if it was held back then

_NO_PAGES = 1 << 40  # tokens of a block, so that no request has blocks with identities


def let_grow(replica: Any, rules: Sequence["Rules"]) -> Any:
    """Return the tables of replicas with room for their trees.

    Args:
        replica: `ReplicaTables` of empty replicas.
        rules: of each replica.
    """
    n, state, at = replica.waiting.shape[1], replica.state, 1
    trees, heads = [], []
    for own in rules:
        ordered = own.queue_order != "fcfs"
        # Every node holds a page at least. Of a probe each request is looked up, which may split a node, and put in.
        sizes = [max(own.blocks or 0, 1) if own.caching != "none" else 1, *([2 * n] if ordered else [])]
        places = []
        for k, nodes in enumerate(sizes):
            places.append(at)
            buckets = 1 << nodes.bit_length()
            first = at + HEAD + NODE * (nodes + 1)
            head = {PAGE: 1, BUCKETS: first, MASK: buckets - 1, LIST: first + buckets}
            heads.append((at, head if k else head | {PAGE: own.block_size, BY_HITS: int(own.eviction == "lfu")}))
            at = first + buckets + LEAF * (nodes + 1)
        half = ENTRY * max(n, sizes[0] + 1 if ordered else 0)
        heads.append((places[0], {PROBE: places[-1], SPACE: at, HALF: half}))
        trees.append(places[0])
        at += 2 * half
    replica = replica._replace(cells=np.zeros(at, np.int64))
    for place, head in heads:
        for key, value in head.items():
            replica.cells[place + key] = value
    state["caching"] = [cache.NO_CACHE if own.caching == "none" else cache.TREE for own in rules]
    state["tree"] = trees
    state["buckets"], state["bucket_mask"] = at, -1  # none; the requests begin there
    return replica


def cut_down(cells: np.ndarray, tree: int) -> None:
    """Let a tree be empty."""
    first, buckets = tree + HEAD, cells[tree + BUCKETS]
    cells[first : first + NODE * (cells[tree + USED] + 1)] = 0
    cells[buckets : buckets + cells[tree + MASK] + 1] = 0
    cells[tree + TIME : tree + UNMATCHED + 1] = 0


def with_texts(replica: Any, run: int, runs: int, given: Requests, moves: bool = False) -> Any:
    """Return the tables with the texts of the requests of a run, which are there already; see `cache.with_contexts`."""
    before = replica.truth["path"].copy()
    replica = cache.with_contexts(replica, run, runs, written_out(given), _NO_PAGES, moves)
    n, each = len(replica.truth) // runs, len(replica.system) // runs
    for e, tree in enumerate(replica.state["tree"]):  # where texts of a run have moved, its keys have
        if e // each != run:
            moved = int(replica.truth["path"][e // each * n] - before[e // each * n])
            first, used = tree + HEAD, replica.cells[tree + USED]
            replica.cells[first + NODE + KEY : first + NODE * (used + 1) : NODE] += moved
    paths = replica.truth["path"][run * n : run * n + len(given.outputs)]
    for cell in (LOCKED, SHARED, INSERTED, LAST, POSTPONED):
        replica.cells[paths + cell] = 0
    return replica


def written_out(given: Requests) -> Requests:
    """Return requests whose contexts have the output of each behind its prompt, as its last piece."""
    n, contexts = len(given.outputs), given.contexts
    if contexts is None:
        own = np.zeros(n, SEGMENT)
        own["text"], own["length"] = -1 - np.arange(n), given.requests["prompt"]
        contexts = Contexts(own, np.arange(n + 1), OUTPUT + np.arange(n))
    pieces = np.insert(contexts.segments, contexts.first[1:], np.zeros(n, SEGMENT))
    first = contexts.first + np.arange(n + 1)
    last = first[1:] - 1
    pieces["text"][last], pieces["length"][last] = contexts.output, given.outputs
    return given._replace(contexts=Contexts(pieces, first, contexts.output))
