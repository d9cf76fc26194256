"""One server on which predictions cost: jobs go through stages, and whoever is of least rank is served.

What comes next for a job is asked when it arrives, after each of its predictions, and when its age reaches `pause`. A
prediction that is made outside is there at once and has a price; one on the server is a stage that is served as a job
is; one on servers of its own is made there in order of arrival, and the job is not in the queue meanwhile.

`serve`, `settle`, `learn` and `send` are the dynamics. `simulate` closes the loop with two functions of a policy and a
heap; `predicting_steps` opens it for an environment whose agent decides. At equal times a stage ends first, then a
prediction elsewhere, then a job arrives. A job in service is ranked again whenever one of these happens; one that gives
way when its stage has ended does not count as preempted.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel
from llmqueue_gym.engines.heap import pop, push
from llmqueue_gym.engines.line import add, take
from llmqueue_gym.jobs import CHEAP, CHEAP_KNOWN, DONE, EXPENSIVE, PROFILE, RUNNING, SERVE, SIZE_KNOWN, WAITING

OUTSIDE, SERVER, SERVERS = 0, 1, 2  # where predictions are made

# What predictions cost.
TERMS = np.dtype(
    [
        ("where", "i8"),  # a code above
        ("cheap", "f8"),  # s, or a price
        ("expensive", "f8"),  # likewise
        ("profile", "f8"),  # s of service
        ("speed", "f8"),  # of the server meanwhile
        ("pause", "f8"),  # age at which it is asked what comes next, s
    ],
    align=True,
)

PREDICTING_STATE = np.dtype(
    [
        ("clock", "f8"),  # s
        ("integral", "f8"),  # cost so far: integral of the cost rate; the closed loop leaves it out
        ("cost_rate", "f8"),  # sum of the costs of the jobs in system, per s; likewise
        ("price", "f8"),  # of the predictions that were bought outside
        ("arrived", "i8"),  # rows of the job table that have arrived
        ("done", "i8"),  # jobs that have left
        ("running", "i8"),  # row that was served last, or -1 where its stage has ended
        ("in_system", "i8"),
        ("predicting", "i8"),  # jobs whose stage is a prediction
        ("away", "i8"),  # jobs at servers of predictions alone
        ("here", "i8"),  # length of the list of those who can be served, of an environment
        ("asked", "i8"),  # row of which an agent is asked what comes next, or -1
        ("bought_cheap", "i8"),
        ("bought_expensive", "i8"),
        ("profiled", "i8"),
        ("wrong", "i8"),  # 1 + the first row for which a policy asked for what there is not, or 0
        ("code", "f8"),  # what it asked for
    ],
    align=True,
)


def fresh(n: int = 1) -> np.ndarray:
    """Return `n` states of runs that have not begun."""
    state = np.zeros(n, PREDICTING_STATE)
    state["running"] = state["asked"] = -1
    return state


@inner_kernel
def is_open(kind, stage, terms):
    """Whether a stage of a kind can be next: what is known is not predicted again."""
    if kind == CHEAP:
        return stage.known & CHEAP_KNOWN == 0
    if kind == EXPENSIVE:
        return stage.known & SIZE_KNOWN == 0
    return kind == SERVE or (stage.known & SIZE_KNOWN == 0 and terms.profile > 0.0)


@inner_kernel
def next_stage(state, row, job, stage, terms, ask, params):
    """Return the kind of the stage that a policy asks for, its service where that is not open."""
    stage.in_system, stage.predicting = state.in_system, state.predicting
    code = ask(job, stage, params)
    for kind in range(SERVE, PROFILE + 1):
        if code == kind:
            if kind == PROFILE and terms.profile == 0.0 and state.wrong == 0:
                state.wrong, state.code = row + 1, code
            return kind if is_open(kind, stage, terms) else SERVE
    if state.wrong == 0:
        state.wrong, state.code = row + 1, code
    return SERVE


@inner_kernel
def learn(job, stage, kind, hidden):
    """Let what has been predicted be read; the stage is over.

    Args:
        job: its row of `JOB`.
        stage: its row of `STAGE`.
        kind: of the stage that has ended.
        hidden: `(2,)`, the size predicted, s, and the class by the cheap prediction.
    """
    if kind == CHEAP:
        job.klass = np.int32(hidden[1])
        stage.known |= CHEAP_KNOWN
    else:
        job.predicted = hidden[0]
        stage.known |= SIZE_KNOWN
    stage.kind, stage.done = SERVE, 0.0


@inner_kernel
def settle(state, job, stage, kind, terms, hidden):
    """Begin the next stage of a job; returns whether it is over at once, so that it must be asked what comes then."""
    if kind == CHEAP:
        state.bought_cheap += 1
    elif kind == EXPENSIVE:
        state.bought_expensive += 1
    elif kind == PROFILE:
        state.profiled += 1
    if kind in (CHEAP, EXPENSIVE):
        if terms.where == OUTSIDE:
            state.price += terms.cheap if kind == CHEAP else terms.expensive
            learn(job, stage, kind, hidden)
            return True
        state.predicting += 1
    stage.kind, stage.done, job.status = kind, 0.0, WAITING
    return False


@inner_kernel
def is_away(stage, terms):
    """Whether the stage of a job is at servers of predictions alone."""
    return terms.where == SERVERS and stage.kind in (CHEAP, EXPENSIVE)


@inner_kernel
def send(state, row, stage, terms, pending, free_at):
    """Let a job be predicted by the server of predictions that is free first.

    Args:
        state: the record.
        row: of the job.
        stage: its row of `STAGE`.
        terms: the record.
        pending: `HEAP` rows, those who are there by the time at which they have their prediction.
        free_at: `(k,)`, s, when each server of predictions is free.
    """
    first = 0
    for s in range(1, free_at.shape[0]):
        if free_at[s] < free_at[first]:
            first = s
    begin = max(free_at[first], state.clock)
    free_at[first] = begin + (terms.cheap if stage.kind == CHEAP else terms.expensive)
    push(pending, state.away, free_at[first], row)
    state.away += 1


@inner_kernel
def serve(clock, stop, job, stage, size, happened, terms):
    """Run a job in its present stage from `clock` until the stage ends or, if that comes first, until `stop`.

    Its service ends when it is done, and is interrupted at the age `pause`.

    Returns:
        whether the stage has ended, and the time.
    """
    kind = stage.kind
    job.status = RUNNING
    if kind == SERVE:
        happened.start = clock if np.isnan(happened.start) else happened.start
        end = terms.pause if job.age < terms.pause < size else size
        until = clock + (end - job.age)
        if stop < until:
            job.age += stop - clock
            stage.done += stop - clock
            return False, stop
        stage.done += end - job.age
        job.age = end
        return True, until
    if kind == PROFILE:
        happened.start = clock if np.isnan(happened.start) else happened.start
        left = terms.profile - stage.done
        shorter = size - job.age <= left
        until = clock + (size - job.age if shorter else left) / terms.speed
        if stop < until:
            job.age += (stop - clock) * terms.speed
            stage.done += (stop - clock) * terms.speed
            return False, stop
        job.age = size if shorter else job.age + left
        stage.done = terms.profile
        return True, until
    left = (terms.cheap if kind == CHEAP else terms.expensive) - stage.done
    until = clock + left
    if stop < until:
        stage.done += stop - clock
        return False, stop
    stage.done += left
    return True, until


@inner_kernel
def end_stage(state, job, stage, size, happened, hidden):
    """Do what comes of the end of a stage on the server; returns whether the job is done."""
    if stage.kind in (SERVE, PROFILE):
        if job.age == size:
            job.status, happened.completion = DONE, state.clock
            state.done += 1
            state.in_system -= 1
            return True
    else:
        state.predicting -= 1
    if stage.kind != SERVE:
        learn(job, stage, stage.kind, hidden)
    job.status = WAITING
    return False


@inner_kernel
def next_event(state, n, jobs, pending):
    """Return when the next job arrives or comes back with its prediction, s; inf where there is none."""
    soonest = jobs[state.arrived].arrival if state.arrived < n else np.inf
    return min(soonest, pending[0].rank) if state.away > 0 else soonest


@kernel
def simulate(
    state, jobs, stages, hidden, sizes, outcome, heap, pending, free_at, terms, rank, ask, params, resolution, scale
):
    """Run the whole job table under a policy.

    Args:
        state: `PREDICTING_STATE` record, fresh.
        jobs: `JOB` rows `(n,)`, without predictions; those that are bought are written.
        stages: `STAGE` rows `(n,)`, fresh but for the coin.
        hidden: `(n, 2)`, the size predicted, s, and the class by the cheap prediction.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        heap: `HEAP` rows `(n,)`, scratch: the jobs that can be served.
        pending: `HEAP` rows `(n,)`, scratch: those who are being predicted elsewhere.
        free_at: `(k,)`, s, scratch: when each server of predictions is free.
        terms: `TERMS` record.
        rank: compiled rank function.
        ask: compiled function that says what comes next.
        params: their parameters.
        resolution: slice of service after which who is served is ranked again, relative to age + `scale`; inf where
            ranks do not rise.
        scale: s.
    """
    n, near, far, asked, placed = jobs.shape[0], 0, 0, -1, -1
    while state.done < n:
        soonest = next_event(state, n, jobs, pending)
        if asked < 0 and placed < 0 and soonest <= state.clock:
            if state.away > 0 and pending[0].rank == soonest:
                asked = pop(pending, state.away)
                state.away -= 1
                state.predicting -= 1
                learn(jobs[asked], stages[asked], stages[asked].kind, hidden[asked])
            else:
                asked = state.arrived
                state.arrived += 1
                state.in_system += 1
        if asked >= 0:
            job, stage = jobs[asked], stages[asked]
            while settle(
                state, job, stage, next_stage(state, asked, job, stage, terms, ask, params), terms, hidden[asked]
            ):
                pass
            if is_away(stage, terms):
                send(state, asked, stage, terms, pending, free_at)
            else:
                placed = asked
            asked = -1
            if placed < 0:
                continue
        if placed >= 0:
            job, stage = jobs[placed], stages[placed]
            stage.in_system, stage.predicting = state.in_system, state.predicting
            job.rank = rank(job, stage, params)
            near, far = add(heap, near, far, job.rank, placed)
            placed = -1
            continue
        if near + far == 0:
            state.clock = soonest
            continue
        i, near, far = take(heap, near, far)
        job, stage, happened = jobs[i], stages[i], outcome[i]
        if state.running >= 0 and state.running != i:
            jobs[state.running].status = WAITING
            outcome[state.running].preemptions += 1
        state.running = i
        stop = soonest
        if near + far > 0:
            stop = min(soonest, state.clock + resolution * (job.age + scale))
        ended, state.clock = serve(state.clock, stop, job, stage, sizes[i], happened, terms)
        if not ended:
            placed = i
        else:
            state.running = -1
            if not end_stage(state, job, stage, sizes[i], happened, hidden[i]):
                asked = i


@kernel
def time_of_predictions(state, jobs, stages, hidden, sizes, terms, ask, params):
    """Return how long predictions of these jobs take under a policy, s: of the server, and of those of predictions.

    Nothing is served; `state` says how many are in system, which is what the policy sees. The arguments are those of
    `simulate`.
    """
    here, elsewhere = 0.0, 0.0
    for i in range(jobs.shape[0]):
        job, stage, size = jobs[i], stages[i], sizes[i]
        while job.age < size:
            kind = next_stage(state, i, job, stage, terms, ask, params)
            if kind == SERVE:
                job.age = terms.pause if job.age < terms.pause < size else size
            elif kind == PROFILE:
                part = min(terms.profile, size - job.age)
                here += part / terms.speed - part
                job.age += part
                learn(job, stage, kind, hidden[i])
            else:
                learn(job, stage, kind, hidden[i])
                time = terms.cheap if kind == CHEAP else terms.expensive
                here += time if terms.where == SERVER else 0.0
                elsewhere += time if terms.where == SERVERS else 0.0
    return here, elsewhere
