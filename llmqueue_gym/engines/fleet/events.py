"""What is to come: a binary heap of events, the earliest on top, at one time by kind, then by when they were noted."""

from llmqueue_gym._jit import inner_kernel


@inner_kernel
def earlier(a, b):
    """Whether event `a` comes before event `b`."""
    if a.time != b.time:
        return a.time < b.time
    if a.kind != b.kind:
        return a.kind < b.kind
    return a.order < b.order


@inner_kernel
def swap(heap, i, j):
    """Exchange two events."""
    a, b = heap[i], heap[j]
    time, kind, order, subject = a.time, a.kind, a.order, a.subject
    a.time, a.kind, a.order, a.subject = b.time, b.kind, b.order, b.subject
    b.time, b.kind, b.order, b.subject = time, kind, order, subject


@inner_kernel
def note(e, f, time, kind, subject):
    """Note an event of run e, and return its number."""
    fleet, heap = f.fleet[e], f.events[e]
    i = fleet.events
    fleet.events += 1
    event = heap[i]
    event.time, event.kind, event.order, event.subject = time, kind, fleet.noted, subject
    while i > 0 and earlier(heap[i], heap[(i - 1) >> 1]):
        swap(heap, i, (i - 1) >> 1)
        i = (i - 1) >> 1
    fleet.noted += 1
    return fleet.noted - 1


@inner_kernel
def drop_first(e, f):
    """Take the earliest event of run e off the heap."""
    drop(e, f, 0)


@inner_kernel
def drop(e, f, i):
    """Take the event at a position of the heap of run e off it."""
    fleet, heap = f.fleet[e], f.events[e]
    fleet.events -= 1
    n = fleet.events
    swap(heap, i, n)
    while 0 < i < n and earlier(heap[i], heap[(i - 1) >> 1]):
        swap(heap, i, (i - 1) >> 1)
        i = (i - 1) >> 1
    while True:
        child = 2 * i + 1
        if child >= n:
            return
        if child + 1 < n and earlier(heap[child + 1], heap[child]):
            child += 1
        if not earlier(heap[child], heap[i]):
            return
        swap(heap, i, child)
        i = child


@inner_kernel
def cancel(e, f, order):
    """Take back the event of run e that has this number, which is still to come; that is rare, so it is looked for."""
    for i in range(f.fleet[e].events):
        if f.events[e, i].order == order:
            drop(e, f, i)
            return
