"""Packing rules: which jobs are named, in order, to occupy servers next. The dynamics are in `packing`.

Jobs of equal need stand in a sorted list of their own, a line. A rule merges the lines from their fronts, and only as
far as it has to; what does not fit is passed over a line at a time. All arguments are those of `packing.simulate`;
`free` is how many servers there are to give. A rule writes the rows that it names into `chosen`, and returns their
number.
"""

from llmqueue_gym._jit import inner_kernel, kernel

PREFIX, SKIP, FILLING, BACKFILL, MAX_WEIGHT, QUICKSWAP = range(6)  # BACKFILL, which starts jobs, is not here
LIGHT, DRAINING, HEAVY = range(3)  # phases of QUICKSWAP


@inner_kernel
def precedes(jobs, a, b):
    """Whether row `a` stands before row `b` in the order."""
    return jobs[a].rank < jobs[b].rank or (jobs[a].rank == jobs[b].rank and a < b)


@inner_kernel
def rewind(classes):
    """Begin a walk in order: a rule stands at the front of every line."""
    for c in range(classes.shape[0]):
        classes[c].next = classes[c].head


@inner_kernel
def first(jobs, classes, lines, room):
    """Return the class of the job that is next in order, among those that need at most `room`; -1 if there is none."""
    best = -1
    for c in range(classes.shape[0]):
        if classes[c].need > room:
            break
        if classes[c].next < classes[c].tail:
            if best < 0 or precedes(jobs, lines[classes[c].next], lines[classes[best].next]):
                best = c
    return best


@kernel
def prefix(state, jobs, classes, lines, chosen, free):
    """Name jobs in order up to the first that does not fit."""
    rewind(classes)
    count = 0
    while free > 0:
        c = first(jobs, classes, lines, state.servers)
        if c < 0 or classes[c].need > free:
            break
        chosen[count] = lines[classes[c].next]
        classes[c].next += 1
        count += 1
        free -= classes[c].need
    return count


@kernel
def skip(jobs, classes, lines, chosen, free):
    """Name every job in order that fits beside those named before."""
    rewind(classes)
    count, c = 0, first(jobs, classes, lines, free)
    while c >= 0:
        chosen[count] = lines[classes[c].next]
        classes[c].next += 1
        count += 1
        free -= classes[c].need
        c = first(jobs, classes, lines, free)
    return count


@kernel
def filling(state, jobs, classes, lines, chosen):
    """Take the shortest beginning of the order that needs all servers or more; name its jobs by need, largest first."""
    rewind(classes)
    wanted = 0
    while wanted < state.servers:
        c = first(jobs, classes, lines, state.servers)
        if c < 0:
            break
        classes[c].next += 1
        wanted += classes[c].need
    count, free = 0, state.servers
    for c in range(classes.shape[0] - 1, -1, -1):
        for p in range(classes[c].head, classes[c].next):
            if classes[c].need <= free:
                chosen[count] = lines[p]
                count += 1
                free -= classes[c].need
    return count


@kernel
def quotas(classes, lines, chosen):
    """Name the jobs of each line before the place `next`."""
    count = 0
    for c in range(classes.shape[0]):
        for p in range(classes[c].head, classes[c].next):
            chosen[count] = lines[p]
            count += 1
    return count


@kernel
def max_weight(state, classes, value):
    """Find the packing of the greatest sum of jobs in system times jobs served, over classes; a knapsack.

    Among packings of equal weight it is the one with more jobs of the largest need, then of the next.

    Args:
        state: `PACKING_STATE` record.
        classes: `CLASS` rows `(c,)`; `next` is written.
        value: `(c + 1, servers + 1)`, scratch: the greatest weight of the first classes in so many servers.
    """
    for free in range(state.servers + 1):
        value[0, free] = 0
    for c in range(classes.shape[0]):
        need, jobs = classes[c].need, classes[c].waiting + classes[c].serving
        for free in range(state.servers + 1):
            best = value[c, free]
            for served in range(1, min(jobs, free // need) + 1):
                best = max(best, value[c, free - served * need] + served * jobs)
            value[c + 1, free] = best
    free = state.servers
    for c in range(classes.shape[0] - 1, -1, -1):
        need, jobs = classes[c].need, classes[c].waiting + classes[c].serving
        served = min(jobs, free // need)
        while value[c, free - served * need] + served * jobs < value[c + 1, free]:
            served -= 1
        classes[c].next = classes[c].head + served
        free -= served * need


@kernel
def quickswap(state, classes, threshold):
    """Say how many jobs of each class start, where a job needs one server (light) or all of them (heavy).

    Light jobs start until a heavy one waits and at most `threshold` light ones are in system. Then none starts until
    all servers are free; then heavy ones are served until there are none.
    """
    rewind(classes)
    light = heavy = 0
    for c in range(classes.shape[0]):
        if classes[c].need == state.servers:
            heavy += classes[c].waiting + classes[c].serving
        else:
            light += classes[c].waiting + classes[c].serving
    if state.phase == HEAVY and heavy == 0:
        state.phase = LIGHT
    if state.phase == LIGHT and heavy > 0 and light <= threshold:
        state.phase = DRAINING
    if state.phase == DRAINING and state.free == state.servers:
        state.phase = HEAVY
    for c in range(classes.shape[0]):
        if state.phase == (HEAVY if classes[c].need == state.servers else LIGHT):
            classes[c].next += min(classes[c].waiting, state.free // classes[c].need)
