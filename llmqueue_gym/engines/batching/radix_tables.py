"""The records of a radix cache: a tree of texts whose keys and values are held, and what the requests are written as.

A key is a run of tokens, kept as a slice of the pieces of the request that brought it: where it begins, and how long it
is. So keys cost nothing to copy and are compared piece by piece, never token by token. The output of a request is the
piece behind those of its prompt.
"""

from typing import NamedTuple

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts, Requests

# A node, 64 bytes: one cache line. Node 0 is the root, and as a child or a link 0 stands for none.
NODE = np.dtype(
    [
        ("time", "i8"),  # when it was last walked over; a count that grows strictly
        ("born", "i8"),  # the children of a node are in this order
        ("parent", "i4"),
        ("children", "i4"),  # number of them
        ("piece", "i4"),  # where its key begins: row of the pieces
        ("offset", "i4"),  # and tokens into that
        ("length", "i4"),  # of its key, tokens
        ("lock", "i4"),  # requests that need it now
        ("hits", "i4"),
        ("hash", "i4"),  # of its parent and of the first page of its key
        ("chain", "i4"),  # next node in the same bucket, or next free one
        ("listed", "i4"),  # 1 if it stands in the heap of leaves
        ("weight", "i4"),  # while the queue is put in order: waiting requests at it and below
        ("place", "i4"),  # and the place of the next of them
    ],
    align=True,
)

# A leaf in the heap of those that may be removed, by what it was when it got there.
LEAF = np.dtype([("hits", "i8"), ("time", "i8"), ("node", "i8")], align=True)

TREE_STATE = np.dtype(
    [
        ("page", "i8"),  # tokens; keys are whole pages
        ("by_hits", "?"),  # lfu: the leaf of fewest hits is removed first; else lru
        ("time", "i8"),
        ("births", "i8"),
        ("used", "i8"),  # nodes ever in use beside the root
        ("free", "i8"),  # first of a chain of nodes that are free again
        ("heap", "i8"),  # entries of the heap
        ("leaves", "i8"),  # leaves that nobody needs now
        ("evictable", "i8"),  # tokens of nodes that nobody needs now
        ("protected", "i8"),  # tokens of the others
        ("unmatched", "i8"),  # times that the queue was put in order without looking into the tree
    ],
    align=True,
)

# What is kept of the text of a request.
TEXT = np.dtype(
    [
        ("node", "i4"),  # the last node of its text that it has locked; the root while it waits
        ("shared", "i4"),  # its first blocks, which belong to the tree
        ("inserted", "i4"),  # tokens that it put in
        ("last", "i4"),  # the node at which the last look at it ended, when the queue was put in order
        ("held", "i4"),  # 1 if it was held back then
    ],
    align=True,
)

ENTRY = np.dtype([("first", "i8"), ("second", "i8"), ("row", "i8")], align=True)  # what is sorted, by two numbers

ROOT = NONE = 0
NEVER = 1 << 62  # tokens, more than any text has


class RadixTree(NamedTuple):
    """All that the kernels of one tree, or of E trees side by side, read and write.

    Behind the trees stand as many others, the probes, each of what waits in the queue of one: see `radix_order`.

    Attributes:
        state: `TREE_STATE` rows (2 E,).
        nodes: `NODE` rows (2 E, nodes), the root first.
        buckets: first node of each chain of nodes of like hash (2 E, a power of two).
        heap: `LEAF` rows (2 E, nodes), a binary heap.
        texts: `TEXT` rows (n,), of all requests.
        entries: `ENTRY` rows (2, the larger of n and the nodes), to be sorted and merged.
    """

    state: np.ndarray
    nodes: np.ndarray
    buckets: np.ndarray
    heap: np.ndarray
    texts: np.ndarray
    entries: np.ndarray

    def clear(self, e: int) -> None:
        """Let tree e be empty."""
        used, kept = int(self.state["used"][e]) + 1, {name: self.state[name][e] for name in ("page", "by_hits")}
        self.nodes[e, :used] = 0
        self.buckets[e], self.state[e] = NONE, 0
        for name, value in kept.items():
            self.state[name][e] = value


def fresh_tree(
    size: int, nodes: int, requests: int = 0, page: int = 1, by_hits: bool = False, ordered: bool = False
) -> RadixTree:
    """Return E empty trees.

    Args:
        size: E.
        nodes: most nodes at a time beside the root; as each holds a page at least, the pages of the memory are enough.
        requests: n.
        page: tokens.
        by_hits: whether the leaf of fewest hits is removed first (lfu), or the one not used for longest (lru).
        ordered: whether their queues are put in order, of n requests at the most.
    """
    if ordered:
        nodes = max(nodes, 2 * requests)  # of a probe: each request is looked up, which may split a node, and put in
    tree = RadixTree(
        state=records(np.zeros(2 * size, TREE_STATE)),
        nodes=records(np.zeros((2 * size, nodes + 1), NODE)),
        buckets=np.zeros((2 * size, 1 << nodes.bit_length()), np.int32),
        heap=records(np.zeros((2 * size, nodes + 1), LEAF)),
        texts=records(np.zeros(requests, TEXT)),
        entries=records(np.zeros((2, max(requests, nodes + 1 if ordered else 0)), ENTRY)),
    )
    tree.state["page"] = 1
    tree.state["page"][:size], tree.state["by_hits"][:size] = page, by_hits
    return tree


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
