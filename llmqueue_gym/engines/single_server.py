"""One server, jobs that resume where they stopped, one job in service at a time.

`serve` is the whole dynamics: a chosen job runs until the next epoch. `simulate` closes the loop with a rank function
and a heap; `advance` opens it for an environment whose agent chooses. Both run the same lines, so they agree.
`step_batch` advances many runs at once and writes what their agents see; a scalar environment is a batch of one.

Here a job in service can only be overtaken by an arrival: right for every policy without preemption and for ranks
that are constant or falling in age. Ranks that rise are the business of `sharing_server`.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel, lean_kernel, prefetch
from llmqueue_gym.engines.heap import tie_key
from llmqueue_gym.engines.line import add, take
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

AHEAD = 16  # jobs, about half a microsecond


@inner_kernel
def serve(clock, stop, job, size, happened):
    """Run a job from `clock` until it is done or, if that comes first, until `stop`.

    At equal times the completion comes first. The clock is passed by value, so that the closed loop keeps it in a
    register.

    Args:
        clock: s.
        stop: s; inf where nothing may interrupt.
        job: its row of `JOB`.
        size: its true size, s.
        happened: its row of `OUTCOME`.

    Returns:
        whether it is done, and the time.
    """
    if job.age == 0.0 and np.isnan(happened.start):
        happened.start = clock
    job.status = RUNNING
    until = clock + (size - job.age)
    if stop < until:
        job.age += stop - clock
        return False, stop
    job.age = size
    job.status = DONE
    happened.completion = until
    return True, until


@inner_kernel
def arrival_at(jobs, i):
    """Return when job i arrives, inf behind the last. Rows to come are asked for before the loop gets to them."""
    prefetch(jobs, i + AHEAD, 0)
    return jobs[np.uint64(i)].arrival if i < jobs.shape[0] else np.inf


@inner_kernel
def rank_new(job, rank, params):
    """Let a job wait and return its first rank."""
    job.status = WAITING
    job.rank = rank(job, params)
    return job.rank


@kernel
def simulate(state, jobs, sizes, outcome, heap, rank, params, preemptive, falling, lcfs_up_to):
    """Run the whole job table under a rank function.

    It does what `serve` and the queue say, in the form that is fastest: an event is an arrival or a completion, the job
    in service is known by its columns, rows are unsigned so that no negative ones are looked for, and whether a job
    ran before is not branched upon.

    Args:
        state: `QUEUE_STATE` record, fresh.
        jobs: `JOB` rows `(n,)`.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        heap: `HEAP` rows `(n,)`, scratch: the waiting jobs.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        preemptive: whether an arrival may take the server.
        falling: whether the rank of the running job moves with its age, so that it must be ranked again.
        lcfs_up_to: equal ranks up to this number are served last come first served.
    """
    n, near, far = jobs.shape[0], 0, 0
    clock, arrived, done = state.clock, state.arrived, state.done
    coming = arrival_at(jobs, arrived)
    while done < n:
        if near + far == 0:  # idle until the next arrival, unless one came during the last service
            clock = max(clock, coming)
        while coming <= clock:
            key = rank_new(jobs[np.uint64(arrived)], rank, params)
            near, far = add(heap, near, far, key, tie_key(arrived, key, lcfs_up_to))
            arrived += 1
            coming = arrival_at(jobs, arrived)
        i, near, far = take(heap, near, far)
        job, happened, size = jobs[np.uint64(i)], outcome[np.uint64(i)], sizes[np.uint64(i)]
        own, age = job.rank, job.age
        stop = coming if preemptive else np.inf
        while True:
            happened.start = clock if np.isnan(happened.start) else happened.start
            job.status = RUNNING
            until = clock + (size - age)
            if not stop < until:
                break
            job.age = age = age + (stop - clock)
            clock = stop
            while coming <= clock:
                out, new = arrived, jobs[np.uint64(arrived)]
                key = rank_new(new, rank, params)
                # A rank that falls is at most what it was, so it need be known anew only where the new job comes near.
                if key <= own:
                    if falling:
                        own = job.rank = rank(job, params)
                    if key < own or (key == own and key <= lcfs_up_to):
                        if job.status == RUNNING:  # not one that came at this very time and never ran
                            job.status = WAITING
                            happened.preemptions += 1
                        out, i, key, own = i, arrived, own, key
                        job, happened, size = new, outcome[np.uint64(i)], sizes[np.uint64(i)]
                        age = job.age
                near, far = add(heap, near, far, key, tie_key(out, key, lcfs_up_to))
                arrived += 1
                coming = stop = arrival_at(jobs, arrived)
        clock = happened.completion = until
        job.age, job.status = size, DONE
        done += 1
    state.clock, state.arrived, state.done = clock, arrived, done


@inner_kernel
def admit(e, n, state, jobs, truth, live, since):
    """Let in everything that has arrived by now; the live list keeps the order of arrival.

    Arrivals count from their own time on, so the cost is integrated from one to the next. Returns the time of the last.
    """
    while state.arrived < n and jobs[e, state.arrived].arrival <= state.clock:
        i = state.arrived
        state.integral += state.cost_rate * (jobs[e, i].arrival - since)
        since = jobs[e, i].arrival
        jobs[e, i].status = WAITING
        live[e, state.in_system] = i
        state.in_system += 1
        state.arrived += 1
        state.cost_rate += truth[e, i, 1]
    return since


@inner_kernel
def advance(e, n, state, jobs, truth, outcome, live, slot, preemptive, quantum, horizon):
    """Serve the job at `slot` of the live list of run `e`, then go on to the next epoch that leaves a choice.

    Epochs with one job in system are passed through, because there is nothing to decide. The tables of all runs are
    passed whole, because a view of one row costs as much as a step.

    Args:
        e: row of the run.
        n: length of its job table.
        state: its `QUEUE_STATE` record.
        jobs: as in `step_batch`.
        truth: as in `step_batch`.
        outcome: as in `step_batch`.
        live: as in `step_batch`; by arrival, of which the first `state.in_system` count.
        slot: the agent's choice; START to stand at the first arrival.
        preemptive: whether arrivals are epochs while a job is in service.
        quantum: longest service between epochs, s.
        horizon: time at which to stop, s.
    """
    if slot == START:
        state.clock = jobs[e, 0].arrival
        admit(e, n, state, jobs, truth, live, state.clock)
        return
    while True:
        i = live[e, slot]
        last = state.running
        if last >= 0 and last != i and jobs[e, last].status == RUNNING:
            jobs[e, last].status = WAITING
            outcome[e, last].preemptions += 1
        state.running = i
        since = state.clock
        # A job alone runs on through its quanta: nothing is to be chosen, and a tiny quantum must not hang the loop.
        stop = state.clock + quantum if state.in_system > 1 else np.inf
        if preemptive and state.arrived < n:
            stop = min(stop, jobs[e, state.arrived].arrival)
        finished, state.clock = serve(state.clock, stop, jobs[e, i], truth[e, i, 0], outcome[e, i])
        since = admit(e, n, state, jobs, truth, live, since)
        state.integral += state.cost_rate * (state.clock - since)
        if finished:
            state.done += 1
            state.running = -1
            state.cost_rate -= truth[e, i, 1]
            state.in_system -= 1
            for k in range(slot, state.in_system):
                live[e, k] = live[e, k + 1]
            if state.in_system == 0:
                state.cost_rate = 0.0  # no rounding error survives an idle period
                if state.arrived == n:
                    return
                state.clock = jobs[e, state.arrived].arrival
                admit(e, n, state, jobs, truth, live, state.clock)
        if state.in_system > 1 or state.clock >= horizon:
            return
        slot = 0


@inner_kernel
def observe(e, state, jobs, live, dt, features, system, mask):
    """Write what an agent may see of run `e`; the columns are those of `FEATURES` and `SYSTEM` in `envs.observation`.

    Args:
        e: row of the observation.
        state: as in `advance`.
        jobs: as in `advance`.
        live: as in `advance`.
        dt: time since the last decision, s.
        features: `(E, slots, 6)`, the first jobs in system by arrival; zero where a slot is empty.
        system: `(E, 3)`.
        mask: `(E, slots)`, 1 where a slot holds a job.
    """
    slots = mask.shape[1]
    seen = min(slots, state.in_system)
    for k in range(seen):
        i = live[e, k]
        job = jobs[e, i]
        features[e, k, 0] = 1.0
        features[e, k, 1] = job.predicted
        features[e, k, 2] = job.age
        features[e, k, 3] = state.clock - job.arrival  # before rounding to float32, which would lose it late in a run
        features[e, k, 4] = job.weight
        features[e, k, 5] = 1.0 if i == state.running else 0.0
        mask[e, k] = 1
    for k in range(seen, slots):
        if mask[e, k] == 0:  # the rest has been empty since the last decision
            break
        mask[e, k] = 0
        for column in range(features.shape[2]):
            features[e, k, column] = 0.0
    system[e, 0] = state.in_system
    system[e, 1] = state.in_system - seen
    system[e, 2] = dt


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, truth, outcome, live, actions, features, system, mask, preemptive, quantum, horizon
):
    """Take one decision in each of E runs and write what came of it.

    Args:
        states: `QUEUE_STATE` rows `(E,)`.
        steps: `STEP` rows `(E,)`, written.
        n_jobs: `(E,)`, length of each job table; the arrays below have room for n.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, true size (s) and cost per second in system of each job, side by side in memory.
        outcome: `OUTCOME` rows `(E, n)`, written.
        live: `(E, n)`, rows of the jobs in system.
        actions: `(E,)`, a slot of the live list, `START` or `SKIP`. An empty slot stands for the first.
        features: `(E, slots, 6)`, written by `observe`.
        system: `(E, 3)`, likewise.
        mask: `(E, slots)`, likewise.
        preemptive: as in `advance`.
        quantum: as in `advance`.
        horizon: as in `advance`.
    """
    for e in range(states.shape[0]):
        slot = actions[e]
        if slot == SKIP:
            continue
        state, step, n = states[e], steps[e], n_jobs[e]
        step.illegal = slot >= min(state.in_system, mask.shape[1])
        if step.illegal:
            slot = 0
        clock, integral = state.clock, state.integral
        advance(e, n, state, jobs, truth, outcome, live, slot, preemptive, quantum, horizon)
        step.reward = integral - state.integral
        step.dt = 0.0 if slot == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.in_system
        step.terminated = state.done == n
        step.truncated = state.clock >= horizon and state.done < n and slot != START
        observe(e, state, jobs, live, step.dt, features, system, mask)
