"""Requests that decode together in a batch, each step with drafts of some tokens, which the target model verifies.

Requests take seats in order of arrival and keep them until they are done. When the drafting model is free, all who have
been verified are told how many tokens to draft, then these are drafted together, as long as the longest draft takes,
and verified together. On one replica a step is both, and nothing else happens meanwhile. In a tandem drafts are made on
a replica of their own: who has a draft waits until the target model is free, which then verifies all who wait, while
others draft.

Which drafts are accepted is a table: token t of request i, drafted at position k of a draft, is accepted if its number
is below the chance of the request times that of the position. A step gives what was accepted before the first refusal,
and a token of the target model itself. What happens at one instant is taken together: ends, then arrivals, then seats.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel, part_kernel
from llmqueue_gym.engines.batching.cost import iteration_time
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

SPECULATING_STATE = np.dtype(
    [
        ("clock", "f8"),  # s
        ("integral", "f8"),  # cost so far: integral of the cost rate
        ("cost_rate", "f8"),  # sum of the costs of the requests in system, per s
        ("arrived", "i8"),  # rows of the table that have arrived
        ("begun", "i8"),  # rows that have a seat, or had one
        ("done", "i8"),
        ("taken", "i8"),  # seats
        ("asked", "i8"),  # place of the one whose draft is due, -1 for none
        ("drafting_until", "f8"),  # s; inf where the replica of drafts is free
        ("busy_until", "f8"),  # s; inf where the target model is free
        ("steps", "i8"),  # of the target model
        ("verified", "i8"),  # requests in all of these steps
        ("drafted", "i8"),  # tokens
        ("tried", "f8"),  # those that were looked at
        ("accepted", "f8"),
        ("seconds", "f8"),  # s of steps of the target model, with drafts where they are made on the same replica
    ],
    align=True,
)

# A request in a seat.
SEATED = np.dtype(
    [
        ("row", "i8"),
        ("phase", "i8"),  # one of the codes below
        ("draft", "i8"),  # tokens
        ("tried", "f8"),
        ("accepted", "f8"),
    ],
    align=True,
)
READY, TOLD, DRAFTING, DRAFTED, VERIFYING = 0, 1, 2, 3, 4

# What is the same in all runs: a record, as kernels with many arguments are slow to call.
TERMS = np.dtype(
    [
        ("form", "i8"),  # of the cost profile
        ("prompt", "f8"),  # tokens of each request in the cache before it decodes
        ("draft", "f8"),  # time of a draft token over that of a step without drafts, of the same requests
        ("tandem", "i8"),  # whether drafts have a replica of their own
        ("most", "i8"),  # draft tokens
    ],
    align=True,
)


@inner_kernel
def pass_time(state, n, jobs, costs, until):
    """Go on to a time and let in who comes by then; all in system cause their cost meanwhile."""
    while state.arrived < n and jobs[state.arrived].arrival <= until:
        i = state.arrived
        state.integral += state.cost_rate * (jobs[i].arrival - state.clock)
        state.clock = jobs[i].arrival
        state.cost_rate += costs[i]
        jobs[i].status = WAITING
        state.arrived += 1
    state.integral += state.cost_rate * (until - state.clock)
    state.clock = until


@inner_kernel
def sit_down(state, jobs, outcome, held):
    """Give free seats to who waits, in order of arrival."""
    while state.taken < held.shape[0] and state.begun < state.arrived:
        seat = held[state.taken]
        seat.row, seat.phase, seat.draft, seat.tried, seat.accepted = state.begun, READY, 0, 0.0, 0.0
        jobs[state.begun].status, outcome[state.begun].start = RUNNING, state.clock
        state.taken += 1
        state.begun += 1


@part_kernel
def step_time(terms, numbers, batch, requests, tokens, context):
    """Return the time of a step of the target model, s: each token is a decode, and keys are read once a request."""
    batch.tokens = batch.decodes = tokens
    batch.context = context
    return iteration_time(terms.form, numbers, batch)


@part_kernel
def begin(state, jobs, held, terms, numbers, batch):
    """Let those who have been told draft, if their replica is free, and those with a draft be verified."""
    count, longest, drafts, context = 0, 0, 0, 0.0
    for k in range(state.taken):
        seat = held[k]
        if seat.phase == TOLD:
            seat.phase = DRAFTED
            state.drafted += seat.draft
            if seat.draft > 0:
                count += 1
                longest = max(longest, seat.draft)
                context += terms.prompt + jobs[seat.row].age + 1.0
                if terms.tandem:
                    seat.phase = DRAFTING
    drafting = 0.0
    if count > 0:
        drafting = longest * terms.draft * step_time(terms, numbers, batch, count, count, context)
        if terms.tandem:
            state.drafting_until = state.clock + drafting
            drafting = 0.0
    if state.busy_until < np.inf:
        return
    count, context = 0, 0.0
    for k in range(state.taken):
        seat = held[k]
        if seat.phase == DRAFTED:
            seat.phase = VERIFYING
            count += 1
            drafts += seat.draft
            context += terms.prompt + jobs[seat.row].age + 1.0 + seat.draft
    if count > 0:
        time = drafting + step_time(terms, numbers, batch, count, count + drafts, context)
        state.busy_until = state.clock + time
        state.seconds += time
        state.steps += 1
        state.verified += count


@part_kernel
def verify(state, jobs, sizes, costs, outcome, held, luck, first, chances, shape):
    """End a step of the target model: those in it get their tokens, and who is done leaves."""
    kept = 0
    for k in range(state.taken):
        seat = held[k]
        if seat.phase == VERIFYING:
            i = seat.row
            at, room, right = int(jobs[i].age), first[i + 1] - first[i], 0
            while right < seat.draft:
                seat.tried += 1.0
                state.tried += 1.0
                chance = chances[i] * shape[min(right, shape.shape[0] - 1)]
                if luck[first[i] + (at + right) % room] >= chance:
                    break
                seat.accepted += 1.0
                state.accepted += 1.0
                right += 1
            seat.phase = READY
            jobs[i].age = min(float(at + right + 1), sizes[i])
            if jobs[i].age >= sizes[i]:
                jobs[i].status, outcome[i].completion = DONE, state.clock
                state.done += 1
                state.cost_rate -= costs[i]
                continue
        if kept < k:
            to = held[kept]
            to.row, to.phase, to.draft = seat.row, seat.phase, seat.draft
            to.tried, to.accepted = seat.tried, seat.accepted
        kept += 1
    state.taken = kept
    state.busy_until = np.inf
    if kept == 0 and state.begun == state.arrived:
        state.cost_rate = 0.0  # no rounding error survives an idle period


@part_kernel
def proceed(state, n, jobs, sizes, costs, outcome, held, luck, first, chances, shape, terms, numbers, batch, horizon):
    """Go on until somebody's draft is due, whose place `asked` is then, or all have left, or the horizon."""
    state.asked = -1
    while state.done < n:
        sit_down(state, jobs, outcome, held)
        drafter_free = state.drafting_until == np.inf and (terms.tandem == 1 or state.busy_until == np.inf)
        if drafter_free:
            for k in range(state.taken):
                if held[k].phase == READY:
                    state.asked = k
                    return
        begin(state, jobs, held, terms, numbers, batch)
        if state.clock >= horizon:
            return
        until = min(state.drafting_until, state.busy_until)
        if state.arrived < n and state.taken < held.shape[0]:
            until = min(until, jobs[state.arrived].arrival)
        pass_time(state, n, jobs, costs, until)
        if state.drafting_until <= until:
            state.drafting_until = np.inf
            for k in range(state.taken):
                if held[k].phase == DRAFTING:
                    held[k].phase = DRAFTED
        if state.busy_until <= until:
            verify(state, jobs, sizes, costs, outcome, held, luck, first, chances, shape)


