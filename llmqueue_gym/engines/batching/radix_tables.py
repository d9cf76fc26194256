"""The records of a radix cache: a tree of texts whose keys and values are held, and what the requests are written as.

A key is a run of tokens, kept as a slice of the pieces of the request that brought it: where it begins, and how long it
is. So keys cost nothing to copy and are compared piece by piece, never token by token.
"""

from typing import NamedTuple

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.requests import SEGMENT, Contexts

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

ROOT = NONE = 0
NEVER = 1 << 62  # tokens, more than any text has


class RadixTree(NamedTuple):
    """All that the kernels of one tree, or of E trees side by side, read and write; every array has a leading axis E.

    Attributes:
        state: `TREE_STATE` rows (E,).
        nodes: `NODE` rows (E, nodes), the root first.
        buckets: first node of each chain of nodes of like hash (E, a power of two).
        heap: `LEAF` rows (E, nodes), a binary heap.
    """

    state: np.ndarray
    nodes: np.ndarray
    buckets: np.ndarray
    heap: np.ndarray


class Texts(NamedTuple):
    """What the requests are written as: the pieces of the prompt of each, and then its output.

    Attributes:
        pieces: `SEGMENT` rows `(m + n,)`.
        first: `(n + 1,)`, int64, where those of each request begin.
    """

    pieces: np.ndarray
    first: np.ndarray


def fresh_tree(size: int, nodes: int, page: int = 1, by_hits: bool = False) -> RadixTree:
    """Return E empty trees.

    Args:
        size: E.
        nodes: most nodes at a time beside the root; as each holds a page at least, the pages of the memory are enough.
        page: tokens.
        by_hits: whether the leaf of fewest hits is removed first (lfu), or the one not used for longest (lru).
    """
    tree = RadixTree(
        state=records(np.zeros(size, TREE_STATE)),
        nodes=records(np.zeros((size, nodes + 1), NODE)),
        buckets=np.zeros((size, 1 << nodes.bit_length()), np.int32),
        heap=records(np.zeros((size, nodes + 1), LEAF)),
    )
    tree.state["page"], tree.state["by_hits"] = page, by_hits
    return tree


def texts_of(contexts: Contexts, outputs: np.ndarray) -> Texts:
    """Return what requests are written as.

    Args:
        contexts: of n requests.
        outputs: tokens that each puts out `(n,)`.
    """
    pieces = np.insert(contexts.segments, contexts.first[1:], np.zeros(len(outputs), SEGMENT))
    first = contexts.first + np.arange(len(contexts.first))
    last = first[1:] - 1
    pieces["text"][last], pieces["length"][last] = contexts.output, outputs
    return Texts(records(pieces), first)
