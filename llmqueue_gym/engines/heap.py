"""A binary heap of waiting jobs: the first served is on top, by rank and then by tie key."""

from llmqueue_gym._jit import inner_kernel


@inner_kernel
def tie_key(row, rank, lcfs_up_to):
    """Return what decides between equal ranks: the row, or minus the row where the last comes first."""
    return -row if rank <= lcfs_up_to else row


@inner_kernel
def precedes(a, b):
    """Whether heap entry `a` is served before `b`."""
    return a.rank < b.rank or (a.rank == b.rank and a.tie < b.tie)


@inner_kernel
def push(heap, length, rank, tie):
    """Add an entry to a heap of `length` entries."""
    i = length
    while i > 0:
        parent = (i - 1) >> 1
        above = heap[parent]
        if above.rank < rank or (above.rank == rank and above.tie < tie):
            break
        heap[i].rank, heap[i].tie = above.rank, above.tie
        i = parent
    heap[i].rank, heap[i].tie = rank, tie


@inner_kernel
def pop(heap, length):
    """Remove the first entry of a heap of `length` entries and return the row that it names."""
    row = abs(heap[0].tie)
    last = length - 1
    rank, tie = heap[last].rank, heap[last].tie
    i, child = 0, 1
    while child < last:
        if child + 1 < last and precedes(heap[child + 1], heap[child]):
            child += 1
        if rank < heap[child].rank or (rank == heap[child].rank and tie < heap[child].tie):
            break
        heap[i].rank, heap[i].tie = heap[child].rank, heap[child].tie
        i, child = child, 2 * child + 1
    heap[i].rank, heap[i].tie = rank, tie
    return row
