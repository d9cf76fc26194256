"""Several servers whose jobs an agent picks one by one: what happens from one decision to the next.

An epoch opens when a server is free and somebody waits who fits; in a preemptive run at every arrival and completion
with more work than servers, and then all jobs in service are up for choice again. In an epoch the agent picks jobs
until no more fit or, where it may, it passes. Then time goes on to the next epoch. What leaves no choice is done
without it, except the very first pick.

Jobs resume where they stopped, and a job picked starts on the fastest free server. One that loses its patience before
it ever runs leaves at once; under firm deadlines any job leaves at its deadline, wherever it is.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel
from llmqueue_gym.engines.state import START
from llmqueue_gym.jobs import DONE, LOST, RUNNING, WAITING

PICKS = np.dtype(
    [
        ("clock", "f8"),  # s
        ("integral", "f8"),  # cost so far: integral of the cost rate
        ("cost_rate", "f8"),  # sum of the costs of the jobs in system, per s
        ("arrived", "i8"),  # rows of the job table that have arrived
        ("served", "i8"),
        ("lost", "i8"),  # left unserved
        ("waiting", "i8"),  # length of the list of those who wait
        ("active", "i8"),  # jobs in service
        ("free", "i8"),  # servers that no job occupies
        ("leaves", "f8"),  # s, nobody who waits leaves before; they are asked anew when it might matter
    ],
    align=True,
)

# A job in service; the list is in the order in which they were picked.
PICKED = np.dtype(
    [
        ("row", "i8"),
        ("server", "i8"),
        ("since", "f8"),  # s
        ("until", "f8"),  # s, when it will be done if left alone
    ],
    align=True,
)


@inner_kernel
def leaves_at(job, patience, started, firm):
    """Return when a waiting job gives up, s."""
    if firm:
        return job.deadline
    return np.inf if started else job.arrival + patience


@inner_kernel
def admit(e, n, state, jobs, cost, patience, live, since, firm):
    """Let in all that have arrived by now; their cost counts from their arrival on. Returns the time of the last."""
    while state.arrived < n and jobs[e, state.arrived].arrival <= state.clock:
        i = state.arrived
        state.integral += state.cost_rate * (jobs[e, i].arrival - since)
        since = jobs[e, i].arrival
        jobs[e, i].status = WAITING
        live[e, state.waiting] = i
        state.waiting += 1
        state.arrived += 1
        state.cost_rate += cost[e, i, 1]
        state.leaves = min(state.leaves, leaves_at(jobs[e, i], patience[e, i], False, firm))
    return since


@inner_kernel
def strike(e, state, live, position):
    """Take an entry out of the list of those who wait."""
    state.waiting -= 1
    for k in range(position, state.waiting):
        live[e, k] = live[e, k + 1]


@inner_kernel
def pick(e, state, jobs, truth, outcome, live, service, speeds, taken, position):
    """Start the job at a position of the list."""
    i = live[e, position]
    job = jobs[e, i]
    strike(e, state, live, position)
    if np.isnan(outcome[e, i].start):
        outcome[e, i].start = state.clock
    server = 0
    while taken[e, server]:
        server += 1
    needed = job.need
    at = server
    while needed > 0:  # those that work along with it
        if not taken[e, at]:
            taken[e, at] = i + 1
            needed -= 1
        at += 1
    job.status, job.site = RUNNING, server
    place = service[e, state.active]
    place.row, place.server, place.since = i, server, state.clock
    place.until = state.clock + (truth[e, i, 0] - job.age) / speeds[server]
    state.active += 1
    state.free -= job.need


@inner_kernel
def release(e, state, jobs, service, taken, k):
    """Take the job at place k out of service."""
    i = service[e, k].row
    state.free += jobs[e, i].need
    for s in range(taken.shape[1]):
        if taken[e, s] == i + 1:
            taken[e, s] = 0
    state.active -= 1
    for j in range(k, state.active):
        a, b = service[e, j], service[e, j + 1]
        a.row, a.server, a.since, a.until = b.row, b.server, b.since, b.until


@inner_kernel
def grow_older(e, state, jobs, service, speeds):
    """Let the ages of the jobs in service be those of now."""
    for k in range(state.active):
        place = service[e, k]
        jobs[e, place.row].age += (state.clock - place.since) * speeds[place.server]
        place.since = state.clock


@inner_kernel
def recall(e, state, jobs, live, service, taken, firm):
    """Put all jobs in service back among those who wait, by order of arrival; status RUNNING says where they were."""
    for k in range(state.active):
        i = service[e, k].row
        at = state.waiting
        while at > 0 and live[e, at - 1] > i:
            live[e, at] = live[e, at - 1]
            at -= 1
        live[e, at] = i
        state.waiting += 1
        state.free += jobs[e, i].need
        if firm:
            state.leaves = min(state.leaves, jobs[e, i].deadline)
    state.active = 0
    for s in range(taken.shape[1]):
        taken[e, s] = 0


@inner_kernel
def close(e, state, jobs, outcome, live):
    """End an epoch: those who were in service and are not again have been preempted."""
    for k in range(state.waiting):
        i = live[e, k]
        if jobs[e, i].status == RUNNING:
            jobs[e, i].status = WAITING
            outcome[e, i].preemptions += 1


@inner_kernel
def lose(e, state, jobs, cost, i):
    """Note that a job leaves unserved."""
    jobs[e, i].status = LOST
    state.lost += 1
    state.cost_rate -= cost[e, i, 1]


@inner_kernel
def first_to_leave(e, state, jobs, patience, outcome, live, firm):
    """Return when the first of those who wait gives up, s."""
    soonest = np.inf
    for k in range(state.waiting):
        i = live[e, k]
        soonest = min(soonest, leaves_at(jobs[e, i], patience[e, i], not np.isnan(outcome[e, i].start), firm))
    return soonest


@inner_kernel
def next_event(e, n, state, jobs, patience, outcome, live, service, firm):
    """Return the time of the next arrival, completion or loss."""
    soonest = jobs[e, state.arrived].arrival if state.arrived < n else np.inf
    for k in range(state.active):
        soonest = min(soonest, service[e, k].until)
        if firm:
            soonest = min(soonest, jobs[e, service[e, k].row].deadline)
    if state.leaves < soonest:
        state.leaves = first_to_leave(e, state, jobs, patience, outcome, live, firm)
    return max(min(soonest, state.leaves), state.clock)


@inner_kernel
def pass_time(e, n, state, jobs, truth, patience, outcome, live, service, speeds, taken, firm):
    """Go to the next event and let it happen: completions, then losses, then arrivals.

    Returns:
        whether one of them was an arrival or a completion.
    """
    since = state.clock
    state.clock = next_event(e, n, state, jobs, patience, outcome, live, service, firm)
    news = state.arrived
    since = admit(e, n, state, jobs, truth, patience, live, since, firm)
    state.integral += state.cost_rate * (state.clock - since)
    came = state.arrived > news
    k = 0
    while k < state.active:
        i = service[e, k].row
        if service[e, k].until <= state.clock:
            outcome[e, i].completion = service[e, k].until
            jobs[e, i].age, jobs[e, i].status = truth[e, i, 0], DONE
            release(e, state, jobs, service, taken, k)
            state.served += 1
            state.cost_rate -= truth[e, i, 1]
            came = True
        elif firm and jobs[e, i].deadline <= state.clock:
            release(e, state, jobs, service, taken, k)
            lose(e, state, jobs, truth, i)
            came = True
        else:
            k += 1
    k = 0
    while k < state.waiting and state.leaves <= state.clock:
        i = live[e, k]
        started = not np.isnan(outcome[e, i].start)
        if leaves_at(jobs[e, i], patience[e, i], started, firm) <= state.clock:
            strike(e, state, live, k)
            lose(e, state, jobs, truth, i)
        else:
            k += 1
    if state.active + state.waiting == 0:
        state.cost_rate = 0.0  # no rounding error survives an idle period
    return came


@inner_kernel
def fitting(e, state, jobs, live, slots):
    """Return how many of the visible jobs that wait fit now, and the position of the first, or -1."""
    count, first = 0, -1
    if state.free > 0:
        for k in range(min(slots, state.waiting)):
            if jobs[e, live[e, k]].need <= state.free:
                count += 1
                if first < 0:
                    first = k
    return count, first


@inner_kernel
def advance(
    e, n, state, jobs, truth, patience, outcome, live, service, speeds, taken, action, slots, preemptive, may_pass,
    may_drop, firm, horizon,
):  # fmt: skip
    """Carry out an action and go on to the next decision of run e.

    The arguments are those of `pick_steps.step_batch`; `action` is open, or START.
    """
    closed = False
    if action == START:
        state.clock = jobs[e, 0].arrival
        admit(e, n, state, jobs, truth, patience, live, state.clock, firm)
        return
    if action < slots:
        pick(e, state, jobs, truth, outcome, live, service, speeds, taken, action)
    elif may_drop and action < 2 * slots:
        i = live[e, action - slots]
        strike(e, state, live, action - slots)
        lose(e, state, jobs, truth, i)
    else:
        closed = True
    while True:
        if not closed:
            count, first = fitting(e, state, jobs, live, slots)
            if count == 0 or (count == 1 and state.waiting == 1 and not may_pass and not may_drop):
                if count == 1:
                    pick(e, state, jobs, truth, outcome, live, service, speeds, taken, first)
                closed = True
            else:
                return
        close(e, state, jobs, outcome, live)
        if state.served + state.lost == n or state.clock >= horizon:
            return
        came = pass_time(e, n, state, jobs, truth, patience, outcome, live, service, speeds, taken, firm)
        grow_older(e, state, jobs, service, speeds)
        closed = False
        if preemptive and came and state.waiting > 0:
            recall(e, state, jobs, live, service, taken, firm)
