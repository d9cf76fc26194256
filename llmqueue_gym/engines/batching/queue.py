"""The waiting queue of a replica: rows sorted by (rank, place), the head last, so that taking it is free."""

from llmqueue_gym._jit import lean_kernel
from llmqueue_gym.requests import WAITING


@lean_kernel
def precedes(a, b):
    """Whether request `a` is served before `b`: by rank, then by place."""
    return a.rank < b.rank or (a.rank == b.rank and a.place < b.place)


@lean_kernel
def enqueue(e, r, i):
    """Put request i in its place in the queue."""
    new, waiting = r.requests[e, i], r.waiting
    new.status = WAITING
    n = r.system[e].waiting
    low, high = 0, n  # the entries before `low` come later than the new one, those from `high` on come earlier
    while low < high:
        middle = (low + high) // 2
        if precedes(new, r.requests[e, waiting[e, middle]]):
            low = middle + 1
        else:
            high = middle
    for k in range(n, low, -1):
        waiting[e, k] = waiting[e, k - 1]
    waiting[e, low] = i
    r.system[e].waiting = n + 1


@lean_kernel
def dequeue(e, r, position):
    """Take the request at a position out of the queue and return its row."""
    waiting = r.waiting
    i = waiting[e, position]
    n = r.system[e].waiting - 1
    for k in range(position, n):
        waiting[e, k] = waiting[e, k + 1]
    r.system[e].waiting = n
    return i


@lean_kernel
def rank_again(e, r, rank, params):
    """Rank every request in the queue anew and sort; the order has changed little since the last time."""
    waiting = r.waiting
    for k in range(r.system[e].waiting):
        i = waiting[e, k]
        new = r.requests[e, i]
        new.rank = rank(new, r.system[e], params)
        j = k
        while j > 0 and precedes(r.requests[e, waiting[e, j - 1]], new):
            waiting[e, j] = waiting[e, j - 1]
            j -= 1
        waiting[e, j] = i
