"""k servers, and jobs that occupy several of them at once and resume where they stopped.

At every arrival or completion the jobs in system, sorted by rank and then by arrival, are packed into the servers. A
packing rule names the jobs to start; under a preemptive policy it packs all servers anew, and who was in service and is
not named goes back to the queue. What happens at one instant is taken together: completions, then arrivals, then the
rule, once.

Jobs of equal need stand in a sorted list of their own, a line; under a preemptive policy those in service too. The
rules, but for the one that starts jobs itself, are in `packing_rules`.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel
from llmqueue_gym.engines.packing_rules import (
    BACKFILL,
    FILLING,
    MAX_WEIGHT,
    PREFIX,
    SKIP,
    filling,
    first,
    max_weight,
    precedes,
    prefix,
    quickswap,
    quotas,
    rewind,
    skip,
)
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

_CHOSEN = -1  # status of a job between being named and being started or kept

PACKING_STATE = np.dtype(
    [
        ("clock", "f8"),  # s
        ("arrived", "i8"),  # rows of the job table that have arrived
        ("done", "i8"),  # jobs that have left
        ("active", "i8"),  # jobs in service
        ("servers", "i8"),
        ("free", "i8"),  # servers that no job occupies
        ("wanted", "i8"),  # sum of the needs of the jobs in system
        ("phase", "i8"),  # of QUICKSWAP
        ("busy", "f8"),  # server-seconds in use
        ("idle_wanted", "f8"),  # server-seconds free while the jobs in system need all servers or more
        ("idle_fitting", "f8"),  # server-seconds free while a waiting job needs no more than is free
    ],
    align=True,
)

# A job in service.
PACKED = np.dtype(
    [
        ("row", "i8"),
        ("finish", "f8"),  # s, when it will be done if left alone
        ("due", "f8"),  # s, the same as predicted
    ],
    align=True,
)

# All jobs of equal need, in ascending order of need.
CLASS = np.dtype(
    [
        ("need", "i8"),
        ("waiting", "i8"),
        ("serving", "i8"),
        ("head", "i8"),  # its line is lines[head:tail], with room for all its jobs on either side
        ("tail", "i8"),
        ("next", "i8"),  # scratch: the place in its line that a rule has come to
    ],
    align=True,
)


@inner_kernel
def place_of(jobs, mine, lines, row):
    """Return the place of a row in the line of its class, or the one where it would have to be put in."""
    low, high = mine.head, mine.tail
    while low < high:
        middle = (low + high) >> 1
        if precedes(jobs, lines[middle], row):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def insert(jobs, mine, lines, row):
    """Put a row into the line of its class; the shorter side gives way."""
    p = place_of(jobs, mine, lines, row)
    if p - mine.head < mine.tail - p:
        mine.head -= 1
        for i in range(mine.head, p - 1):
            lines[i] = lines[i + 1]
        lines[p - 1] = row
    else:
        for i in range(mine.tail, p, -1):
            lines[i] = lines[i - 1]
        lines[p] = row
        mine.tail += 1


@kernel
def remove(jobs, mine, lines, row):
    """Take a row out of the line of its class; the shorter side closes the gap."""
    p = place_of(jobs, mine, lines, row)
    if p - mine.head < mine.tail - p:
        for i in range(p, mine.head, -1):
            lines[i] = lines[i - 1]
        mine.head += 1
    else:
        mine.tail -= 1
        for i in range(p, mine.tail):
            lines[i] = lines[i + 1]


@kernel
def move(jobs, mine, lines, row, rank):
    """Give a row in a line another rank and move it to its new place, which is seldom far."""
    p = place_of(jobs, mine, lines, row)
    jobs[row].rank = rank
    while p > mine.head and precedes(jobs, row, lines[p - 1]):
        lines[p] = lines[p - 1]
        p -= 1
    while p + 1 < mine.tail and precedes(jobs, lines[p + 1], row):
        lines[p] = lines[p + 1]
        p += 1
    lines[p] = row


@kernel
def start(state, jobs, sizes, outcome, planned, kind, classes, running, row):
    """Serve a waiting job; the jobs in service are kept in the order in which they are due."""
    job = jobs[row]
    if np.isnan(outcome[row].start):
        outcome[row].start = state.clock
    job.status = RUNNING
    classes[kind[row]].waiting -= 1
    classes[kind[row]].serving += 1
    state.free -= job.need
    due = state.clock + (planned[row] - job.age)
    i = state.active
    while i > 0 and running[i - 1].due > due:
        running[i] = running[i - 1]
        i -= 1
    running[i].row, running[i].finish, running[i].due = row, state.clock + (sizes[row] - job.age), due
    state.active += 1


@kernel
def release(state, jobs, kind, classes, running, i):
    """Free the servers of the job at place `i` of those in service."""
    row = running[i].row
    classes[kind[row]].serving -= 1
    state.free += jobs[row].need
    state.active -= 1
    for j in range(i, state.active):
        running[j] = running[j + 1]


@inner_kernel
def attained(state, job, size, service):
    """Return the age of a job in service, which rounding must not let fall."""
    return max(job.age, size - (service.finish - state.clock))


@kernel
def reserve(state, jobs, running, need):
    """Return when `need` servers are predicted to be free, and how many more there are at that time.

    A job that outlives its prediction is taken to end now.
    """
    shadow, free = state.clock, state.free
    for i in range(state.active):
        due = max(running[i].due, state.clock)
        if free >= need and due > shadow:
            break
        shadow = due
        free += jobs[running[i].row].need
    return shadow, free - need


@kernel
def backfill(state, jobs, sizes, outcome, planned, kind, classes, lines, running):
    """Start jobs in order; once one does not fit, only those that by prediction do not delay it.

    Such a job ends before the reserved time, or takes servers that the first one leaves over. It starts at once,
    because the reservation counts on it.
    """
    rewind(classes)
    blocked, shadow, extra = False, 0.0, 0
    while state.free > 0:
        c = first(jobs, classes, lines, state.free if blocked else state.servers)
        if c < 0:
            break
        row, need = lines[classes[c].next], classes[c].need
        in_time = state.clock + planned[row] <= shadow
        if need > state.free:
            blocked = True
            shadow, extra = reserve(state, jobs, running, need)
        elif not blocked or in_time or need <= extra:
            if blocked and not in_time:
                extra -= need
            head = classes[c].head
            remove(jobs, classes[c], lines, row)
            classes[c].next += classes[c].head - head  # where the front closed the gap
            start(state, jobs, sizes, outcome, planned, kind, classes, running, row)
            continue
        classes[c].next += 1


@kernel
def serve(state, jobs, sizes, outcome, planned, kind, classes, lines, running, chosen, count, preemptive):
    """Start the jobs that are named and, if preemptive, stop those in service that are not."""
    for j in range(count):
        if not preemptive:
            remove(jobs, classes[kind[chosen[j]]], lines, chosen[j])
        elif jobs[chosen[j]].status == RUNNING:
            jobs[chosen[j]].status = _CHOSEN
    i = 0
    while preemptive and i < state.active:
        row = running[i].row
        if jobs[row].status == _CHOSEN:
            jobs[row].status = RUNNING
            i += 1
            continue
        jobs[row].age = attained(state, jobs[row], sizes[row], running[i])
        jobs[row].status = WAITING
        outcome[row].preemptions += 1
        classes[kind[row]].waiting += 1
        release(state, jobs, kind, classes, running, i)
    for j in range(count):
        if jobs[chosen[j]].status == WAITING:
            start(state, jobs, sizes, outcome, planned, kind, classes, running, chosen[j])


@kernel
def account(state, classes, clock):
    """Count the server-seconds, used and unused, from the last event to `clock`."""
    span = clock - state.clock
    state.busy += (state.servers - state.free) * span
    if state.free == 0:
        return
    if state.wanted >= state.servers:
        state.idle_wanted += state.free * span
    for c in range(classes.shape[0]):
        if classes[c].need > state.free:
            break
        if classes[c].waiting > 0:
            state.idle_fitting += state.free * span
            break


@kernel
def simulate(
    state, jobs, sizes, outcome, planned, kind, classes, lines, running, chosen, value, rank, params, rule, preemptive,
    ages, threshold,
):  # fmt: skip
    """Run the whole job table.

    Args:
        state: `PACKING_STATE` record: fresh but for `servers` and `free`.
        jobs: `JOB` rows `(n,)`, by arrival; no need above `servers`.
        sizes: true durations `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        planned: predicted durations `(n,)`, s, as BACKFILL counts on them.
        kind: `(n,)`, row of `classes` of each job.
        classes: `CLASS` rows `(c,)`, ascending in need, without jobs, each `head` and `tail` amid room for its line.
        lines: `(2n,)`, scratch.
        running: `PACKED` rows `(servers,)`, scratch.
        chosen: `(servers,)`, scratch.
        value: scratch of `max_weight`.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        rule: its number in `packing_rules`.
        preemptive: whether the rule packs all servers anew; never with BACKFILL and QUICKSWAP, always with FILLING and
            MAX_WEIGHT.
        ages: whether the rank of a job in service moves with its age, so that it is ranked again at every event.
        threshold: of QUICKSWAP.
    """
    n = jobs.shape[0]
    while state.done < n:
        clock = jobs[state.arrived].arrival if state.arrived < n else np.inf
        for i in range(state.active):
            clock = min(clock, running[i].finish)
        if clock == np.inf:
            return
        clock = max(clock, state.clock)
        account(state, classes, clock)
        state.clock = clock
        i = 0
        while i < state.active:
            row = running[i].row
            if running[i].finish > clock:
                i += 1
                continue
            if preemptive:
                remove(jobs, classes[kind[row]], lines, row)
            jobs[row].age, jobs[row].status = sizes[row], DONE
            outcome[row].completion = clock
            state.wanted -= jobs[row].need
            state.done += 1
            release(state, jobs, kind, classes, running, i)
        if ages and preemptive:
            for i in range(state.active):
                row = running[i].row
                jobs[row].age = attained(state, jobs[row], sizes[row], running[i])
                move(jobs, classes[kind[row]], lines, row, rank(jobs[row], params))
        while state.arrived < n and jobs[state.arrived].arrival <= clock:
            row = state.arrived
            jobs[row].status, jobs[row].rank = WAITING, rank(jobs[row], params)
            insert(jobs, classes[kind[row]], lines, row)
            classes[kind[row]].waiting += 1
            state.wanted += jobs[row].need
            state.arrived += 1
        count, free = 0, state.servers if preemptive else state.free
        if rule == PREFIX:
            count = prefix(state, jobs, classes, lines, chosen, free)
        elif rule == SKIP:
            count = skip(jobs, classes, lines, chosen, free)
        elif rule == FILLING:
            count = filling(state, jobs, classes, lines, chosen)
        elif rule == BACKFILL:
            backfill(state, jobs, sizes, outcome, planned, kind, classes, lines, running)
        elif rule == MAX_WEIGHT:
            max_weight(state, classes, value)
            count = quotas(classes, lines, chosen)
        else:
            quickswap(state, classes, threshold)
            count = quotas(classes, lines, chosen)
        serve(state, jobs, sizes, outcome, planned, kind, classes, lines, running, chosen, count, preemptive)
