"""Steps of the environment of one server on which predictions cost: what is predicted, and who is served.

The dynamics are in `predicting`. A decision is of one of two kinds: what comes next for a job that has arrived, has
been predicted or has reached the age `pause`, unless nothing is left to be predicted of it; and who is served, whenever
something has happened and more than one can be. A scalar environment is a batch of one.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.heap import pop
from llmqueue_gym.engines.predicting import (
    end_stage,
    is_away,
    is_open,
    learn,
    next_event,
    send,
    serve,
    settle,
)
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.jobs import CHEAP, PROFILE, SERVE, SIZE_KNOWN, WAITING


@inner_kernel
def pass_time(state, until):
    """Go on to a time; all in system cause their cost meanwhile."""
    state.integral += state.cost_rate * (until - state.clock)
    state.clock = until


@inner_kernel
def insert(e, state, live, row):
    """Put a job among those who can be served, by order of arrival."""
    k = state.here
    while k > 0 and live[e, k - 1] > row:
        live[e, k] = live[e, k - 1]
        k -= 1
    live[e, k] = row
    state.here += 1


@inner_kernel
def strike(e, state, live, row):
    """Take a job out of the list of those who can be served."""
    k = 0
    while live[e, k] != row:
        k += 1
    state.here -= 1
    for j in range(k, state.here):
        live[e, j] = live[e, j + 1]


@inner_kernel
def let_happen(e, state, jobs, stages, hidden, truth, live, pending, soonest):
    """Let a job come that is due, from outside or with its prediction; it is then asked what comes next for it."""
    if state.away > 0 and pending[e, 0].rank == soonest:
        i = pop(pending[e], state.away)
        state.away -= 1
        state.predicting -= 1
        learn(jobs[e, i], stages[e, i], stages[e, i].kind, hidden[e, i])
    else:
        i = state.arrived
        state.arrived += 1
        state.in_system += 1
        state.cost_rate += truth[e, i, 1]
    jobs[e, i].status, state.asked = WAITING, i
    insert(e, state, live, i)


@inner_kernel
def answer(e, state, jobs, stages, hidden, live, pending, free_at, terms, kind):
    """Begin the stage that the agent has chosen for the job that was asked about."""
    i = state.asked
    if settle(state, jobs[e, i], stages[e, i], kind, terms, hidden[e, i]):
        return
    state.asked = -1
    if is_away(stages[e, i], terms):
        strike(e, state, live, i)
        send(state, i, stages[e, i], terms, pending[e], free_at[e])


@inner_kernel
def advance(
    e, n, state, jobs, stages, hidden, truth, outcome, live, pending, free_at, terms, action, slots, horizon
):  # fmt: skip
    """Carry out an action and go on to the next decision of run e; the arguments are those of `step_batch`."""
    chosen = -1
    if action == START:
        state.clock = jobs[e, 0].arrival
    elif state.asked >= 0:
        answer(e, state, jobs, stages, hidden, live, pending, free_at, terms, action - slots)
    else:
        chosen = action
    while True:
        if chosen < 0:
            soonest = next_event(state, n, jobs[e], pending[e])
            if state.asked < 0 and soonest <= state.clock:
                let_happen(e, state, jobs, stages, hidden, truth, live, pending, soonest)
            if state.asked >= 0:
                for kind in range(CHEAP, PROFILE + 1):
                    if is_open(kind, stages[e, state.asked], terms):
                        return
                answer(e, state, jobs, stages, hidden, live, pending, free_at, terms, SERVE)
                continue
            if state.here > 1 or state.done == n:
                return
            if state.here == 0:
                pass_time(state, soonest)
                if soonest >= horizon:
                    return
                continue
            chosen = 0
        i = live[e, chosen]
        last = state.running
        if last >= 0 and last != i:
            jobs[e, last].status = WAITING
            outcome[e, last].preemptions += 1
        state.running = i
        stop = next_event(state, n, jobs[e], pending[e])
        ended, clock = serve(state.clock, stop, jobs[e, i], stages[e, i], truth[e, i, 0], outcome[e, i], terms)
        pass_time(state, clock)
        if ended:
            state.running = -1
            if end_stage(state, jobs[e, i], stages[e, i], truth[e, i, 0], outcome[e, i], hidden[e, i]):
                strike(e, state, live, i)
                state.cost_rate = 0.0 if state.in_system == 0 else state.cost_rate - truth[e, i, 1]
            else:
                state.asked = i
        chosen = -1
        if state.clock >= horizon:
            return


@inner_kernel
def observe(e, state, jobs, stages, live, dt, terms, slots, features, system, mask):
    """Write what an agent sees of run e; the columns are those of `PredictView` in `systems.predict_view`."""
    seen = min(slots, state.here)
    for k in range(seen):
        i = live[e, k]
        job, stage = jobs[e, i], stages[e, i]
        features[e, k, 0] = 1.0
        features[e, k, 1] = job.predicted
        features[e, k, 2] = job.age
        features[e, k, 3] = state.clock - job.arrival
        features[e, k, 4] = job.weight
        features[e, k, 5] = 1.0 if i == state.running else 0.0
        features[e, k, 6] = stage.kind
        features[e, k, 7] = stage.done
        features[e, k, 8] = job.klass + 1
        features[e, k, 9] = 1.0 if stage.known & SIZE_KNOWN else 0.0
        features[e, k, 10] = stage.coin
        mask[e, k] = 1 if state.asked < 0 else 0
    for k in range(seen, slots):
        mask[e, k] = 0
        if features[e, k, 0] != 0.0:
            for column in range(features.shape[2]):
                features[e, k, column] = 0.0
    system[e, 0] = state.in_system
    system[e, 1] = state.in_system - seen
    system[e, 2] = state.predicting
    system[e, 3] = dt
    for column in range(4, system.shape[1]):
        system[e, column] = 0.0
    for k in range(slots, mask.shape[1]):
        mask[e, k] = 0
    if state.asked >= 0:
        job, stage = jobs[e, state.asked], stages[e, state.asked]
        system[e, 4] = 1.0
        system[e, 5] = job.predicted
        system[e, 6] = job.age
        system[e, 7] = state.clock - job.arrival
        system[e, 8] = job.weight
        system[e, 9] = job.klass + 1
        system[e, 10] = 1.0 if stage.known & SIZE_KNOWN else 0.0
        system[e, 11] = stage.coin
        for kind in range(mask.shape[1] - slots):
            mask[e, slots + kind] = 1 if is_open(kind, stage, terms) else 0


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, stages, hidden, truth, outcome, live, pending, free_at, terms, actions, features,
    system, mask, horizon,
):  # fmt: skip
    """Take one decision in each of E runs and write what came of it.

    Args:
        states: `PREDICTING_STATE` rows `(E,)`.
        steps: `STEP` rows `(E,)`, written.
        n_jobs: `(E,)`, length of each job table.
        jobs: `JOB` rows `(E, n)`, to which predictions are written when they are bought.
        stages: `STAGE` rows `(E, n)`.
        hidden: `(E, n, 2)`, the size predicted, s, and the class by the cheap prediction.
        truth: `(E, n, 2)`, true size (s) and cost per second in system of each job.
        outcome: `OUTCOME` rows `(E, n)`, written.
        live: `(E, n)`, rows of those who can be served, by arrival.
        pending: `HEAP` rows `(E, n)`, those who are being predicted by servers of predictions alone.
        free_at: `(E, k)`, s, when each of these is free.
        terms: `TERMS` record.
        actions: `(E,)`, START, SKIP, or: the slot of the job to serve; behind all slots, what comes next for the job
            that is asked about, by the codes of stages. An action that is not open stands for the first that is.
        features: `(E, slots, 11)`, written.
        system: `(E, 12)`, likewise.
        mask: `(E, slots + kinds)`, likewise.
        horizon: time at which to stop, s.
    """
    slots = features.shape[1]
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
        clock, paid = state.clock, state.integral + state.price
        advance(
            e, n, state, jobs, stages, hidden, truth, outcome, live, pending, free_at, terms, action, slots, horizon
        )  # fmt: skip
        step.reward = paid - (state.integral + state.price)
        step.dt = 0.0 if action == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.in_system
        step.terminated = state.done == n
        step.truncated = state.clock >= horizon and not step.terminated and action != START
        observe(e, state, jobs, stages, live, step.dt, terms, slots, features, system, mask)
