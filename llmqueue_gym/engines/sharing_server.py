"""One server for ranks of any shape: the running job is ranked again while it runs, and tied jobs share the server.

A rank that rises in service meets that of the best waiting job at some age. What happens then, as in SOAP:

* Jobs that are alike to the policy (the same rank function) and of the same age share the server equally from then
  on, and are kept as one group. This is exact: least attained service is processor sharing among the youngest.
* Different jobs whose ranks meet and both rise would share in proportion to 1 / slope. They take turns in slices of
  service instead, each `resolution * (age + scale)` long. Between jobs whose ranks rise alike the first to be served
  is ahead as often as behind, so the mean is right to second order; `tests/test_engines.py` bounds what is left.

The age at which ranks meet is bracketed in steps of the same length and then bisected. A rank that rises above the
best waiting one and falls back within one step is not seen.
"""

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.engines.heap import pop, push
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

# A group is named by its earliest row, its leader, whose `age` and `rank` stand for all members.
LINK = np.dtype(
    [
        ("head", "i8"),  # of a leader: the member that will finish first
        ("next", "i8"),  # of a member: the member that will finish after it, or -1
        ("count", "i8"),  # of a leader: number of members
    ],
    align=True,
)

ARRIVAL, COMPLETION, MEETING, CROSSING, TURN = 1, 2, 3, 4, 5  # what ends a stretch of service
BISECTIONS = 50
TIE = 1e-3  # ranks that meet within this part of a slice are tied


@kernel
def rank_at(job, age, rank, params):
    """Rank of a job if it were of another age."""
    kept = job.age
    job.age = age
    value = rank(job, params)
    job.age = kept
    return value


@kernel
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


@kernel
def lead(links, jobs, head, count):
    """Make a group of `count` members from a list: its leader is the earliest row. Returns the leader."""
    leader, member = head, links[head].next
    while member >= 0:
        leader = min(leader, member)
        member = links[member].next
    links[leader].head = head
    links[leader].count = count
    return leader


@kernel
def without(links, head, row):
    """Remove one member from a list; returns the head of the rest."""
    if head == row:
        return links[row].next
    before = head
    while links[before].next != row:
        before = links[before].next
    links[before].next = links[row].next
    return head


@kernel
def stretch(job, level, shared, end, rank, params, resolution, scale):
    """How far a group can be served before its rank passes `level` or, if it shares, begins to fall.

    Args:
        job: row of the leader.
        level: rank of the best waiting group.
        shared: whether the group has more than one member.
        end: age at which something else ends the stretch.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        resolution: as in `simulate`.
        scale: as in `simulate`.

    Returns:
        the age, and CROSSING, TURN or 0 (nothing before `end`).
    """
    lo, value = job.age, job.rank
    # Whatever the rank does in the very first part, it does not count: so every stretch gets somewhere.
    least = lo + TIE * resolution * (lo + scale)
    tied = rank_at(job, least, rank, params) > level
    while True:
        hi = min(lo + resolution * (lo + scale), end)
        above = rank_at(job, hi, rank, params)
        if above > level:
            if not (tied and lo == job.age):  # a tied job is served for a slice, whatever its rank
                lo = min(max(lo, least), hi)
                for _ in range(BISECTIONS):
                    mid = 0.5 * (lo + hi)
                    if rank_at(job, mid, rank, params) > level:
                        hi = mid
                    else:
                        lo = mid
            return hi, CROSSING if hi < end else 0
        if shared and above < value:
            return hi, TURN if hi < end else 0
        if hi >= end:
            return end, 0
        lo, value = hi, above


@kernel
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
            links[new].head, links[new].next, links[new].count = new, -1, 1
            jobs[new].status = WAITING
            jobs[new].rank = rank(jobs[new], params)
            push(heap, waiting, jobs[new].rank, -new if jobs[new].rank <= lcfs_up_to else new)
            waiting += 1
        if g < 0:
            g = pop(heap, waiting)
            waiting -= 1
        elif waiting > 0:
            tie = -g if jobs[g].rank <= lcfs_up_to else g
            if heap[0].rank < jobs[g].rank or (heap[0].rank == jobs[g].rank and heap[0].tie < tie):
                jobs[g].status = WAITING
                outcome[g].preemptions += 1
                other = pop(heap, waiting)
                push(heap, waiting - 1, jobs[g].rank, tie)
                g = other

        job = jobs[g]
        job.status = RUNNING
        least = job.age + TIE * resolution * (job.age + scale)
        rising = rank_at(job, least, rank, params) > job.rank
        if links[g].count > 1 and not rising:  # ties of ranks that do not rise go to the first come
            rest = without(links, links[g].head, g)
            others = lead(links, jobs, rest, links[g].count - 1)
            jobs[others].age, jobs[others].rank = job.age, job.rank
            push(heap, waiting, job.rank, -others if job.rank <= lcfs_up_to else others)
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
        until, event = state.clock + count * (sizes[head] - job.age), COMPLETION
        end = sizes[head]
        if state.arrived < n and jobs[state.arrived].arrival < until:
            until, event = jobs[state.arrived].arrival, ARRIVAL
            end = job.age + (until - state.clock) / count
        if waiting > 0 or count > 1:
            level = heap[0].rank if waiting > 0 else np.inf
            if waiting > 0:
                top = abs(heap[0].tie)
                if twin[top] == twin[g] and least < jobs[top].age < end:
                    end, event = jobs[top].age, MEETING
            age, found = stretch(job, level, count > 1, end, rank, params, resolution, scale)
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
            jobs[g].rank = rank(jobs[g], params)
