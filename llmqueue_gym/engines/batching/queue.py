"""The waiting queue of a replica: rows sorted by (rank, place) in a ring, so that both its ends are cheap.

Position 0 is the head. Arrivals in order go to the back and preempted requests to the front without moving others;
elsewhere the shorter side moves by one.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.requests import WAITING


@inner_kernel
def row_at(e, r, position):
    """Return the row of the request at a position of the queue."""
    return r.waiting[e, (r.state[e].head + position) & (r.waiting.shape[1] - 1)]


@inner_kernel
def is_read(request):
    """Whether all is computed of a request but its last token, which then decodes."""
    return request.generated > 0 and request.computed + 1 >= request.prompt + request.generated


@inner_kernel
def precedes(a, b):
    """Whether request `a` is served before `b`: by rank, then by place."""
    return a.rank < b.rank or (a.rank == b.rank and a.place < b.place)


@part_kernel
def enqueue(e, r, i):
    """Put request i in its place in the queue."""
    new, waiting, ring = r.requests[i], r.waiting, r.waiting.shape[1] - 1
    state, system = r.state[e], r.system[e]
    new.status = WAITING
    if state.looked == i + 1:  # of a time when it was here before
        state.looked = 0
    n, head = system.waiting, state.head
    low, high = 0, n  # the entries before `low` are served before the new one, those from `high` on after it
    if n > 0 and precedes(r.requests[waiting[e, (head + n - 1) & ring]], new):
        low = n
    while low < high:
        middle = (low + high) // 2
        if precedes(r.requests[waiting[e, (head + middle) & ring]], new):
            low = middle + 1
        else:
            high = middle
    if 2 * low < n:
        head -= 1
        for k in range(low):
            waiting[e, (head + k) & ring] = waiting[e, (head + k + 1) & ring]
        state.head = head & ring
    else:
        for k in range(n, low, -1):
            waiting[e, (head + k) & ring] = waiting[e, (head + k - 1) & ring]
    waiting[e, (head + low) & ring] = i
    system.waiting = n + 1


@part_kernel
def dequeue(e, r, position):
    """Take the request at a position out of the queue and return its row."""
    waiting, ring = r.waiting, r.waiting.shape[1] - 1
    state, system = r.state[e], r.system[e]
    head, n = state.head, system.waiting - 1
    i = waiting[e, (head + position) & ring]
    if 2 * position < n:
        for k in range(position, 0, -1):
            waiting[e, (head + k) & ring] = waiting[e, (head + k - 1) & ring]
        state.head = (head + 1) & ring
    else:
        for k in range(position, n):
            waiting[e, (head + k) & ring] = waiting[e, (head + k + 1) & ring]
    system.waiting = n
    return i


@part_kernel
def find(e, r, i):
    """Return the position of request i in the queue."""
    position = 0
    while row_at(e, r, position) != i:
        position += 1
    return position


@part_kernel
def rank_again(e, r, rank, params):
    """Rank every request in the queue anew and sort; the order has changed little since the last time."""
    waiting, ring, head = r.waiting, r.waiting.shape[1] - 1, r.state[e].head
    for k in range(r.system[e].waiting):
        i = waiting[e, (head + k) & ring]
        new = r.requests[i]
        new.rank = rank(new, r.system[e], params)
        j = k
        while j > 0 and precedes(new, r.requests[waiting[e, (head + j - 1) & ring]]):
            waiting[e, (head + j) & ring] = waiting[e, (head + j - 1) & ring]
            j -= 1
        waiting[e, (head + j) & ring] = i