@inner_kernel
def tell(state, held, draft, most):
    """Let the one that is asked draft so many tokens next."""
    seat = held[state.asked]
    seat.draft, seat.phase = max(0, min(draft, most)), TOLD


@inner_kernel
def show(state, held, told, seen):
    """Write what a rule of drafting reads of the one that is asked."""
    seat = held[state.asked]
    seen.told, seen.tried, seen.accepted = told[seat.row], seat.tried, seat.accepted
    seen.all_tried, seen.all_accepted = state.tried, state.accepted
    seen.batch, seen.waiting = state.taken, state.arrived - state.begun


@kernel
def simulate(
    state, jobs, sizes, costs, told, outcome, held, luck, first, chances, shape, terms, numbers, batch, seen, draft,
    params,
):  # fmt: skip
    """Run all requests to their end.

    Args:
        state: fresh `SPECULATING_STATE` record.
        jobs: `JOB` rows `(n,)`, by arrival; the age is output tokens.
        sizes: true output tokens `(n,)`.
        costs: per s in system `(n,)`.
        told: predicted chance of acceptance `(n,)`.
        outcome: `OUTCOME` rows `(n,)`, written.
        held: `SEATED` rows, one for each seat, scratch.
        luck: numbers in [0, 1) `(m,)`, those of the output tokens of each request one after another.
        first: `(n + 1,)`, where those of each begin.
        chances: `(n,)`, that its first draft token is accepted.
        shape: `(k,)`, chance at each position of a draft, over that at the first; the last holds for all behind it.
        terms: `TERMS` record.
        numbers: coefficients of the cost profile.
        batch: `BATCH` record, scratch.
        seen: `DRAFT` record, scratch but for `seats` and `most`.
        draft: compiled rule of drafting.
        params: its parameters.
    """
    n = jobs.shape[0]
    while True:
        proceed(
            state, n, jobs, sizes, costs, outcome, held, luck, first, chances, shape, terms, numbers, batch, np.inf
        )  # fmt: skip
        if state.asked < 0:
            return
        show(state, held, told, seen)
        tell(state, held, int(np.rint(draft(jobs[held[state.asked].row], seen, params))), terms.most)
