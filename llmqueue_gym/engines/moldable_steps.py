"""Steps of the environment of moldable jobs: an offer is taken or all are declined, and the agent sees the next ones.

What happens is in `moldable`. An epoch opens at an arrival or completion when a server is free and somebody waits. In
an epoch the agent starts jobs until nothing can start, or passes. What leaves no choice is done without it, except the
very first start. A scalar environment is a batch of one.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.moldable import foresee, pass_time, start
from llmqueue_gym.engines.state import SKIP, START


@inner_kernel
def may_pass(state, n):
    """Return whether something will happen if nothing is started."""
    return state.running > 0 or state.arrived < n


@inner_kernel
def advance(state, n, jobs, predicted, times, costs, outcome, line, running, action, slots, horizon):
    """Carry out an action that is open, or START, and go on to the next decision; see `step_batch`."""
    if action == START:
        pass_time(state, n, jobs, times, costs, outcome, line, running)
        return
    if action < slots * state.servers:
        place, servers = action // state.servers, action % state.servers + 1
        start(state, jobs, predicted, times, outcome, line, running, place, servers)
    else:
        pass_time(state, n, jobs, times, costs, outcome, line, running)
    while state.done < n:
        choices = min(slots, state.waiting) * state.free
        if choices > 1 or (choices == 1 and may_pass(state, n)):
            return
        if choices == 1:
            start(state, jobs, predicted, times, outcome, line, running, 0, 1)
        if state.clock >= horizon:
            return
        pass_time(state, n, jobs, times, costs, outcome, line, running)


@inner_kernel
def observe(
    state, n, jobs, predicted, line, running, waits, dt, over, slots, features, system, mask, offer_factors,
    system_factors,
):  # fmt: skip
    """Write the offers, a row each: of the first that wait, by order of arrival, on 1, 2, ... servers."""
    foresee(state, running, waits)
    seen, servers = min(slots, state.waiting), state.servers
    for k in range(seen):
        row = line[k]
        job = jobs[row]
        for j in range(servers):
            at = k * servers + j
            features[at, 0] = 1.0
            features[at, 1] = job.predicted
            features[at, 2] = state.clock - job.arrival
            features[at, 3] = job.weight
            features[at, 4] = job.klass
            features[at, 5] = j + 1
            features[at, 6] = predicted[row, j]
            features[at, 7] = waits[j]
            for column in range(features.shape[1]):
                features[at, column] *= offer_factors[column]
            mask[at] = 1 if over or j < state.free else 0
    for at in range(seen * servers, slots * servers):
        mask[at] = 1 if over else 0
        if features[at, 0] != 0.0:
            for column in range(features.shape[1]):
                features[at, column] = 0.0
    mask[slots * servers] = 1 if over or may_pass(state, n) else 0
    system[0] = state.waiting
    system[1] = state.waiting - seen
    system[2] = state.running
    system[3] = state.free
    system[4] = dt
    for column in range(system.shape[0]):
        system[column] *= system_factors[column]


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, truth, predicted, times, outcome, line, running, waits, actions, features, system,
    mask, offer_factors, system_factors, slots, horizon,
):  # fmt: skip
    """Take one decision in each of E runs and write what came of it.

    Args:
        states: `MOLDABLE_STATE` rows `(E,)`; fresh ones tell `servers` and `free`.
        steps: `STEP` rows `(E,)`, written.
        n_jobs: `(E,)`, length of each job table.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`; of a job, the second number is its cost per second in system.
        predicted: `(E, n, k)`, as in `moldable.simulate`.
        times: `(E, n, k)`, likewise.
        outcome: `OUTCOME` rows `(E, n)`, written.
        line: `(E, n)`, rows of those who wait.
        running: `HELD` rows `(E, k)`.
        waits: `(E, k)`, s, written: predicted times until 1, 2, ... k servers are free.
        actions: `(E,)`, START, SKIP, k times the slot of a job plus its number of servers less 1, or the last one to
            start nothing until something happens. An action that is not open stands for the first that is.
        features: `(E, slots * k, 8)`, written.
        system: `(E, 5)`, likewise.
        mask: `(E, slots * k + 1)`, likewise.
        offer_factors: `(8,)`, by which the columns of features are multiplied, float32.
        system_factors: `(5,)`, likewise of system.
        slots: visible waiting jobs.
        horizon: time at which to stop, s.
    """
    for e in range(states.shape[0]):
        action = actions[e]
        if action == SKIP:
            continue
        state, step, n = states[e], steps[e], n_jobs[e]
        step.illegal = action != START and mask[e, action] == 0
        if step.illegal:
            action = 0
            while mask[e, action] == 0:
                action += 1
        clock, integral = state.clock, state.integral
        advance(
            state, n, jobs[e], predicted[e], times[e], truth[e, :, 1], outcome[e], line[e], running[e], action, slots,
            horizon,
        )  # fmt: skip
        step.reward = integral - state.integral
        step.dt = 0.0 if action == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.waiting + state.running
        step.terminated = state.done == n
        step.truncated = state.clock >= horizon and not step.terminated and action != START
        over = step.terminated or step.truncated
        observe(
            state, n, jobs[e], predicted[e], line[e], running[e], waits[e], step.dt, over, slots, features[e],
            system[e], mask[e], offer_factors, system_factors,
        )  # fmt: skip
