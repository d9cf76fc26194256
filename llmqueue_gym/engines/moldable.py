"""k servers, and moldable jobs: each is given a number of servers when it starts, and keeps them until it is done.

At every arrival or completion each waiting job that the policy looks at is offered 1, 2, ... k servers. The offer of
least score is next, over jobs and numbers; ties go to the earlier arrival, then to more servers. If so many servers are
free, the job starts and the offers are made anew; if not, nothing starts until something else happens. An offer of
score inf is declined. What happens at one instant is taken together: completions, then arrivals, then starts.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

MOLDABLE_STATE = np.dtype(
    [
        ("clock", "f8"),  # s
        ("integral", "f8"),  # cost so far: integral of the cost rate
        ("cost_rate", "f8"),  # sum of the costs of the jobs in system, per s
        ("arrived", "i8"),  # rows of the job table that have arrived
        ("done", "i8"),  # jobs that have left
        ("waiting", "i8"),
        ("running", "i8"),
        ("servers", "i8"),
        ("free", "i8"),  # servers that no job holds
        ("busy", "f8"),  # server-seconds in use
        ("number", "i8"),  # servers of the offer that is next
        ("least", "f8"),  # its score; inf where all are declined
    ],
    align=True,
)

# A job in service.
HELD = np.dtype(
    [
        ("row", "i8"),
        ("servers", "i8"),
        ("finish", "f8"),  # s, when it will be done
        ("due", "f8"),  # s, the same as predicted
    ],
    align=True,
)


@inner_kernel
def foresee(state, running, waits):
    """Write the predicted times until 1, 2, ... servers are free; `running` is in the order in which jobs are due."""
    free = state.free
    waits[:free] = 0.0
    for i in range(state.running):
        service = running[i]
        waits[free : free + service.servers] = max(service.due - state.clock, 0.0)
        free += service.servers


@inner_kernel
def start(state, jobs, predicted, times, outcome, line, running, place, servers):
    """Serve the job at a place of the line; those in service are kept in the order in which they are due."""
    row = line[place]
    state.waiting -= 1
    for i in range(place, state.waiting):
        line[i] = line[i + 1]
    outcome[row].start, jobs[row].status, jobs[row].need = state.clock, RUNNING, servers
    due = state.clock + predicted[row, servers - 1]
    i = state.running
    while i > 0 and running[i - 1].due > due:
        move(running, i - 1, i)
        i -= 1
    running[i].row, running[i].servers, running[i].due = row, servers, due
    running[i].finish = state.clock + times[row, servers - 1]
    state.running += 1
    state.free -= servers


@inner_kernel
def move(running, source, target):
    """Copy an entry of those in service."""
    a, b = running[target], running[source]
    a.row, a.servers, a.finish, a.due = b.row, b.servers, b.finish, b.due


@inner_kernel
def complete(state, jobs, times, costs, outcome, running):
    """Let the jobs leave that are done by now."""
    kept = 0
    for i in range(state.running):
        row, servers = running[i].row, running[i].servers
        if running[i].finish > state.clock:
            if kept < i:
                move(running, i, kept)
            kept += 1
            continue
        jobs[row].status, jobs[row].age = DONE, times[row, servers - 1]
        outcome[row].completion = state.clock
        state.free += servers
        state.done += 1
        state.cost_rate -= costs[row]
    state.running = kept


@inner_kernel
def pass_time(state, n, jobs, times, costs, outcome, line, running):
    """Go to the next time at which something happens: completions, then arrivals. Returns whether there is one."""
    clock = jobs[state.arrived].arrival if state.arrived < n else np.inf
    for i in range(state.running):
        clock = min(clock, running[i].finish)
    if clock == np.inf:
        return False
    state.busy += (state.servers - state.free) * (clock - state.clock)
    state.integral += state.cost_rate * (clock - state.clock)
    state.clock = clock
    complete(state, jobs, times, costs, outcome, running)
    if state.running + state.waiting == 0:
        state.cost_rate = 0.0  # no rounding error survives an idle period
    while state.arrived < n and jobs[state.arrived].arrival <= clock:
        jobs[state.arrived].status = WAITING
        state.cost_rate += costs[state.arrived]
        line[state.waiting] = state.arrived
        state.waiting += 1
        state.arrived += 1
    return True


@kernel
def best_offer(state, jobs, predicted, line, waits, offer, score, params, window):
    """Return the place in line of the job whose offer is next; its number and score are left in the state."""
    best, state.number, state.least = -1, 0, np.inf
    offer.clock, offer.free, offer.total = state.clock, state.free, state.servers
    offer.waiting, offer.running = state.waiting, state.running
    for i in range(min(window, state.waiting)):
        row = line[i]
        for servers in range(state.servers, 0, -1):
            offer.servers, offer.time, offer.wait = servers, predicted[row, servers - 1], waits[servers - 1]
            value = score(jobs[row], offer, params)
            if value < state.least:
                best, state.number, state.least = i, servers, value
    return best


@kernel
def simulate(state, jobs, predicted, times, costs, outcome, line, running, waits, offer, score, params, window):
    """Run the whole job table; end early where all wait and no offer is ever accepted.

    Args:
        state: `MOLDABLE_STATE` record: fresh but for `servers` and `free`.
        jobs: `JOB` rows `(n,)`, by arrival; the number of servers that each was given is written to `need`.
        predicted: times `(n, k)`, s, on 1, 2, ... k servers, as predicted.
        times: the true ones.
        costs: per s in system `(n,)`.
        outcome: `OUTCOME` rows `(n,)`, written.
        line: `(n,)`, scratch: rows that wait, by arrival.
        running: `HELD` rows `(k,)`, scratch.
        waits: `(k,)`, scratch.
        offer: `OFFER` record, scratch.
        score: compiled score function.
        params: its parameters.
        window: waiting jobs that it looks at, oldest first.
    """
    n = jobs.shape[0]
    while state.done < n and pass_time(state, n, jobs, times, costs, outcome, line, running):
        while state.free > 0 and state.waiting > 0:
            foresee(state, running, waits)
            place = best_offer(state, jobs, predicted, line, waits, offer, score, params, window)
            if place < 0 or state.number > state.free:
                break
            start(state, jobs, predicted, times, outcome, line, running, place, state.number)
