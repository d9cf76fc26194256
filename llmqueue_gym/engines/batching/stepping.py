"""Steps of environments: an agent's action is carried out, and the replica goes on to its next decision.

`step_batch` does it for E runs; a scalar environment is a batch of one. Slots are the first requests of the queue, head
first, and then the running list; for a ranking agent the request in question comes before both.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel, prefetch
from llmqueue_gym.engines.batching.accounts import account, charge_prompt
from llmqueue_gym.engines.batching.closed_loop import may_preempt, proceed
from llmqueue_gym.engines.batching.pool import preempt
from llmqueue_gym.engines.batching.queue import enqueue, row_at
from llmqueue_gym.engines.batching.tables import (
    ADMIT,
    DRAINED,
    ENDLESS,
    EVICT,
    EVICTION,
    NOTHING,
    PREFILL_FIRST,
    RANK,
    READY,
    RECOMPUTE,
    SCHEDULE_RUNNING,
    SWAP,
)
from llmqueue_gym.engines.batching.waiting_pass import admit, may_join
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.requests import PENDING

FEW = 8  # requests
PLAIN, PREFIXES, CLASSES = 0, 1, 2  # what is shown


@inner_kernel
def write_mask(e, r, rules, conduct, numbers, agent, ask, window, seats, mask):
    """Write which actions are open; see `systems.replica_view` for their order.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        numbers: any float64 array, for the functions that a policy would have.
        agent: which decisions are the agent's.
        ask: which one it is: ADMIT, EVICT or RANK; NOTHING where the run is over.
        window: slots of the queue.
        seats: slots of the running list.
        mask: `(E, n_actions)`, written.
    """
    system, actions = r.system[e], mask.shape[1]
    if ask in (RANK, NOTHING):
        for k in range(actions):
            mask[e, k] = 1
        return
    for k in range(actions):
        mask[e, k] = 0
    if ask == ADMIT:
        for k in range(min(window, system.waiting)):
            mask[e, k] = 1 if may_join(e, r, rules, conduct, None, numbers, row_at(e, r, k)) else 0
        any_open = False
        for k in range(window):
            any_open = any_open or mask[e, k] == 1
        mask[e, actions - 1] = 1 if system.running > 0 or not any_open else 0
    if agent & EVICTION:
        for k in range(min(seats, system.running)):
            if ask == EVICT or may_preempt(r.requests[r.running[e, k]]):
                mask[e, window + k] = mask[e, window + seats + k] = 1


@inner_kernel
def carry_out(e, r, rules, conduct, numbers, agent, ask, window, seats, action):
    """Carry out an action that is open; see `write_mask` for the arguments."""
    system, state = r.system[e], r.state[e]
    if ask == RANK:
        i = state.subject
        request = r.requests[i]
        request.rank = float(action)
        if request.status == PENDING:
            enqueue(e, r, i)
        return
    if ask == ADMIT and action < window:
        i = row_at(e, r, action)
        admit(e, r, rules, conduct, None, numbers, action)
        if conduct.accounts:
            charge_prompt(e, r, conduct, i)
    elif agent & EVICTION and action < window + 2 * seats:
        position = (action - window) % seats
        way = RECOMPUTE if action < window + seats else SWAP
        request = r.requests[r.running[e, position]]
        request.note = request.generated
        preempt(e, r, rules, conduct, None, numbers, position, way, system.blocks)
        if position < state.cursor:
            state.cursor -= 1
    else:
        first_prefills = rules.order == PREFILL_FIRST and state.admitted == 0
        state.phase = SCHEDULE_RUNNING if first_prefills else READY


@inner_kernel
def fallback(mask, e, ask, window, seats, running):
    """Return what stands for an action that is not open: admit the first that can be, run, or preempt the last."""
    if ask == EVICT:
        return window + min(seats, running) - 1
    for k in range(window):
        if mask[e, k] == 1:
            return k
    return mask.shape[1] - 1


@inner_kernel
def write_slot(e, slot, r, i, conduct, shows, clock, features):
    """Write what may be seen of request i; the columns are those of `systems.replica_view`."""
    request = r.requests[i]
    features[e, slot, 0] = 1.0
    features[e, slot, 1] = 1.0 if request.status > 1 else 0.0
    features[e, slot, 2] = request.prompt
    features[e, slot, 3] = request.generated
    features[e, slot, 4] = request.predicted
    features[e, slot, 5] = request.upper
    features[e, slot, 6] = request.computed
    features[e, slot, 7] = request.blocks
    features[e, slot, 8] = clock - request.arrival
    features[e, slot, 9] = clock - request.last_token
    features[e, slot, 10] = request.weight
    features[e, slot, 11] = request.preemptions
    if shows == PREFIXES:
        features[e, slot, 12] = request.cached
    if shows == CLASSES:
        left = request.deadline - clock if request.deadline < np.inf else 0.0
        request.received = account(e, r, conduct, i).received
        features[e, slot, 12] = request.klass
        features[e, slot, 13] = max(left, 0.0)
        features[e, slot, 14] = max(-left, 0.0)
        features[e, slot, 15] = request.tenant
        features[e, slot, 16] = request.received


@inner_kernel
def clear_slots(e, first, end, features):
    """Write zeros into slots that are empty; the rest of them has been empty since the last decision."""
    for slot in range(first, end):
        if features[e, slot, 0] == 0.0:
            return
        for column in range(features.shape[2]):
            features[e, slot, column] = 0.0


@inner_kernel
def observe(e, r, conduct, ask, window, seats, shows, dt, features, view):
    """Write what an agent sees of run e.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        conduct: as in `write_mask`.
        ask: as in `write_mask`.
        window: as in `write_mask`.
        seats: as in `write_mask`.
        shows: PLAIN, PREFIXES or CLASSES. What the cache holds of who waits has been looked up for the mask.
        dt: s since the last decision.
        features: `(E, slots, columns)`; they are those of `systems.replica_view`.
        view: `(E, columns)`, likewise.
    """
    system, state = r.system[e], r.state[e]
    clock, first = system.clock, features.shape[1] - window - seats
    if first > 0:  # a ranking agent: the request in question
        clear_slots(e, 0, first, features)
        if ask == RANK:
            write_slot(e, 0, r, state.subject, conduct, shows, clock, features)
    waiting = min(window, system.waiting)
    for k in range(waiting):
        write_slot(e, first + k, r, row_at(e, r, k), conduct, shows, clock, features)
    clear_slots(e, first + waiting, first + window, features)
    running = min(seats, system.running)
    for k in range(running):
        write_slot(e, first + window + k, r, r.running[e, k], conduct, shows, clock, features)
    clear_slots(e, first + window + running, features.shape[1], features)
    view[e, 0] = system.waiting
    view[e, 1] = system.waiting - waiting
    view[e, 2] = system.running
    view[e, 3] = system.free
    view[e, 4] = system.blocks
    view[e, 5] = state.budget
    view[e, 6] = system.step_time
    view[e, 7] = dt
    view[e, 8] = ask
    if shows == CLASSES:
        view[e, 9] = system.mean_step_time


@inner_kernel
def ask_for(e, r):
    """Ask for the rows that a step of run e will look at, because the tables of many runs lie in no near cache.

    They are so many in any case, because a number that is not known yet would have to be waited for; rows of requests
    that have left do no harm.
    """
    for k in range(min(FEW, r.running.shape[1])):
        i = r.running[e, k]
        prefetch(r.requests, i, 0)
        prefetch(r.requests, i, 64)
        prefetch(r.truth, i, 0)
    for k in range(min(FEW, r.waiting.shape[1])):
        i = row_at(e, r, k)
        prefetch(r.requests, i, 0)
        prefetch(r.requests, i, 64)
        if k == 0:
            prefetch(r.truth, i, 0)
    for k in range(2):
        i = r.inbox[e, (r.state[e].arrived + k) & (r.inbox.shape[1] - 1)]
        prefetch(r.requests, i, 0)
        prefetch(r.requests, i, 64)
        prefetch(r.requests, i, 128)
        prefetch(r.truth, i, 0)


@lean_kernel
def step_batch(
    r, steps, asks, actions, features, view, mask, rules, conduct, form, numbers, agent, window, seats, shows
):
    """Take one decision in each of E runs and write what came of it.

    Args:
        r: `ReplicaTables` of E runs.
        steps: `STEP` rows `(E,)`, written.
        asks: `(E,)`, what each agent was last asked, written.
        actions: `(E,)`, an action, START or SKIP. One that is not open stands for `fallback`.
        features: `(E, slots, columns)`, written by `observe`.
        view: `(E, columns)`, likewise.
        mask: `(E, n_actions)`, written by `write_mask`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        form: of the cost profile.
        numbers: of the cost profile `(k,)`.
        agent: which decisions are the agent's.
        window: slots of the queue.
        seats: slots of the running list.
        shows: PLAIN, PREFIXES or CLASSES.
    """
    for e in range(actions.shape[0]):
        action = actions[e]
        if e + 1 < actions.shape[0]:
            ask_for(e + 1, r)
        if action == SKIP:
            continue
        state, system, step = r.state[e], r.system[e], steps[e]
        clock, integral = system.clock, state.integral
        step.illegal = False
        if action == START:
            system.clock = r.requests[r.inbox[e, 0]].arrival
            clock = system.clock
        else:
            if mask[e, action] == 0:
                step.illegal = True
                action = fallback(mask, e, asks[e], window, seats, system.running)
            carry_out(e, r, rules, conduct, numbers, agent, asks[e], window, seats, action)
        ask = proceed(e, r, rules, conduct, form, numbers, agent, window, None, None, None, None, numbers, ENDLESS)
        asks[e] = ask
        step.reward = integral - state.integral
        step.dt = system.clock - clock
        step.clock = system.clock
        step.in_system = state.arrived - state.done
        step.terminated = state.reason == DRAINED
        step.truncated = ask == NOTHING and state.reason != DRAINED
        write_mask(e, r, rules, conduct, numbers, agent, ask, window, seats, mask)
        observe(e, r, conduct, ask, window, seats, shows, step.dt, features, view)
