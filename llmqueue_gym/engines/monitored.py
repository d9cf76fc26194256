"""One server whose policy learns: whenever a job leaves, its prediction and its size are a pair to learn from.

What was learnt is one number, and a rank may read it. So whoever is in system is ranked again after every pair; they
stand in a list, which is looked through for the least rank, as queues are short.

Ranks that are constant or fall while a job runs are exact. Those of general shape are looked at again after slices of
`resolution * (age + scale)` of service, as in `central_queue`.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.single_server import serve
from llmqueue_gym.jobs import RUNNING, WAITING


@inner_kernel
def first_of(jobs, live, in_system):
    """Return the slot of the least rank, the earliest among equals, and the least rank of the others."""
    best, others = 0, np.inf
    for k in range(1, in_system):
        value = jobs[live[k]].rank
        if value < jobs[live[best]].rank:
            best, others = k, jobs[live[best]].rank
        elif value < others:
            others = value
    return best, others


@lean_kernel
def simulate(state, memory, jobs, sizes, outcome, live, rank, learn, params, sliced, resolution, scale):
    """Run the whole job table, preemptively, under a rank that may read what was learnt.

    Args:
        state: `QUEUE_STATE` record, fresh.
        memory: `MEMORY` record, fresh.
        jobs: `JOB` rows `(n,)`.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        live: `(n,)`, scratch: rows of the jobs in system, by arrival.
        rank: compiled rank function of a job and the memory.
        learn: compiled function of a job that has just left, whose age is its size, and the memory.
        params: parameters of both `(k,)`.
        sliced: whether ranks are of general shape.
        resolution: length of a slice relative to `age + scale`.
        scale: s, about the mean size.
    """
    n = jobs.shape[0]
    while state.done < n:
        if state.in_system == 0:
            state.clock = max(state.clock, jobs[state.arrived].arrival)
        while state.arrived < n and jobs[state.arrived].arrival <= state.clock:
            new = jobs[state.arrived]
            new.status = WAITING
            new.rank = rank(new, memory, params)
            live[state.in_system] = state.arrived
            state.in_system += 1
            state.arrived += 1
        slot, others = first_of(jobs, live, state.in_system)
        i = live[slot]
        if state.running >= 0 and state.running != i:
            jobs[state.running].status = WAITING
            outcome[state.running].preemptions += 1
        state.running = i
        job, coming = jobs[i], np.inf
        if state.arrived < n:
            coming = jobs[state.arrived].arrival
        job.status = RUNNING
        while True:
            stop = coming
            if sliced and state.in_system > 1:
                stop = min(stop, state.clock + resolution * (job.age + scale))
            finished, state.clock = serve(state.clock, stop, job, sizes[i], outcome[i])
            if finished:
                break
            job.rank = rank(job, memory, params)
            if state.clock >= coming or job.rank >= others:
                break
        if finished:
            state.done += 1
            state.in_system -= 1
            state.running = -1
            for k in range(slot, state.in_system):
                live[k] = live[k + 1]
            memory.seen += 1
            memory.state = learn(job, memory, params)
            for k in range(state.in_system):
                jobs[live[k]].rank = rank(jobs[live[k]], memory, params)
