"""What has to hold of the caches of a fleet at every moment: each block is held by those it counts, or is free."""

from typing import Any

import numpy as np

from llmqueue_gym.engines.batching import cache
from llmqueue_gym.engines.batching import radix_tables as radix
from llmqueue_gym.requests import MOVING


def holders(f: Any, r: Any) -> list[list[tuple[int, int]]]:
    """Return of each replica who holds blocks there: the place of the path, and how many blocks."""
    held: list[list[tuple[int, int]]] = [[] for _ in f.forms]
    for request, flow, path in zip(r.requests, f.flows, r.truth["path"].tolist(), strict=True):
        moves = request["status"] == MOVING
        if request["blocks"] > 0:
            held[flow["target"] if moves else request["site"]].append((path, int(request["blocks"])))
        if moves:
            held[flow["source"]].append((path + int(r.cells[path + cache.LEFT]), int(flow["blocks"])))
    return held


def check_caches(f: Any, r: Any) -> None:
    """Raise AssertionError where blocks are lost, held by nobody, or free and in use."""
    if not r.state["caching"].any():
        return
    for q, held in enumerate(holders(f, r)):
        if r.state["caching"][q] == cache.BLOCKS:
            check_blocks(r, q, held)
        elif r.state["caching"][q] == cache.TREE:
            check_tree(r, q, held, int(f.rules["block_size"][q]))


def check_blocks(r: Any, q: int, held: list[tuple[int, int]]) -> None:
    """Check the blocks with identities of replica q."""
    cells, queue, free = r.cells, int(r.state["queue"][q]), cache.free_blocks(r, q).tolist()
    ring = int(r.state["buckets"][q] - r.state["bucket_mask"][q]) - 1
    users = dict.fromkeys(range(queue + cache.BLOCK, ring, cache.BLOCK), 0)
    for path, blocks in held:
        first = path + int(cells[path + cache.PAGES])
        pages = cells[first : first + blocks].tolist()
        assert len(set(pages)) == blocks, f"somebody holds a block twice at {q}"
        for page in pages:
            users[page] += 1
        assert int(cells[path + cache.HELD]) <= blocks, f"somebody holds less than others find of it at {q}"
        assert (cells[np.array(pages[: int(cells[path + cache.HELD])], int) + cache.PREFIX] != 0).all(), "forgotten"
    told = {b: max(int(cells[b + cache.USERS]), 0) for b in users}
    assert told == users, f"blocks of {q} are held by others than it counts"
    assert [int(cells[ring - cells[b + cache.USERS]]) for b in free] == free, f"blocks of {q} are free elsewhere"
    assert sorted(free) == [b for b, count in users.items() if count == 0], f"other blocks of {q} are free than queue"
    assert len(free) == int(r.system["free"][q]), f"blocks of {q} lost"


def check_tree(r: Any, q: int, held: list[tuple[int, int]], size: int) -> None:
    """Check the radix tree of replica q."""
    cells, tree = r.cells, int(r.state["tree"][q])
    locks, own = dict[int, int](), 0
    for path, blocks in held:
        own += blocks - int(cells[path + radix.SHARED])
        k = int(cells[path + radix.LOCKED])
        while k > tree + radix.HEAD:
            locks[k] = locks.get(k, 0) + 1
            k = int(cells[k + radix.PARENT])
    assert all(int(cells[k + radix.LOCK]) == count for k, count in locks.items()), f"locks of {q} are not those held"
    needed = sum(int(cells[k + radix.TOKENS]) for k in locks)
    assert needed == int(cells[tree + radix.PROTECTED]), f"the tree of {q} keeps what nobody needs"
    assert own + needed // size + int(r.system["free"][q]) == int(r.system["blocks"][q]), f"blocks of {q} lost"
    assert int(cells[tree + radix.EVICTABLE]) // size <= int(r.system["free"][q]), f"the tree of {q} is too large"
