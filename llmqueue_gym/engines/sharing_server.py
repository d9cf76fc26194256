"""One server for ranks of any shape: the running job is ranked again while it runs, and tied jobs share the server.

A rank that rises in service meets that of the best waiting job at some age. What happens then, as in SOAP:

* Jobs that are alike to the policy (the same rank function) and of the same age share the server equally from then
  on, and are kept as one group. This is exact: least attained service is processor sharing among the youngest.
* Different jobs whose ranks meet and both rise would share in proportion to 1 / slope. They take turns in slices of
  service instead, each `resolution * (age + scale)` long. Between jobs whose ranks rise alike the first to be served
  is ahead as often as behind, so the mean is right to second order; `tests/test_engines.py` bounds what is left.

The age at which ranks meet is bracketed in steps of the same length and then bisected. A rank that rises above the
best waiting one and falls back within one step is not seen, and a group shares up to a step longer than its rank rises.

A rank that jumps up takes its new value at once: whoever jumps to the rank of an earlier job that waits leaves the
server to it, as all ties go to the earlier arrival. A job that jumps on and on is served for `TIE` of a slice between
two jumps that count, so every run ends.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.heap import pop, push, tie_key
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

# A group is named by its earliest row, its leader, whose `age` and `rank` stand for all members.
LINK = np.dtype(
    [
        ("head", "i8"),  # of a leader: the member that will finish first
        ("next", "i8"),  # of a member: the member that will finish after it, or -1
        ("count", "i8"),  # of a leader: number of members
        ("calm", "f8"),  # of a leader: age from which a jump at the beginning of a stretch counts again
    ],
    align=True,
)

ARRIVAL, COMPLETION, MEETING, CROSSING, TURN = 1, 2, 3, 4, 5  # what ends a stretch of service
BISECTIONS = 50
TIE = 1e-3  # ranks that meet within this part of a slice are tied
# Relative: nothing happens so shortly before the end of a stretch, and ranks are those of so much later.
ROUNDING = 1e-12


@inner_kernel
def rank_at(job, age, rank, params):
    """Rank of a job if it were of another age."""
    kept = job.age
    job.age = age
    value = rank(job, params)
    job.age = kept
    return value


@part_kernel
def merge(links, sizes, a, b):
    """Merge two member lists that are sorted by size; returns the head."""
    if sizes[b] < sizes[a]:
        a, b = b, a
    head, tail = a, a
    a = links[a].next
    while a >= 0 and b >= 0:
        if sizes[b] < sizes[a]:
            links[tail].next, tail, b = b, b, links[b].next
        else:
            links[tail].next, tail, a = a, a, links[a].next
    links[tail].next = a if a >= 0 else b
    return head


@part_kernel
def lead(links, jobs, head, count):
    """Make a group of `count` members from a list: its leader is the earliest row. Returns the leader."""
    leader, member = head, links[head].next
    while member >= 0:
        leader = min(leader, member)
        member = links[member].next
    links[leader].head = head
    links[leader].count = count
    return leader


@part_kernel
def without(links, head, row):
    """Remove one member from a list; returns the head of the rest."""
    if head == row:
        return links[row].next
    before = head
    while links[before].next != row:
        before = links[before].next
    links[before].next = links[row].next
    return head


@inner_kernel
def passes(value, level, first):
    """Whether a running job of this rank leaves the server to one of rank `level` that waits and may come first."""
    return value > level or (value == level and first)


@inner_kernel
def jumps(value, near, far):
    """Whether a rank that rises from `value` to `far` does so at one age, by what it is after a 16th of the way."""
    return near <= value or not near - value < 0.5 * (far - value)


@part_kernel
def stretch(job, link, far, jump, level, first, shared, end, rank, params, resolution, scale):
    """How far a group can be served before its rank passes `level` or, if it shares, rises no more.

    Args:
        job: row of the leader.
        link: its `LINK` row.
        far: its rank after `TIE` of a slice.
        jump: whether it gets there in one jump.
        level: rank of the best waiting group.
        first: whether that goes first among equal ranks.
        shared: whether the group has more than one member.
        end: age at which something else ends the stretch.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        resolution: as in `simulate`.
        scale: as in `simulate`.

    Returns:
        the age, and CROSSING, TURN or 0 (nothing before `end`).
    """
    lo, value, last = job.age, job.rank, end * (1.0 - ROUNDING)
    # Whatever the rank does in the very first part, it does not count, unless it jumps: every stretch gets somewhere.
    least = lo + TIE * resolution * (lo + scale)
    tied = passes(far, level, first)
    jump = jump and tied and lo >= link.calm
    while True:
        hi = min(least if jump else lo + resolution * (lo + scale), end)
        above = rank_at(job, hi, rank, params)
        if passes(above, level, first):
            if jump or not (tied and lo == job.age):  # a tied job is served for a slice, whatever its rank
                lo = lo if jump else min(max(lo, least), hi)
                for _ in range(BISECTIONS):
                    mid = 0.5 * (lo + hi)
                    if passes(rank_at(job, mid, rank, params), level, first):
                        hi = mid
                    else:
                        lo = mid
            if hi >= last:
                return end, 0
            if jump:
                link.calm = hi + (least - job.age)
            return hi, CROSSING
        if shared and above <= value:
            return (hi, TURN) if hi < last else (end, 0)
        if hi >= end:
            return end, 0
        lo, value, jump = hi, above, False


@lean_kernel
def simulate(state, jobs, sizes, outcome, heap, links, twin, rank, params, lcfs_up_to, resolution, scale):
    """Run the whole job table, preemptively, under a rank function of any shape.

    Args:
        state: `QUEUE_STATE` record, fresh.
        jobs: `JOB` rows `(n,)`.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        heap: `HEAP` rows `(n,)`, scratch: the waiting groups.
        links: `LINK` rows `(n,)`, scratch.
        twin: `(n,)`; jobs with the same number have the same rank function.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        lcfs_up_to: equal ranks up to this number are served last come first served.
        resolution: length of a slice relative to `age + scale`.
        scale: s, about the mean size.
    """
    n, waiting, g = jobs.shape[0], 0, -1
    while state.done < n:
        if g < 0 and waiting == 0:
            state.clock = jobs[state.arrived].arrival
        while state.arrived < n and jobs[state.arrived].arrival <= state.clock:
            new = state.arrived
            state.arrived += 1
            links[new].head, links[new].next, links[new].count, links[new].calm = new, -1, 1, 0.0
            jobs[new].status = WAITING
            jobs[new].rank = rank(jobs[new], params)
            push(heap, waiting, jobs[new].rank, tie_key(new, jobs[new].rank, lcfs_up_to))
            waiting += 1
        if g < 0:
            g = pop(heap, waiting)
            waiting -= 1
        elif waiting > 0:
            tie = tie_key(g, jobs[g].rank, lcfs_up_to)
            if heap[0].rank < jobs[g].rank or (heap[0].rank == jobs[g].rank and heap[0].tie < tie):
                jobs[g].status = WAITING
                outcome[g].preemptions += 1
                other = pop(heap, waiting)
                push(heap, waiting - 1, jobs[g].rank, tie)
                g = other

        job = jobs[g]
        job.status = RUNNING
        tick = TIE * resolution * (job.age + scale)
        least, far, jump, rising = job.age + tick, job.rank, False, False
        if waiting > 0 or links[g].count > 1:  # alone, it runs on
            far = rank_at(job, least, rank, params)
            if far > job.rank and (links[g].count > 1 or far >= heap[0].rank):
                jump = jumps(job.rank, rank_at(job, job.age + tick / 16, rank, params), far)
                rising = not jump
        if links[g].count > 1 and not rising:  # ties of ranks that do not rise go to the first come
            rest = without(links, links[g].head, g)
            others = lead(links, jobs, rest, links[g].count - 1)
            jobs[others].age, jobs[others].rank = job.age, job.rank
            links[others].calm = links[g].calm
            push(heap, waiting, job.rank, tie_key(others, job.rank, lcfs_up_to))
            waiting += 1
            links[g].head, links[g].next, links[g].count = g, -1, 1
        while rising and waiting > 0:
            top = abs(heap[0].tie)
            if twin[top] != twin[g] or jobs[top].age != jobs[g].age:
                break
            pop(heap, waiting)
            waiting -= 1
            age, value = jobs[g].age, jobs[g].rank
            count = links[g].count + links[top].count
            g = lead(links, jobs, merge(links, sizes, links[g].head, links[top].head), count)
            jobs[g].age, jobs[g].rank = age, value
            jobs[g].status = RUNNING

        job = jobs[g]
        head, count = links[g].head, links[g].count
        if job.age == 0.0:
            member = head
            while member >= 0:
                if np.isnan(outcome[member].start):
                    outcome[member].start = state.clock
                member = links[member].next
        end = sizes[head]
        until, event = state.clock + count * (end - job.age), COMPLETION
        if state.arrived < n and jobs[state.arrived].arrival < until - count * ROUNDING * end:
            until, event = jobs[state.arrived].arrival, ARRIVAL
            end = job.age + (until - state.clock) / count
        if waiting > 0 or count > 1:
            level, first = np.inf, False
            if waiting > 0:
                top, level = abs(heap[0].tie), heap[0].rank
                first = heap[0].tie < tie_key(g, level, lcfs_up_to)
                if twin[top] == twin[g] and least < jobs[top].age < end:
                    end, event = jobs[top].age, MEETING
            age, found = stretch(
                job, links[g], far, jump, level, first, count > 1, end, rank, params, resolution, scale
            )
            if found != 0:
                end, event = age, found
            if event != COMPLETION and event != ARRIVAL:
                until = state.clock + count * (end - job.age)
        state.clock = until
        if event == COMPLETION:
            age = sizes[head]
            while head >= 0 and sizes[head] <= age:  # members of one size leave together
                outcome[head].completion = until
                jobs[head].status = DONE
                jobs[head].age = age
                state.done += 1
                count -= 1
                head = links[head].next
            g = -1
            if head >= 0:
                g = lead(links, jobs, head, count)
                jobs[g].age = age
        else:
            job.age = end
        if g >= 0:
            jobs[g].rank = rank_at(jobs[g], jobs[g].age * (1.0 + ROUNDING), rank, params)
