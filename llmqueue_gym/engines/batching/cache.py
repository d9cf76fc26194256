"""The tables of prefix caching: blocks with identities, and what each request consists of.

All lie in one array of numbers, `ReplicaTables.cells`, because every array more costs time in every call of a kernel. A
block or a path is named by the place of its first cell; place 0 names none of them. First come the replicas, each with
the cells of `BLOCK` for the ends of its queue of free blocks and for every block, with the ring that this queue stands
in, and with its buckets, which are as many as the ring is long. Then come the requests, each with the cells of `PATH`,
with those of `PIECE` for every piece of its prompt, and with its pages: its blocks in order. Where requests move
between replicas a path without pieces follows, and as many pages.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.requests import OUTPUT, Requests

if TYPE_CHECKING:
    from llmqueue_gym.engines.batching.rules import Rules

LINE = 8  # cells of a cache line
NO_CACHE, BLOCKS, TREE = 0, 1, 2  # ways of caching prefixes: not at all, blocks with identities, a radix tree

PREFIX = 0  # the number of all tokens up to the last one of a block, see `prefixes`, or of those in `HELD` blocks
NOTHING = 1  # the number of no tokens; 0 stands for a block that holds none

# A block. Two of them are a cache line.
USERS = 1  # requests that hold it; where nobody does, its place in the ring of free blocks, with a minus
NEXT = 2  # the next block of the same bucket, or the bucket behind the last one
SEEN = 3  # the last look-up that found it, by its last bits, and above them the first one to find what it holds now
BITS = 20
BLOCK = 4

# The queue of free blocks: it stands in a ring, from the first, which is taken next, to the end. A 0 is a gap.
FIRST, END = 0, 1  # counted on, round after round

# The path of a request: how far its blocks hold what it consists of for everybody.
HELD = 1  # so many of its first blocks do
AT, OFFSET = 2, 3  # the place of the piece that the next token is of, from the path, and the tokens of it before that
TEXT_OF_OUTPUT = 4
SPOT = 5  # of the last of these blocks, see `blocks`
PAGES = 6  # the place of its first page, which is the end of its pieces, from the path
LEFT = 7  # the place of the path for what it leaves behind where it moves, from this one; 0 where nobody moves
LOOK, WHERE = 8, 9  # the number of the last look-up of these blocks, and the queue of the replica that it was at
PATH = 10

# A piece: so many tokens of a text.
TEXT, START, LENGTH = 0, 1, 2
PIECE = 3


def zeros(cells: int) -> np.ndarray:
    """Return so many cells, of which the first begins a cache line."""
    room = np.zeros(cells + LINE - 1, np.int64)
    start = -(room.ctypes.data // room.itemsize) % LINE
    return room[start : start + cells]


def let_cache(replica: Any, rules: Sequence["Rules"]) -> Any:
    """Return the tables of replicas with room for the identities of blocks, where their rules want some.

    Args:
        replica: `ReplicaTables` of empty replicas.
        rules: of each replica.
    """
    state, at = replica.state, 1
    for e, own in enumerate(rules):
        at = -(-at // LINE) * LINE
        state["caching"][e], state["released_last"][e] = (
            BLOCKS if own.caching != "none" else NO_CACHE,
            own.released_last,
        )
        cells, buckets, blocks = 0, 0, own.blocks or 0
        if own.caching != "none":
            cells, buckets = BLOCK * (blocks + 1), 2 << (blocks - 1).bit_length()
        state["queue"][e], state["buckets"][e], state["bucket_mask"][e] = at, at + cells + buckets, buckets - 1
        at += cells + 2 * buckets
    replica = replica._replace(cells=zeros(at))
    for one in np.flatnonzero(state["caching"]).tolist():
        clear(replica, one)
    return replica


def clear(replica: Any, e: int) -> None:
    """Let the blocks of replica e hold nothing, and all be free."""
    queue, buckets, mask = (int(replica.state[name][e]) for name in ("queue", "buckets", "bucket_mask"))
    replica.cells[queue : buckets + mask + 1] = 0
    ring = buckets - mask - 1
    free = np.arange(queue + BLOCK, ring, BLOCK)
    replica.cells[ring : ring + len(free)], replica.cells[free + USERS] = free, -np.arange(len(free))
    replica.cells[queue + END] = len(free)


def free_blocks(replica: Any, e: int) -> np.ndarray:
    """Return the places of the free blocks of replica e with identities, the one that is taken next first."""
    queue, buckets, mask = (int(replica.state[name][e]) for name in ("queue", "buckets", "bucket_mask"))
    places = np.arange(replica.cells[queue + FIRST], replica.cells[queue + END]) & mask
    blocks: np.ndarray = replica.cells[buckets - mask - 1 + places]
    return blocks[blocks > 0]


def with_contexts(replica: Any, run: int, runs: int, given: Requests, block_size: int, moves: bool = False) -> Any:
    """Return the tables with what the requests of a run consist of, which are there already.

    Args:
        replica: `ReplicaTables`, of which `let_cache` has been seen to.
        run: which one.
        runs: E.
        given: its requests; without contexts nobody shares anything.
        block_size: tokens of a block, of the smallest if replicas differ.
        moves: whether requests move between replicas.

    Returns:
        the same tables where no replica caches.
    """
    if not replica.state["caching"].any():
        return replica
    n, prompts, pieces = len(given.outputs), given.requests["prompt"].astype(np.int64), list[np.ndarray]()
    if given.contexts is None:
        pieces, first, output = [-1 - np.arange(n), np.zeros(n), prompts], np.arange(n + 1), OUTPUT + np.arange(n)
    else:
        (segments, first, output), names = given.contexts, ("text", "start", "length")
        pieces = [segments[name] for name in names]
    pages = -(-(prompts + given.outputs + 1) // block_size)  # one token more than it computes, see `Rules.ends_known`
    ends = PATH + PIECE * np.diff(first)
    left = ends + pages if moves else np.zeros(n, np.int64)
    places = np.concatenate([[0], np.cumsum(ends + pages + (PATH + pages if moves else 0))])
    replica = _with_room(replica, runs, int(places[-1]))
    begin, room = _requests(replica, runs)
    cells = replica.cells[begin + run * room :]
    of_piece = np.repeat(places[:-1] + PATH - PIECE * first[:-1], np.diff(first)) + PIECE * np.arange(first[-1])
    for k, values in enumerate(pieces):
        cells[of_piece + k] = values
    at = places[:-1]
    told = {PREFIX: NOTHING, HELD: 0, AT: PATH, OFFSET: 0, TEXT_OF_OUTPUT: output, PAGES: ends, LEFT: left}
    for k, value in told.items():
        cells[at + k] = value
    if moves:
        cells[at + left + PAGES] = PATH
    rows = run * (len(replica.truth) // runs)
    replica.truth["path"][rows : rows + n] = begin + run * room + at
    return replica


def _requests(replica: Any, runs: int) -> tuple[int, int]:
    """Return where the cells of requests begin, and how many each run has."""
    begin = int(replica.state["buckets"][-1] + replica.state["bucket_mask"][-1] + 1)
    return begin, (len(replica.cells) - begin) // runs


def _with_room(replica: Any, runs: int, needed: int) -> Any:
    """Return the tables with so many cells for the requests of each run; runs go on where they are."""
    begin, before = _requests(replica, runs)
    if needed <= before:
        return replica
    room = needed if runs == 1 else 2 * needed
    cells = zeros(begin + runs * room)
    cells[:begin] = replica.cells[:begin]
    cells[begin:].reshape(runs, room)[:, :before] = replica.cells[begin:].reshape(runs, before)
    moved = np.repeat(np.arange(runs) * (room - before), len(replica.truth) // runs)
    replica.truth["path"] += moved.astype(replica.truth["path"].dtype)
    return replica._replace(cells=cells)
