"""Steps of the environment of a queue for each server: an arrival is sent, and the agent sees where the next can go.

What happens in a queue is in `dispatch`. There a queue is brought up to date when somebody looks at it; here the number
in system and the cost are those of now, so completions are taken in order of time, from a tournament of the servers'
next ones. A scalar environment is a batch of one.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.dispatch import SITE, finish, join, look, one_of
from llmqueue_gym.engines.state import SKIP, START

SENT = np.dtype(
    [
        ("clock", "f8"),  # s
        ("cost_rate", "f8"),  # sum of the costs of the jobs in system, per s
        ("arrived", "i8"),  # rows of the job table that have arrived; the last of them is to be sent
        ("served", "i8"),
    ],
    align=True,
)


def idle_sites(speeds: np.ndarray) -> np.ndarray:
    """Return `SITE` rows `(k,)` of idle servers of these speeds `(k,)`."""
    sites = np.zeros(len(speeds), SITE)
    sites["speed"], sites["row"], sites["head"], sites["tail"] = speeds, -1, -1, -1
    return sites


@inner_kernel
def affine(job, order):
    """Return the rank of a job: `order[0]` for each s predicted, less `order[1]` for each s received."""
    return order[0] * job.predicted - order[1] * job.age


@inner_kernel
def note(times, s, until):
    """Enter the time of server s in a tournament.

    Args:
        times: `(2 k,)`, s; the last k are those of the servers, and entry j is the lesser of entries 2 j and 2 j + 1.
        s: the server.
        until: s.
    """
    place = s + times.shape[0] // 2
    times[place] = until
    while place > 1:
        place //= 2
        least = min(times[2 * place], times[2 * place + 1])
        if times[place] == least:
            return
        times[place] = least


@inner_kernel
def soonest(times):
    """Return the server of least time."""
    k, place = times.shape[0] // 2, 1
    while place < k:
        place = 2 * place if times[2 * place] == times[place] else 2 * place + 1
    return place - k


@inner_kernel
def serve(state, stop, jobs, truth, outcome, links, sites, times, split, shape, lcfs_up_to):
    """Let happen all that is due by `stop`, in order of time, and return what it cost."""
    cost = 0.0
    while times[1] <= stop and times[1] < np.inf:
        s = soonest(times)
        site = sites[s]
        i = site.row
        cost += state.cost_rate * (site.until - state.clock)
        state.clock = site.until
        finish(site, jobs, truth[:, 0], outcome, links, split, shape, lcfs_up_to, 0.0, 0.0)
        note(times, s, site.until if site.row >= 0 else np.inf)
        state.served += 1
        state.cost_rate -= truth[i, 1]
        if state.served == state.arrived:
            state.cost_rate = 0.0  # no rounding error survives an idle period
    if stop < np.inf:
        cost += state.cost_rate * (stop - state.clock)
        state.clock = stop
    return cost


@inner_kernel
def send(state, s, jobs, truth, outcome, links, sites, times, order, split, preemptive, shape, lcfs_up_to):
    """Let the job that arrived last join the queue of server s."""
    i, site = state.arrived - 1, sites[s]
    jobs[i].site = s
    join(
        site, i, state.clock, jobs, truth[:, 0], outcome, links, split, affine, order, preemptive, shape, lcfs_up_to,
        0.0, 0.0,
    )  # fmt: skip
    note(times, s, site.until)


@inner_kernel
def observe(state, over, dt, tie, jobs, sites, seen, queues, split, features, system, queue_factors, system_factors):
    """Write what is seen of the queues and of the job to be sent; the columns are `systems.dispatch.DispatchView`'s."""
    job, beyond = jobs[state.arrived - 1], state.arrived - state.served - (0 if over else 1)
    for c in range(queues.shape[0]):
        queue, s = queues[c], seen[c] if seen.shape[0] > 0 else c
        look(queue, sites[s], s, job, state.clock, jobs, split)
        beyond -= queue.jobs
        features[c, 0] = 1.0
        features[c, 1] = queue.jobs
        features[c, 2] = max(queue.work, 0.0)  # sums and differences of floats may end a little below
        features[c, 3] = max(queue.left, 0.0)
        features[c, 4] = queue.alike
        features[c, 5] = queue.speed
        features[c, 6] = queue.index
        for column in range(features.shape[1]):
            features[c, column] *= queue_factors[column]
    system[0] = 0.0 if over else job.predicted
    system[1] = 0.0 if over else job.weight
    system[2] = state.arrived - state.served
    system[3] = beyond
    system[4] = dt
    system[5] = 0.0 if over else tie
    for column in range(system.shape[0]):
        system[column] *= system_factors[column]


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, truth, outcome, links, sites, times, choices, ties, queues, actions, features,
    system, queue_factors, system_factors, order, split, preemptive, shape, lcfs_up_to, horizon,
):  # fmt: skip
    """Send one job in each of E runs, go to the next arrival and write what came of it.

    After the last job has been sent all queues are drained. The horizon is looked at when a job arrives.

    Args:
        states: `SENT` rows `(E,)`.
        steps: `STEP` rows `(E,)`, written; `illegal` is never so.
        n_jobs: `(E,)`, length of each job table.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, true size (s) and cost per second in system of each job.
        outcome: `OUTCOME` rows `(E, n)`, written.
        links: `(E, n)`, scratch, as in `dispatch.simulate`.
        sites: `SITE` rows `(E, k)`.
        times: `(E, 2 k)`, s, the tournament of next completions; inf in idle servers.
        choices: `(E, n, d)`, the servers that each job sees; where d = 0 it sees all.
        ties: `(E, n)`, numbers in [0, 1) by which an agent may choose among equal queues.
        queues: `QUEUE` rows `(E, d)` or `(E, k)`, written.
        actions: `(E,)`, START, SKIP, or which of the visible queues the job joins.
        features: `(E, d, 7)` or `(E, k, 7)`, written.
        system: `(E, 6)`, likewise.
        queue_factors: `(7,)`, by which the columns of features are multiplied, float32.
        system_factors: `(6,)`, likewise of system.
        order: parameters of `affine` `(2,)`, the rank inside a queue.
        split: s, see `QUEUE`.
        preemptive: as in `dispatch.simulate`.
        shape: CONSTANT or FALLING.
        lcfs_up_to: as in `single_server.simulate`.
        horizon: time from which no more is decided, s.
    """
    for e in range(states.shape[0]):
        action = actions[e]
        if action == SKIP:
            continue
        state, step, n = states[e], steps[e], n_jobs[e]
        clock, cost, i = state.clock, 0.0, state.arrived
        if action != START:
            s = choices[e, i - 1, action] if choices.shape[2] > 0 else action
            send(
                state, s, jobs[e], truth[e], outcome[e], links[e], sites[e], times[e], order, split, preemptive, shape,
                lcfs_up_to,
            )  # fmt: skip
            stop = jobs[e, i].arrival if i < n else np.inf
            cost = serve(
                state, stop, jobs[e], truth[e], outcome[e], links[e], sites[e], times[e], split, shape, lcfs_up_to
            )
        if i < n:
            state.clock = jobs[e, i].arrival
            state.cost_rate += truth[e, i, 1]
            state.arrived += 1
        step.reward = 0.0 - cost
        step.dt = 0.0 if action == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.arrived - state.served
        step.terminated = state.served == n
        step.truncated = state.clock >= horizon and not step.terminated and action != START
        last = state.arrived - 1
        observe(
            state, step.terminated, step.dt, ties[e, last], jobs[e], sites[e], choices[e, last], queues[e], split,
            features[e], system[e], queue_factors, system_factors,
        )  # fmt: skip


@lean_kernel
def least_score(jobs, queues, ties, score, numbers, scores, actions):
    """Choose the queue of least score in each of E decisions, as `dispatch.simulate` does.

    Args:
        jobs: `JOB` rows `(E,)`, the jobs to be sent.
        queues: `QUEUE` rows `(E, d)`.
        ties: numbers in [0, 1] `(E,)`, which choose among equals; 0 takes the first.
        score: compiled score of a dispatch policy.
        numbers: its parameters.
        scores: `(d,)`, scratch.
        actions: `(E,)`, written.
    """
    for e in range(jobs.shape[0]):
        least = np.inf
        for c in range(queues.shape[1]):
            scores[c] = score(jobs[e], queues[e, c], numbers)
            if scores[c] < least:
                least = scores[c]
        actions[e] = one_of(scores, least, ties[e])
