"""Several servers and one queue: whoever is first in rank runs, on the fastest server that is free.

Servers may differ in speed and are sorted by it, the fastest first. A job stays on its server until it is done or
preempted; it resumes anywhere. A job that has waited for its patience and never ran leaves without service; it is
found out when its turn comes, which changes nothing for the others.

Ranks that are constant or fall while a job runs are exact: a running job can only be overtaken by an arrival. Ranks
of general shape are looked at again after slices of `resolution * (age + scale)` of service, so that jobs of like rank
take turns; the means are those of sharing up to the length of a slice.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.heap import pop, push, tie_key
from llmqueue_gym.engines.server import CONSTANT, GENERAL, bring_up_to_date, run
from llmqueue_gym.jobs import DONE, LOST, WAITING

SERVER = np.dtype(
    [
        ("speed", "f8"),  # s of service per s
        ("until", "f8"),  # s, end of the present stretch of service; inf where idle
        ("since", "f8"),  # s, its beginning
        ("rank", "f8"),  # of its job, as of the last time it was ranked
        ("row", "i8"),  # of its job, or -1
        ("ends", "?"),  # whether the job is done at the end of the stretch
    ],
    align=True,
)


@inner_kernel
def start(server, clock, i, jobs, sizes, outcome, shape, resolution, scale):
    """Put job i on a server, which keeps its rank."""
    run(server, clock, i, jobs, sizes, outcome, shape, resolution, scale)
    server.rank = jobs[i].rank


@inner_kernel
def first_to_end(servers):
    """Return the server whose stretch ends first."""
    best, least = 0, servers[0].until
    for s in range(1, servers.shape[0]):
        if servers[s].until < least:
            best, least = s, servers[s].until
    return best


@inner_kernel
def first_idle(servers):
    """Return the fastest server that is free; there is one."""
    s = 0
    while servers[s].row >= 0:
        s += 1
    return s


@inner_kernel
def displaced(servers, first, clock, jobs, rank, params, shape, lcfs_up_to):
    """Return the server that the first waiting job takes from a running one, -1 where there is none; all are busy.

    It is the one whose job is last in order. A rank that falls is at most what it was, so ranks are taken again only as
    long as the largest known one is not up to date.
    """
    while True:
        s, most, tie = -1, -np.inf, 0
        for k in range(servers.shape[0]):
            if servers[k].rank >= most:
                own = tie_key(servers[k].row, servers[k].rank, lcfs_up_to)
                if s < 0 or servers[k].rank > most or own > tie:
                    s, most, tie = k, servers[k].rank, own
        if not (first.rank < most or (first.rank == most and first.tie < tie)):
            return -1
        server = servers[s]
        if shape == CONSTANT or server.since == clock:
            return s
        bring_up_to_date(server, clock, jobs)
        server.rank = jobs[server.row].rank = rank(jobs[server.row], params)
        if server.rank == most:
            return s


@inner_kernel
def has_left(i, clock, jobs, patience, outcome):
    """Whether a waiting job has lost its patience before it ever ran."""
    return jobs[i].arrival + patience[i] < clock and np.isnan(outcome[i].start)


@inner_kernel
def next_waiting(heap, waiting, clock, jobs, patience, outcome):
    """Take those who have left from the top of the heap; returns how many entries are left."""
    while waiting > 0 and has_left(abs(heap[0].tie), clock, jobs, patience, outcome):
        jobs[pop(heap, waiting)].status = LOST
        waiting -= 1
    return waiting


@lean_kernel
def simulate(
    state,
    jobs,
    sizes,
    patience,
    outcome,
    heap,
    servers,
    rank,
    params,
    preemptive,
    shape,
    lcfs_up_to,
    resolution,
    scale,
):
    """Run the whole job table under a rank function.

    Args:
        state: `QUEUE_STATE` record, fresh; `done` counts those served.
        jobs: `JOB` rows `(n,)`.
        sizes: true sizes `(n,)`, s on a server of speed 1.
        patience: `(n,)`, s that a job waits at most before it first runs.
        outcome: `OUTCOME` rows `(n,)`, written.
        heap: `HEAP` rows `(n,)`, scratch: the waiting jobs.
        servers: `SERVER` rows `(k,)`, idle, the fastest first.
        rank: compiled rank function.
        params: its parameters.
        preemptive: whether a waiting job may take a server from a running one.
        shape: CONSTANT, FALLING or GENERAL.
        lcfs_up_to: equal ranks up to this number are served last come first served.
        resolution: length of a slice relative to `age + scale`, for GENERAL.
        scale: s, about the mean size, likewise.
    """
    n, waiting, arrived, busy, clock = jobs.shape[0], 0, 0, 0, 0.0
    slices = shape if preemptive else CONSTANT
    while arrived < n or busy > 0:
        s = first_to_end(servers)
        clock = servers[s].until
        if arrived < n and jobs[arrived].arrival < clock:
            clock = jobs[arrived].arrival
        while servers[s].until <= clock:  # at equal times completions come first
            server = servers[s]
            i = server.row
            if server.ends:
                jobs[i].age = sizes[i]
                jobs[i].status = DONE
                outcome[i].completion = clock
                server.row, server.until, server.rank = -1, np.inf, -np.inf
                busy -= 1
                state.done += 1
            else:
                bring_up_to_date(server, clock, jobs)
                key = jobs[i].rank = rank(jobs[i], params)
                waiting = next_waiting(heap, waiting, clock, jobs, patience, outcome)
                tie = tie_key(i, key, lcfs_up_to)
                if waiting > 0 and (heap[0].rank < key or (heap[0].rank == key and heap[0].tie < tie)):
                    jobs[i].status = WAITING
                    outcome[i].preemptions += 1
                    other = pop(heap, waiting)
                    push(heap, waiting - 1, key, tie)
                    i = other
                start(server, clock, i, jobs, sizes, outcome, slices, resolution, scale)
            s = first_to_end(servers)
        came = False
        while arrived < n and jobs[arrived].arrival <= clock:
            job = jobs[arrived]
            job.status, job.rank = WAITING, rank(job, params)
            push(heap, waiting, job.rank, tie_key(arrived, job.rank, lcfs_up_to))
            waiting += 1
            arrived += 1
            came = True
        while waiting > 0 and busy < servers.shape[0]:
            i = pop(heap, waiting)
            waiting -= 1
            if has_left(i, clock, jobs, patience, outcome):
                jobs[i].status = LOST
            else:
                free = first_idle(servers)
                start(servers[free], clock, i, jobs, sizes, outcome, slices, resolution, scale)
                busy += 1
        if preemptive and came:
            if shape == GENERAL:
                for s in range(servers.shape[0]):
                    if servers[s].row >= 0:
                        bring_up_to_date(servers[s], clock, jobs)
                        servers[s].rank = jobs[servers[s].row].rank = rank(jobs[servers[s].row], params)
            while waiting > 0:
                waiting = next_waiting(heap, waiting, clock, jobs, patience, outcome)
                if waiting == 0:
                    break
                s = displaced(servers, heap[0], clock, jobs, rank, params, shape, lcfs_up_to)
                if s < 0:
                    break
                out = servers[s].row
                bring_up_to_date(servers[s], clock, jobs)
                jobs[out].status = WAITING
                outcome[out].preemptions += 1
                i = pop(heap, waiting)
                push(heap, waiting - 1, servers[s].rank, tie_key(out, servers[s].rank, lcfs_up_to))
                start(servers[s], clock, i, jobs, sizes, outcome, slices, resolution, scale)
    state.clock, state.arrived = clock, arrived
