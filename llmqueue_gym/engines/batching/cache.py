"""The tables of prefix caching: blocks with identities, and what the prompts consist of."""

from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.requests import OUTPUT, SEGMENT, Requests

NONE, BLOCKS, TREE = 0, 1, 2  # ways of caching prefixes
NOTHING = 1  # the prefix of no tokens; 0 stands for a block that holds none

# A KV block. In each replica the row behind the last block stands for both ends of the queue of free blocks.
BLOCK = np.dtype(
    [
        ("prefix", "i8"),  # the number of all tokens up to its last one, see `prefixes`; 0 where it holds none
        ("users", "i4"),  # requests that hold it
        ("before", "i4"),  # neighbours in the queue of free blocks, of which the first is taken next
        ("after", "i4"),
        ("next", "i4"),  # the next block of the same bucket, -1 for none
        ("seen", "i4"),  # the last look-up that found it
    ],
    align=True,
)

# What a request consists of, and how far its blocks hold it.
PATH = np.dtype(
    [
        ("prefix", "i8"),  # the number of the tokens in the blocks below
        ("held", "i8"),  # its first blocks that hold their prefix for everybody
        ("offset", "i8"),  # tokens before the next one in its piece
        ("piece", "i8"),  # the piece that the next token is of
        ("first_piece", "i8"),  # its pieces in `pieces`
        ("end_piece", "i8"),
        ("output", "i8"),  # text of its output
        ("first_page", "i8"),  # where its blocks stand in `pages`
    ],
    align=True,
)


class Cache(NamedTuple):
    """What the kernels of prefix caching read and write."""

    blocks: np.ndarray  # BLOCK rows (replicas, blocks + 1)
    buckets: np.ndarray  # first block whose prefix falls there, -1 for none (replicas, a power of two)
    pages: np.ndarray  # blocks of each request in order, those of a request together
    paths: np.ndarray  # PATH rows (E * n,)
    pieces: np.ndarray  # SEGMENT rows, those of a request together

    def clear(self, e: int, blocks: int) -> None:
        """Let replica e hold nothing in so many blocks."""
        rows, end = self.blocks[e], self.blocks.shape[1] - 1
        order = np.concatenate([[end], np.arange(blocks)])
        rows["prefix"] = rows["users"] = rows["seen"] = 0
        rows["next"] = self.buckets[e] = -1
        rows["after"][order], rows["before"][order] = np.roll(order, -1), np.roll(order, 1)

    def filled(self, run: int, runs: int, given: Requests, block_size: int) -> "Cache":
        """Write what the requests of a run consist of, and return the tables, with more room if that was short.

        Args:
            run: which one.
            runs: E.
            given: its requests; without contexts nobody shares anything.
            block_size: tokens of a block, of the smallest if replicas differ.
        """
        n, prompts = len(given.outputs), given.requests["prompt"].astype(np.int64)
        contexts = given.contexts
        if contexts is None:
            own = np.zeros(n, SEGMENT)
            own["text"], own["length"] = -1 - np.arange(n), prompts
            pieces, first, output = own, np.arange(n + 1), OUTPUT + np.arange(n)
        else:
            pieces, first, output = contexts
        held = -(-(prompts + given.outputs + 1) // block_size)  # one more than it computes, see `Rules.ends_known`
        pages = np.concatenate([[0], np.cumsum(held)])
        made = self._with_room(runs, int(pages[-1]), len(pieces))
        begin, room = run * (len(made.paths) // runs), run * (len(made.pieces) // runs)
        made.pieces[room : room + len(pieces)] = pieces
        paths = made.paths[begin : begin + n]
        paths["first_page"] = run * (len(made.pages) // runs) + pages[:-1]
        paths["first_piece"], paths["end_piece"], paths["output"] = room + first[:-1], room + first[1:], output
        paths["prefix"], paths["held"], paths["offset"], paths["piece"] = NOTHING, 0, 0, paths["first_piece"]
        return made

    def _with_room(self, runs: int, pages: int, pieces: int) -> "Cache":
        """Return the tables with room for so many pages and pieces of each run; runs go on where they are."""
        changes: dict[str, Any] = {}
        for name, needed, columns in (
            ("pages", pages, ("first_page",)),
            ("pieces", pieces, ("piece", "first_piece", "end_piece")),
        ):
            table = getattr(self, name)
            before = len(table) // runs
            if needed <= before:
                continue
            room = needed if runs == 1 else 2 * needed
            wider = np.zeros((runs, room), table.dtype)
            wider[:, :before] = table.reshape(runs, before)
            changes[name] = records(wider.ravel()) if name == "pieces" else wider.ravel()
            for column in columns:
                self.paths[column] += np.repeat(np.arange(runs) * (room - before), len(self.paths) // runs)
        return self._replace(**changes)


def no_cache() -> Cache:
    """Return tables without blocks."""
    return fresh_cache(0, 0, 0)


def fresh_cache(replicas: int, blocks: int, requests: int) -> Cache:
    """Return the tables of replicas that hold nothing, to be cleared and filled.

    Args:
        replicas: rows of replicas.
        blocks: of the largest of them.
        requests: rows of requests, of all runs.
    """
    return Cache(
        blocks=records(np.zeros((replicas, blocks + 1), BLOCK)),
        buckets=np.full((replicas, 1 << max(blocks - 1, 1).bit_length()), -1, np.int32),
        pages=np.zeros(0, np.int32),
        paths=records(np.zeros(requests, PATH)),
        pieces=records(np.zeros(0, SEGMENT)),
    )
