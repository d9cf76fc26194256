"""Steps of the environment of speculation: the agent says how long the next draft of a request is.

What happens is in `speculating`. A scalar environment is a batch of one.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.speculating import READY, TOLD, proceed, show, tell
from llmqueue_gym.engines.state import SKIP, START


@inner_kernel
def answer(state, held, action, each, most):
    """Carry out an action: the draft of the one that is asked, or of all who are ready."""
    tell(state, held, action, most)
    if not each:
        for k in range(state.asked + 1, state.taken):
            if held[k].phase == READY:
                held[k].draft, held[k].phase = held[state.asked].draft, TOLD


@inner_kernel
def observe(state, jobs, held, told, seen, dt, features, system, mask, request_factors, system_factors):
    """Write the request whose draft is due, and the numbers of the batch; zeros where nobody is asked."""
    for column in range(features.shape[1]):
        features[0, column] = 0.0
    if state.asked >= 0:
        show(state, held, told, seen)
        job = jobs[held[state.asked].row]
        features[0, 0] = 1.0
        features[0, 1] = job.predicted
        features[0, 2] = job.age
        features[0, 3] = state.clock - job.arrival
        features[0, 4] = job.weight
        features[0, 5] = seen.told
        features[0, 6] = seen.tried
        features[0, 7] = seen.accepted
        for column in range(features.shape[1]):
            features[0, column] *= request_factors[column]
    system[0] = state.taken
    system[1] = state.arrived - state.begun
    system[2] = state.tried
    system[3] = state.accepted
    system[4] = dt
    for column in range(system.shape[0]):
        system[column] *= system_factors[column]
    for action in range(mask.shape[0]):
        mask[action] = 1


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, truth, told, outcome, held, luck, first, chances, shape, terms, numbers, batch, seen,
    actions, features, system, mask, request_factors, system_factors, each, horizon,
):  # fmt: skip
    """Take one decision in each of E runs and write what came of it.

    Args:
        states: `SPECULATING_STATE` rows `(E,)`.
        steps: `STEP` rows `(E,)`, written.
        n_jobs: `(E,)`, length of each job table.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, true output tokens and cost per second in system.
        told: `(E, n)`, as in `speculating.simulate`, and so are those below.
        outcome: `OUTCOME` rows `(E, n)`, written.
        held: `SEATED` rows `(E, seats)`.
        luck: `(E, m)`.
        first: `(E, n + 1)`.
        chances: `(E, n)`.
        shape: `(k,)`.
        terms: `TERMS` record.
        numbers: coefficients of the cost profile.
        batch: `BATCH` record, scratch.
        seen: `DRAFT` record, scratch.
        actions: `(E,)`, START, SKIP, or the tokens of the draft.
        features: `(E, 1, 8)`, written.
        system: `(E, 5)`, likewise.
        mask: `(E, most + 1)`, likewise.
        request_factors: `(8,)`, by which the columns of features are multiplied, float32.
        system_factors: `(5,)`, likewise of system.
        each: whether each request has a draft of its own; otherwise all who are ready get the same.
        horizon: time at which to stop, s.
    """
    for e in range(states.shape[0]):
        action = actions[e]
        if action == SKIP:
            continue
        state, step, n = states[e], steps[e], n_jobs[e]
        step.illegal = False
        clock, integral = state.clock, state.integral
        if action != START and state.asked >= 0:
            answer(state, held[e], action, each, terms.most)
        proceed(
            state, n, jobs[e], truth[e, :, 0], truth[e, :, 1], outcome[e], held[e], luck[e], first[e], chances[e],
            shape, terms, numbers, batch, horizon,
        )  # fmt: skip
        step.reward = integral - state.integral
        step.dt = 0.0 if action == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.taken + state.arrived - state.begun
        step.terminated = state.done == n
        step.truncated = state.clock >= horizon and not step.terminated and action != START
        observe(
            state, jobs[e], held[e], told[e], seen, step.dt, features[e], system[e], mask[e], request_factors,
            system_factors,
        )  # fmt: skip
