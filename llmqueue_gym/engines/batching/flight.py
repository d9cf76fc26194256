"""Two steps in flight: while one computes, the next one is put together, before the tokens of the first are known.

The numbers in brackets are those of vLLM's decision rules, as they are listed in `rules`. A step is put together when
the one before begins to compute; so arrivals and freed blocks act one step later than without.
"""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.batch import copy, empty
from llmqueue_gym.engines.batching.comings import let_leave, note_leaver, tokens_left
from llmqueue_gym.engines.batching.iteration import duration, note_made, pass_time, refresh
from llmqueue_gym.engines.batching.queue import dequeue, find
from llmqueue_gym.engines.batching.sharing import hold_tokens
from llmqueue_gym.engines.batching.tables import LIVELOCK, TIMELESS
from llmqueue_gym.requests import DECODING, DONE, WAITING


@part_kernel
def board(e, r):
    """Count the scheduled tokens as computed [17], and the output tokens that they give as due [24]."""
    state, notes, n = r.state[e], r.notes[e], 0
    for k in range(r.system[e].running):
        i = r.running[e, k]
        request = r.requests[i]
        if request.scheduled > 0:
            request.computed += request.scheduled
            request.scheduled = 0
            notes[n].boarding = ~i
            if request.computed == request.prompt + request.generated + request.due:
                request.due += 1
                request.status = DECODING
                notes[n].boarding = i
            n += 1
    state.boarding = n


@part_kernel
def launch(e, r, rules, form, numbers):
    """Let the step that was put together compute from now on."""
    state, notes = r.state[e], r.notes[e]
    for k in range(state.boarding):
        notes[k].flying = notes[k].boarding
    state.flying = state.boarding
    copy(state.batch, state.flight)
    state.flight_time, _ = duration(e, r, rules, form, numbers)
    state.in_flight = True
    if not 0.0 <= state.flight_time < np.inf:
        state.reason = TIMELESS


@part_kernel
def land(e, r, rules):
    """Let the step in flight end: its tokens are known, also those of preempted requests, and who is done leaves [25].

    What it computed for a request that has left meanwhile is dropped.
    """
    system, state, notes, running = r.system[e], r.state[e], r.notes[e], r.running
    start, every, made = system.clock, state.every, 0
    pass_time(e, r, state.flight, state.flight_time)
    now = system.clock
    state.barren += 1
    state.refreshed = 0
    for k in range(state.flying):
        i = notes[k].flying
        samples = i >= 0
        if not samples:
            i = ~i
        request, truth = r.requests[i], r.truth[i]
        if request.status == DONE:
            continue
        request.last_scheduled = now
        if request.generated == 0 and np.isnan(truth.service.scheduled):
            truth.service.scheduled = start
        if not samples:
            continue
        made += 1
        if request.generated > 0:
            request.longest_gap = max(request.longest_gap, now - request.last_token)
        elif np.isnan(truth.service.first_token):
            truth.service.first_token = now
        request.generated += 1
        request.due -= 1
        request.last_token = now
        if rules.caching and request.status != WAITING:  # others find what is known and computed by now [20]
            hold_tokens(e, r, i, request.computed - request.due, rules.block_size)
        if state.looked == i + 1:  # a block more may be looked for
            state.looked = 0
        if every > 0 and request.generated % every == 0:
            refresh(e, r, i)
            notes[state.refreshed].renewed = i
            state.refreshed += 1
        if tokens_left(request, truth, rules) <= 0:
            if request.status == WAITING:
                dequeue(e, r, find(e, r, i))
            note_leaver(e, r, i)
    let_leave(e, r, rules)
    stay = 0
    for k in range(system.running):
        if r.requests[running[e, k]].status != DONE:
            running[e, stay] = running[e, k]
            stay += 1
    system.running = stay
    state.in_flight, state.flying, state.flight_time = False, 0, 0.0
    empty(state.flight)
    note_made(state, made)
    if state.barren > rules.patience:
        state.reason = LIVELOCK
