"""The waiting jobs of a server: the first few in order, the rest in a heap.

Most queues are short. In order, an entry is taken without a comparison, and one is put in its place with few, where a
heap makes several whose results a processor cannot foresee. A long queue costs no more than the heap.

Both lie in one table of `HEAP` rows, which has room for all jobs: the heap from its beginning on, the `near` entries
from its end on, the last of them in its last row and the first served in row n - near.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.heap import pop, push

NEAR = 32  # most entries in order


@inner_kernel
def add(heap, near, far, rank, tie):
    """Add an entry to `near` in order and `far` in the heap behind them; return the new numbers of both."""
    if far > 0 or near == NEAR:
        last = heap[heap.shape[0] - 1] if near > 0 else heap[0]
        if last.rank < rank or (last.rank == rank and last.tie < tie):
            push_far(heap, far, rank, tie)
            return near, far + 1
        if near == NEAR:
            spill(heap, far)
            near, far = near - 1, far + 1
    n = heap.shape[0]
    k = n - near
    while k < n:
        entry, above = heap[np.uint64(k)], heap[np.uint64(k - 1)]
        if rank < entry.rank or (rank == entry.rank and tie < entry.tie):
            break
        above.rank, above.tie = entry.rank, entry.tie
        k += 1
    above = heap[np.uint64(k - 1)]
    above.rank, above.tie = rank, tie
    return near + 1, far


@inner_kernel
def take(heap, near, far):
    """Remove the first entry; return the row that it names, and the new numbers of entries in order and in the heap."""
    if near > 0:
        return abs(heap[np.uint64(heap.shape[0] - near)].tie), near - 1, far
    return pop_far(heap, far), near, far - 1


@part_kernel
def spill(heap, far):
    """Move the last of a full order to the heap."""
    n = heap.shape[0]
    rank, tie = heap[n - 1].rank, heap[n - 1].tie
    for k in range(n - 1, n - NEAR, -1):  # first, because the heap may need the row that becomes free
        heap[k].rank, heap[k].tie = heap[k - 1].rank, heap[k - 1].tie
    push(heap, far, rank, tie)


@part_kernel
def push_far(heap, far, rank, tie):
    """Add an entry to the heap; apart, so that the common case stays short."""
    push(heap, far, rank, tie)


@part_kernel
def pop_far(heap, far):
    """Remove the first entry of the heap and return the row that it names; apart, likewise."""
    return pop(heap, far)
