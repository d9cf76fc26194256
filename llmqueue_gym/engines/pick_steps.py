"""Steps of the environments of one queue for all servers: an action is carried out, and the agent sees what came of it.

The dynamics are in `picks`; a scalar environment is a batch of one.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.picks import advance
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.jobs import RUNNING


@inner_kernel
def write_job(job, clock, features, factors, e, slot):
    """Write what may be seen of a job; the columns are those of `systems.picks.PickView`."""
    features[e, slot, 0] = 1.0
    features[e, slot, 1] = job.predicted
    features[e, slot, 2] = job.age
    features[e, slot, 3] = clock - job.arrival
    features[e, slot, 4] = job.weight
    features[e, slot, 5] = 1.0 if job.status == RUNNING else 0.0
    features[e, slot, 6] = job.need
    features[e, slot, 7] = max(job.deadline - clock, 0.0) if job.deadline < np.inf else 0.0
    for column in range(features.shape[2]):
        features[e, slot, column] *= factors[column]


@inner_kernel
def observe(
    e, n, state, jobs, live, service, dt, slots, may_pass, may_drop, over, features, system, mask, job_factors,
    system_factors,
):  # fmt: skip
    """Write what an agent sees of run e: those who wait, the earliest first, and then those in service."""
    for slot in range(features.shape[1]):
        for column in range(features.shape[2]):
            features[e, slot, column] = 0.0
    for k in range(mask.shape[1]):
        mask[e, k] = 1 if over else 0
    seen = min(slots, state.waiting)
    for k in range(seen):
        job = jobs[e, live[e, k]]
        write_job(job, state.clock, features, job_factors, e, k)
        if not over:
            mask[e, k] = 1 if job.need <= state.free else 0
            if may_drop:
                mask[e, slots + k] = 1
    for k in range(min(state.active, features.shape[1] - slots)):
        write_job(jobs[e, service[e, k].row], state.clock, features, job_factors, e, slots + k)
    if may_pass and (state.active > 0 or state.arrived < n):
        mask[e, mask.shape[1] - 1] = 1
    system[e, 0] = state.waiting
    system[e, 1] = state.waiting - seen
    system[e, 2] = state.active
    system[e, 3] = state.free
    system[e, 4] = dt
    for column in range(system.shape[1]):
        system[e, column] *= system_factors[column]


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, truth, patience, outcome, live, service, speeds, taken, actions, features, system,
    mask, job_factors, system_factors, slots, preemptive, may_pass, may_drop, firm, per_job, horizon,
):  # fmt: skip
    """Take one decision in each of E runs and write what came of it.

    Args:
        states: `PICKS` rows `(E,)`.
        steps: `STEP` rows `(E,)`, written.
        n_jobs: `(E,)`, length of each job table.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, true size (s) and cost per second in system of each job.
        patience: `(E, n)`, s that a job waits at most before it first runs.
        outcome: `OUTCOME` rows `(E, n)`, written.
        live: `(E, n)`, rows of those who wait.
        service: `PICKED` rows `(E, k)`.
        speeds: of the servers `(k,)`, the fastest first.
        taken: `(E, k)`, 1 + the row of the job that occupies each server, or 0.
        actions: `(E,)`, START, SKIP, or: the slot of a waiting job to start; where it may drop, `slots` more to let one
            go; where it may pass, the last. An action that is not open stands for the first that is.
        features: `(E, slots + k, 8)`, written.
        system: `(E, 5)`, likewise.
        mask: `(E, n_actions)`, likewise.
        job_factors: `(8,)`, by which the columns of features are multiplied, float32.
        system_factors: `(5,)`, likewise of system.
        slots: visible waiting jobs.
        preemptive: whether all jobs are up for choice at arrivals and completions.
        may_pass: whether servers may be left idle though somebody fits.
        may_drop: whether waiting jobs may be sent away.
        firm: whether a job leaves at its deadline wherever it is, instead of when its patience ends.
        per_job: reward of a job served; 0 for minus the integral of the cost rate.
        horizon: time at which to stop, s.
    """
    for e in range(states.shape[0]):
        action = actions[e]
        if action == SKIP:
            continue
        state, step, n = states[e], steps[e], n_jobs[e]
        step.illegal = False
        if action != START and mask[e, action] == 0:
            step.illegal = True
            action = 0
            while mask[e, action] == 0:
                action += 1
        clock, integral, served = state.clock, state.integral, state.served
        advance(
            e, n, state, jobs, truth, patience, outcome, live, service, speeds, taken, action, slots, preemptive,
            may_pass, may_drop, firm, horizon,
        )  # fmt: skip
        step.reward = integral - state.integral if per_job == 0 else per_job * (state.served - served)
        step.dt = 0.0 if action == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.waiting + state.active
        step.terminated = state.served + state.lost == n
        step.truncated = state.clock >= horizon and not step.terminated and action != START
        over = step.terminated or step.truncated
        observe(
            e, n, state, jobs, live, service, step.dt, slots, may_pass, may_drop, over, features, system, mask,
            job_factors, system_factors,
        )  # fmt: skip
