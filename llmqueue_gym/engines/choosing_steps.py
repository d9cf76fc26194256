"""Steps of the environment of models to choose from: the agent says which model a call goes to, or that it has enough.

What happens is in `choosing`. An action is a model, or one more than there are models: enough. A scalar environment is
a batch of one.
"""

from llmqueue_gym._jit import inner_kernel, kernel, lean_kernel
from llmqueue_gym.engines.choosing import NOT, ask, least, leave, proceed, show
from llmqueue_gym.engines.state import SKIP, START


@inner_kernel
def is_open(state, action, copies, called):
    """Whether an action can be taken: a model that has not been asked; or enough, once one has been."""
    i = state.asked
    return called[i].asked > 0 if action == copies.shape[1] else copies[i, action].status == NOT


@inner_kernel
def answer(
    state, jobs, sizes, costs, action, told, lots, copies, called, outcome, stations, seats, serving, tally, terms,
    at_once,
):  # fmt: skip
    """Carry out an action that is open; more is asked at the same time while a call that has come may go to more."""
    i = state.asked
    comes, more = called[i].best < 0, False
    if action < copies.shape[1]:
        ask(state, jobs, action, told, lots, copies, called, outcome, stations, seats, serving, terms)
        more = comes and called[i].asked < min(at_once, copies.shape[1])
    elif not comes:
        leave(state, jobs, i, sizes, costs, lots, called, outcome, tally, terms)
    if comes:
        called[i].together = called[i].asked
    if not more:
        state.asked = -1


@inner_kernel
def observe(
    state, jobs, told, lots, copies, called, stations, seats, serving, tally, terms, call, models, dt, features,
    system, mask, model_factors, call_factors,
):  # fmt: skip
    """Write the call that is asked about, and each model; zeros where none is, and all actions are open then."""
    i = state.asked
    if i < 0:
        for m in range(features.shape[0]):
            for column in range(features.shape[1]):
                features[m, column] = 0.0
        for column in range(system.shape[0]):
            system[column] = 0.0
        for action in range(mask.shape[0]):
            mask[action] = 1
        system[system.shape[0] - 1] = dt * call_factors[system.shape[0] - 1]
        return
    show(state, jobs, told, lots, copies, called, stations, seats, serving, tally, terms, call, models)
    for m in range(features.shape[0]):
        row = models[m]
        features[m, 0] = row.quality
        features[m, 1] = row.tokens
        features[m, 2] = row.price
        features[m, 3] = row.wait
        features[m, 4] = row.service
        features[m, 5] = row.asked
        features[m, 6] = row.trials
        features[m, 7] = row.reward
        features[m, 8] = stations[m].taken / serving[m].seats
        features[m, 9] = stations[m].waiting
        for column in range(features.shape[1]):
            features[m, column] *= model_factors[column]
    system[0] = 1.0 if called[i].best >= 0 else 0.0
    system[1] = call.verified
    system[2] = call.asked
    system[3] = call.prompt
    system[4] = call.win
    system[5] = call.klass
    system[6] = call.luck
    system[7] = state.clock - jobs[i].arrival
    system[8] = jobs[i].weight
    system[9] = call.load
    system[10] = call.spent
    system[11] = call.calls
    system[12] = dt
    for column in range(system.shape[0]):
        system[column] *= call_factors[column]
    for action in range(mask.shape[0]):
        mask[action] = is_open(state, action, copies, called)


@lean_kernel
def step_batch(
    states, steps, n_jobs, jobs, truth, told, lots, copies, called, outcome, stations, seats, serving, tally, terms,
    call, models, actions, features, system, mask, model_factors, call_factors, at_once, horizon,
):  # fmt: skip
    """Take one decision in each of E runs and write what came of it.

    Args:
        states: `CHOOSING_STATE` rows `(E,)`.
        steps: `STEP` rows `(E,)`, written.
        n_jobs: `(E,)`, length of each job table.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, size and cost per second in system.
        told: `TOLD` rows `(E, n)`; this and what follows is as in `choosing.simulate`.
        lots: `(E, n, m)`.
        copies: `(E, n, m)`.
        called: `(E, n)`.
        outcome: `(E, n)`.
        stations: `(E, m)`.
        seats: `(E, seats)`.
        serving: `(m,)`.
        tally: `(E, kinds, m)`.
        terms: `TERMS` record.
        call: `CALL` record, scratch.
        models: `MODEL` rows `(m,)`, scratch.
        actions: `(E,)`, START, SKIP, a model, or m for enough.
        features: `(E, m, 10)`, written.
        system: `(E, 13)`, likewise.
        mask: `(E, m + 1)`, likewise.
        model_factors: `(10,)`, by which the columns of features are multiplied, float32.
        call_factors: `(13,)`, likewise of system.
        at_once: models that can be asked when a call comes.
        horizon: time at which to stop, s.
    """
    for e in range(states.shape[0]):
        action = actions[e]
        if action == SKIP:
            continue
        state, step, n = states[e], steps[e], n_jobs[e]
        step.illegal = False
        clock, integral, price = state.clock, state.integral, state.price
        if action != START and state.asked >= 0:
            if not is_open(state, action, copies[e], called[e]):
                step.illegal = True
                action = 0
                while not is_open(state, action, copies[e], called[e]):
                    action += 1
            answer(
                state, jobs[e], truth[e, :, 0], truth[e, :, 1], action, told[e], lots[e], copies[e], called[e],
                outcome[e], stations[e], seats[e], serving, tally[e], terms, at_once,
            )  # fmt: skip
        proceed(
            state, n, jobs[e], truth[e, :, 0], truth[e, :, 1], told[e], lots[e], copies[e], called[e], outcome[e],
            stations[e], seats[e], serving, tally[e], terms, horizon,
        )  # fmt: skip
        step.reward = integral - state.integral + price - state.price
        step.dt = 0.0 if action == START else state.clock - clock
        step.clock = state.clock
        step.in_system = state.arrived - state.done
        step.terminated = state.done == n
        step.truncated = state.clock >= horizon and not step.terminated and action != START
        observe(
            state, jobs[e], told[e], lots[e], copies[e], called[e], stations[e], seats[e], serving, tally[e], terms,
            call, models, step.dt, features[e], system[e], mask[e], model_factors, call_factors,
        )  # fmt: skip


@kernel
def look(state, jobs, told, lots, copies, called, stations, seats, serving, tally, terms, call, models):
    """Write what a rule reads of the call that is asked about, and of each model, of one run."""
    show(state, jobs, told, lots, copies, called, stations, seats, serving, tally, terms, call, models)


@kernel
def choose(calls, models, answered, score, again, params, at_once, actions, scores):
    """Choose as a rule does in each of E decisions.

    Args:
        calls: `CALL` rows `(E,)`.
        models: `MODEL` rows `(E, m)`.
        answered: `(E,)`, whether the call has an answer.
        score: compiled rule of whom to ask.
        again: compiled rule of whether one more is asked.
        params: their parameters.
        at_once: models that it asks when a call comes.
        actions: `(E,)`, written: a model, or m for enough.
        scores: `(E, m)`, written.
    """
    for e in range(calls.shape[0]):
        for m in range(models.shape[1]):
            scores[e, m] = score(calls[e], models[e, m], params)
        enough = models.shape[1]
        actions[e] = least(calls[e], models[e], score, params)
        if actions[e] < 0:
            actions[e] = enough
        elif answered[e]:
            if again(calls[e], models[e, actions[e]], params) == 0:
                actions[e] = enough
        elif calls[e].asked >= at_once:
            actions[e] = enough
