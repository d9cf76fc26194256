"""Calls that are answered by one of several models, or by some of them one after another, or at the same time.

Each model has seats, and who finds none free waits, first come first served. A call at a model takes the time to the
first token and that of its output tokens there. A call is asked about when it comes, and again when it has an answer
and no other model works on it: it keeps the best answer so far, or goes to one more model. Where several were asked at
once, the first answer that passes verification counts, and the others are given up, wherever they are.

How many tokens each model takes, whether it answers rightly, what a verifier would say and what the user would are
tables. The prompt is paid when a model begins, output when it ends or is given up, and a wrong answer when the call
leaves. At one instant answers come before arrivals, and of answers that of the earlier call, of one call that of the
weaker model.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel, part_kernel
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

CHOOSING_STATE = np.dtype(
    [
        ("clock", "f8"),  # s
        ("integral", "f8"),  # cost of time so far: integral of the cost rate
        ("cost_rate", "f8"),  # sum of the costs of the calls in system, per s
        ("price", "f8"),  # of money and of wrong answers so far, s
        ("spent", "f8"),  # USD
        ("arrived", "i8"),  # rows of the table that have arrived
        ("done", "i8"),
        ("taken", "i8"),  # seats of all models
        ("asked", "i8"),  # row of the call that is asked about, -1 for none
    ],
    align=True,
)

# A model and its replicas, the same in all runs.
SERVING = np.dtype(
    [
        ("first", "i8"),  # its first seat
        ("seats", "i8"),
        ("ttft", "f8"),  # s
        ("tpot", "f8"),  # s a token
        ("read", "f8"),  # USD a token of the prompt
        ("write", "f8"),  # USD an output token
        ("wordy", "f8"),  # output that is expected, over the predicted size
    ],
    align=True,
)

TERMS = np.dtype(
    [
        ("seats", "i8"),  # of all models
        ("wrong", "f8"),  # price of a wrong answer, s
        ("usd", "f8"),  # of a USD, s
        ("passes", "f8"),  # verified chance from which on the first answer of several counts
        ("allowed", "f8"),  # USD a call
    ],
    align=True,
)

STATION = np.dtype(
    [
        ("taken", "i8"),  # seats, which are its first ones
        ("waiting", "i8"),  # calls
        ("head", "i8"),  # row of the first in line, or of one that was given up; -1 for none
        ("last", "i8"),
        ("queued", "f8"),  # s, predicted service of those who wait
        ("busy", "f8"),  # s of seats
    ],
    align=True,
)

SEAT = np.dtype([("until", "f8"), ("row", "i8")], align=True)

# What is known of a call from the start.
TOLD = np.dtype([("prompt", "f8"), ("win", "f8"), ("luck", "f8")], align=True)

# Of a call at each model; all but the quality is hidden until it has happened.
LOT = np.dtype(
    [
        ("tokens", "f8"),  # output
        ("right", "f8"),  # 1 or 0
        ("quality", "f8"),  # chance to be right, as predicted
        ("verified", "f8"),  # the same, as whoever verifies the answer says
        ("feedback", "f8"),  # 1 or 0, what the user says of it; -1 where nothing
    ],
    align=True,
)

# What has become of a call, and of a call at each model.
CALLED = np.dtype([("asked", "i8"), ("pending", "i8"), ("together", "i8"), ("best", "i8"), ("spent", "f8")], align=True)
COPY = np.dtype([("status", "i8"), ("follows", "i8"), ("began", "f8")], align=True)
NOT, QUEUED, AT_WORK, ANSWERED, GIVEN_UP = 0, 1, 2, 3, 4

TALLY = np.dtype([("trials", "i8"), ("praised", "f8")], align=True)  # of a kind of calls at a model

# What happened to a call; only reports need it.
ANSWER = np.dtype(
    [
        ("start", "f8"),  # s, when the first model began
        ("completion", "f8"),  # s; NaN until done
        ("preemptions", "i8"),  # models that were asked and given up
        ("model", "i8"),  # whose answer was kept, -1 until done
        ("right", "f8"),
        ("asked", "i8"),  # models
        ("spent", "f8"),  # USD
    ],
    align=True,
)


def answer_table(n):
    """Return an `ANSWER` table `(n,)` in which nothing has happened yet."""
    table = np.zeros(n, ANSWER)
    table["start"] = table["completion"] = np.nan
    table["model"] = -1
    return table


@inner_kernel
def pay(state, called, terms, usd):
    """Charge a call with money."""
    called.spent += usd
    state.spent += usd
    state.price += terms.usd * usd


@inner_kernel
def expected(job, serving):
    """Return what a call is predicted to take at a model, s."""
    return serving.ttft + job.predicted * serving.wordy * serving.tpot


@inner_kernel
def sit_down(state, jobs, i, m, told, lots, copies, called, outcome, stations, seats, serving, terms):
    """Let a model begin with a call, in a free seat."""
    here, model = stations[m], serving[m]
    seat = seats[model.first + here.taken]
    seat.row, seat.until = i, state.clock + model.ttft + lots[i, m].tokens * model.tpot
    copies[i, m].status, copies[i, m].began = AT_WORK, state.clock
    here.taken += 1
    state.taken += 1
    if jobs[i].status == WAITING:
        jobs[i].status, outcome[i].start = RUNNING, state.clock
    pay(state, called[i], terms, told[i].prompt * model.read)


@inner_kernel
def stand_up(state, jobs, m, seat, told, lots, copies, called, outcome, stations, seats, serving, terms):
    """Free a seat, and give it to who has waited longest."""
    here = stations[m]
    end = serving[m].first + here.taken - 1
    here.busy += state.clock - copies[seats[seat].row, m].began
    seats[seat].row, seats[seat].until = seats[end].row, seats[end].until
    here.taken -= 1
    state.taken -= 1
    while here.head >= 0:
        i = here.head
        here.head = copies[i, m].follows
        if here.head < 0:
            here.last = -1
        if copies[i, m].status == QUEUED:
            here.waiting -= 1
            here.queued -= expected(jobs[i], serving[m])
            if here.waiting == 0:
                here.queued = 0.0  # no rounding error survives an empty line
            sit_down(state, jobs, i, m, told, lots, copies, called, outcome, stations, seats, serving, terms)
            return


@part_kernel
def ask(state, jobs, m, told, lots, copies, called, outcome, stations, seats, serving, terms):
    """Let a model answer the call that is asked about."""
    i, here = state.asked, stations[m]
    called[i].asked += 1
    called[i].pending += 1
    if here.taken < serving[m].seats:
        sit_down(state, jobs, i, m, told, lots, copies, called, outcome, stations, seats, serving, terms)
        return
    copies[i, m].status, copies[i, m].follows = QUEUED, -1
    if here.last >= 0:
        copies[here.last, m].follows = i
    else:
        here.head = i
    here.last = i
    here.waiting += 1
    here.queued += expected(jobs[i], serving[m])


@part_kernel
def give_up(state, jobs, i, told, lots, copies, called, outcome, stations, seats, serving, terms):
    """Let all models that still work on a call, or have it in line, leave it."""
    for m in range(serving.shape[0]):
        copy, here, model = copies[i, m], stations[m], serving[m]
        if copy.status == QUEUED:
            here.waiting -= 1
            here.queued -= expected(jobs[i], model)
            if here.waiting == 0:
                here.queued = 0.0
        elif copy.status == AT_WORK:
            written = (state.clock - copy.began - model.ttft) / model.tpot
            pay(state, called[i], terms, min(max(written, 0.0), lots[i, m].tokens) * model.write)
            seat = model.first
            while seats[seat].row != i:
                seat += 1
            stand_up(state, jobs, m, seat, told, lots, copies, called, outcome, stations, seats, serving, terms)
        else:
            continue
        copy.status = GIVEN_UP
        called[i].pending -= 1
        outcome[i].preemptions += 1


@part_kernel
def leave(state, jobs, i, sizes, costs, lots, called, outcome, tally, terms):
    """Let a call go with the best of its answers, of which the user may say something."""
    best = called[i].best
    job, end = jobs[i], outcome[i]
    job.age, job.status = sizes[i], DONE
    end.completion, end.model, end.right = state.clock, best, lots[i, best].right
    end.asked, end.spent = called[i].asked, called[i].spent
    state.price += terms.wrong * (1.0 - lots[i, best].right)
    state.done += 1
    state.cost_rate -= costs[i]
    if state.done == state.arrived:
        state.cost_rate = 0.0  # no rounding error survives an idle period
    if lots[i, best].feedback >= 0:
        heard = tally[job.klass, best]
        heard.trials += 1
        heard.praised += lots[i, best].feedback


@part_kernel
def take_answer(
    state, jobs, sizes, costs, m, seat, told, lots, copies, called, outcome, stations, seats, serving, tally, terms
):  # fmt: skip
    """Take the answer of a model: the call leaves, waits for others that were asked, or is asked about again."""
    i = seats[seat].row
    call = called[i]
    pay(state, call, terms, lots[i, m].tokens * serving[m].write)
    stand_up(state, jobs, m, seat, told, lots, copies, called, outcome, stations, seats, serving, terms)
    copies[i, m].status = ANSWERED
    call.pending -= 1
    if call.best < 0 or lots[i, m].verified > lots[i, call.best].verified:
        call.best = m
    passed = call.together > 1 and lots[i, call.best].verified >= terms.passes
    if passed and call.pending > 0:
        give_up(state, jobs, i, told, lots, copies, called, outcome, stations, seats, serving, terms)
    if call.pending == 0:
        if passed or call.asked == serving.shape[0]:
            leave(state, jobs, i, sizes, costs, lots, called, outcome, tally, terms)
        else:
            state.asked = i


@part_kernel
def proceed(
    state, n, jobs, sizes, costs, told, lots, copies, called, outcome, stations, seats, serving, tally, terms, horizon
):  # fmt: skip
    """Go on until a call is asked about, or all have left, or the horizon."""
    while state.asked < 0 and state.done < n:
        until, at, who = np.inf, -1, 0
        for m in range(serving.shape[0]):
            first = serving[m].first
            for k in range(first, first + stations[m].taken):
                seat = seats[k]
                if seat.until < until or (seat.until == until and seat.row < seats[at].row):
                    until, at, who = seat.until, k, m
        arrives = state.arrived < n and jobs[state.arrived].arrival < until
        if arrives:
            until = jobs[state.arrived].arrival
        if until > state.clock:
            state.integral += state.cost_rate * (until - state.clock)
            state.clock = until
        if arrives:
            i = state.arrived
            jobs[i].status = WAITING
            state.cost_rate += costs[i]
            state.arrived += 1
            state.asked = i
        else:
            take_answer(
                state, jobs, sizes, costs, who, at, told, lots, copies, called, outcome, stations, seats, serving,
                tally, terms,
            )  # fmt: skip
        if state.clock >= horizon:
            return


@inner_kernel
def wait_at(state, jobs, m, copies, station, seats, model):
    """Return when a call would begin at a model that comes now, s, as predicted; who outlives its time ends now."""
    if station.taken < model.seats:
        return 0.0
    left = station.queued
    for k in range(model.first, model.first + station.taken):
        row = seats[k].row
        left += max(expected(jobs[row], model) - (state.clock - copies[row, m].began), 0.0)
    return max(left, 0.0) / model.seats


@part_kernel
def show(state, jobs, told, lots, copies, called, stations, seats, serving, tally, terms, call, models):
    """Write what a rule reads of the call that is asked about, and of each model."""
    i = state.asked
    mine, job = called[i], jobs[i]
    call.prompt, call.win, call.luck = int(told[i].prompt), told[i].win, told[i].luck
    call.asked, call.klass, call.calls = mine.asked, job.klass, i
    call.verified = 0.0 if mine.best < 0 else lots[i, mine.best].verified
    call.spent, call.allowed = state.spent / max(state.arrived - 1, 1), terms.allowed
    call.load = state.taken / terms.seats
    for m in range(serving.shape[0]):
        model, row, heard = serving[m], models[m], tally[job.klass, m]
        tokens = job.predicted * model.wordy
        row.index = row.strength = m
        row.models = serving.shape[0]
        row.quality, row.tokens = lots[i, m].quality, tokens
        row.price = told[i].prompt * model.read + tokens * model.write
        row.service = expected(job, model)
        row.wait = wait_at(state, jobs, m, copies, stations[m], seats, model)
        row.asked = 1 if copies[i, m].status != NOT else 0
        row.trials, row.reward = heard.trials, heard.praised / max(heard.trials, 1)


@inner_kernel
def least(call, models, score, params):
    """Return the model of least score of those that were not asked; ties go to the weaker one. There is one."""
    best, value = -1, 0.0
    for m in range(models.shape[0]):
        if models[m].asked == 0:
            given = score(call, models[m], params)
            if best < 0 or given < value:
                best, value = m, given
    return best


@kernel
def simulate(
    state, jobs, sizes, costs, told, lots, copies, called, outcome, stations, seats, serving, tally, terms, call,
    models, score, again, params, at_once,
):  # fmt: skip
    """Run all calls to their end.

    Args:
        state: fresh `CHOOSING_STATE` record.
        jobs: `JOB` rows `(n,)`, by arrival.
        sizes: what they are of size, output tokens `(n,)`.
        costs: per s in system `(n,)`.
        told: `TOLD` rows `(n,)`.
        lots: `LOT` rows `(n, m)`.
        copies: fresh `COPY` rows `(n, m)`.
        called: fresh `CALLED` rows `(n,)`.
        outcome: `ANSWER` rows `(n,)`, written.
        stations: fresh `STATION` rows `(m,)`.
        seats: `SEAT` rows, as many as all models have, scratch.
        serving: `SERVING` rows `(m,)`, the weakest model first.
        tally: `TALLY` rows `(kinds, m)`, in which feedback is counted.
        terms: `TERMS` record.
        call: `CALL` record, scratch.
        models: `MODEL` rows `(m,)`, scratch.
        score: compiled rule of whom to ask.
        again: compiled rule of whether one more is asked; or one that gives 0.
        params: their parameters.
        at_once: models that are asked when a call comes.
    """
    n = jobs.shape[0]
    while True:
        proceed(
            state, n, jobs, sizes, costs, told, lots, copies, called, outcome, stations, seats, serving, tally, terms,
            np.inf,
        )  # fmt: skip
        if state.asked < 0:
            return
        i = state.asked
        comes = called[i].best < 0
        for _ in range(at_once if comes else 1):
            show(state, jobs, told, lots, copies, called, stations, seats, serving, tally, terms, call, models)
            m = least(call, models, score, params)
            if not comes and again(call, models[m], params) == 0:
                leave(state, jobs, i, sizes, costs, lots, called, outcome, tally, terms)
                break
            ask(state, jobs, m, told, lots, copies, called, outcome, stations, seats, serving, terms)
        if comes:
            called[i].together = at_once
        state.asked = -1
