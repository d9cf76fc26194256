"""Scheduling the running requests: a token for each decode, chunks for prefills, room made by preemption.

The numbers in brackets are those of vLLM's decision rules, as they are listed in `rules`.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.batch import count, count_decodes
from llmqueue_gym.engines.batching.kept import drop_kept
from llmqueue_gym.engines.batching.pool import blocks_for, clear_queue, count_taken, preempt, room_held_by_the_queue
from llmqueue_gym.engines.batching.sharing import occupy
from llmqueue_gym.engines.batching.tables import AS_RULES, DECODE_FIRST, RESERVE
from llmqueue_gym.requests import DECODING, PREFILLING

THERE, GONE, MUST_EVICT = 0, 1, 2


@inner_kernel
def wanted_tokens(request, due, limit, budget, rules):
    """Return the tokens that a running request computes next: what is known or due but not computed, within limits."""
    tokens = request.prompt + request.generated + due - request.computed
    if tokens > limit:
        tokens = limit
    return min(tokens, budget, rules.max_model_len - request.computed - 1)


@part_kernel
def wanted_in_flight(request, truth, limit, budget, rules):
    """Do the same while a step is in flight: what that gives counts as known [24], unless it is the last token [25]."""
    if request.due > 0 and rules.ends_known and request.computed + 2 - request.due >= request.prompt + truth.output:
        return 0
    return wanted_tokens(request, request.due, limit, budget, rules)


@part_kernel
def value_of(request, system, conduct, rank, victim, params):
    """Return how readily a running request is preempted: by the policy's `victim` function, else by its rank now."""
    if victim is not None:
        if conduct.has_victim:
            return victim(request, system, params)
    if rank is not None:
        return rank(request, system, params)
    return request.rank


@part_kernel
def choose_victim(e, r, conduct, rank, victim, params):
    """Return the position in the running list of the request to preempt [7].

    It is the last one, or for a policy with ranks the one of largest value; among equals the last arrival, and among
    those the first in the list.
    """
    system, running = r.system[e], r.running
    if not conduct.ranked:
        return system.running - 1
    best, most, latest = system.running - 1, -np.inf, -np.inf
    for k in range(system.running):
        request = r.requests[running[e, k]]
        value = value_of(request, system, conduct, rank, victim, params)
        if value > most or (value == most and request.arrival > latest):
            best, most, latest = k, value, request.arrival
    return best


@part_kernel
def make_room(e, r, rules, conduct, rank, victim, params, asks, i, ahead):
    """Free the blocks that a running request needs to hold `ahead` tokens, preempting others or itself.

    The request is at the cursor, which is moved along with it where one before it is preempted.

    Returns:
        THERE, GONE (it had to go itself), or MUST_EVICT (the agent chooses).
    """
    system, state, request = r.system[e], r.state[e], r.requests[i]
    if conduct.admission == RESERVE and ahead > request.blocks * rules.block_size:  # it outgrew what was reserved
        preempt(e, r, rules, conduct, rank, params, state.cursor % rules.max_seqs, AS_RULES, system.blocks)
        return GONE
    while True:
        missing = blocks_for(ahead, rules.block_size) - request.blocks - system.free
        if missing <= 0 and rules.room_for_one and system.free == 0:
            missing = 1
        if missing > 0 and rules.keep_head:
            room_held_by_the_queue(e, r, rules, system.free + missing)
            missing = blocks_for(ahead, rules.block_size) - request.blocks - system.free
        if missing > 0 and state.kept > 0:
            drop_kept(e, r, system.free + missing)
            continue
        if missing <= 0:
            return THERE
        if state.keeps and system.running == 1 and clear_queue(e, r, rules):  # else it could go and come for ever
            continue
        if asks:
            return MUST_EVICT
        k = state.cursor % rules.max_seqs
        v = choose_victim(e, r, conduct, rank, victim, params)
        # Where the priority pass stops, the cursor follows only those that were in this step.
        moves = v < k and (not (rules.priority_stops and conduct.ranked) or r.requests[r.running[e, v]].scheduled > 0)
        preempt(e, r, rules, conduct, rank, params, v, AS_RULES, missing)
        if v == k:
            return GONE
        if moves:
            state.cursor -= 1


@inner_kernel
def schedule_running(e, r, rules, conduct, rank, victim, params, asks, plain):
    """Schedule the running requests in order, from the cursor on [4 to 8].

    With DECODE_FIRST the list is gone through twice: first for decodes, then for prefills.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        rank: rank function, or None.
        victim: victim function, or None.
        params: parameters of both.
        asks: whether an agent chooses whom to preempt.
        plain: as in `run_model`.

    Returns:
        MUST_EVICT where the agent has to preempt somebody first, else THERE.
    """
    system, state, requests, running = r.system[e], r.state[e], r.requests, r.running[e]
    decode_first, size, lookahead, n = rules.order == DECODE_FIRST, rules.block_size, rules.lookahead, system.running
    seats, limit, room_for_one, reserved = rules.max_seqs, state.limit, rules.room_for_one, conduct.admission == RESERVE
    caching, asynchronous = rules.caching and not plain, rules.asynchronous and not plain
    end = 2 * seats if decode_first else seats
    cursor, budget, decoding, context = state.cursor, state.budget, 0, 0.0  # copies, so that they stay in registers
    while cursor < end and budget > 0:
        second = cursor >= seats
        k = cursor - seats if second else cursor
        if k >= n:
            cursor += seats - k
            continue
        i = running[k]
        request = requests[i]
        decodes = request.status == DECODING
        if decode_first and decodes == second:
            cursor += 1
            continue
        if asynchronous:
            tokens = wanted_in_flight(request, r.truth[i], limit, budget, rules)
        else:
            tokens = 1 if decodes else wanted_tokens(request, 0, limit, budget, rules)
        if tokens <= 0:
            cursor += 1
            continue
        ahead, taken = request.computed + tokens + lookahead, 0
        if ahead > request.blocks * size or (room_for_one and decodes and system.free == 0):
            if reserved or room_for_one or ahead > (request.blocks + system.free) * size:
                state.cursor, state.budget = cursor, budget
                count_decodes(state.batch, decoding, context)
                decoding, context = 0, 0.0
                found = make_room(e, r, rules, conduct, rank, victim, params, asks, i, ahead)
                cursor, budget, n = state.cursor, state.budget, system.running
                if found == MUST_EVICT:
                    return MUST_EVICT
                if found == GONE:
                    if rules.priority_stops or (rules.asker_stops and not conduct.ranked):
                        break
                    continue
            taken = count_taken(e, r, i, ahead, size)
        if caching:
            known = min(request.computed + tokens, request.prompt + request.generated)
            occupy(r.cells, state, system, request, r.truth[i], taken, known, size)
        request.scheduled = tokens
        budget -= tokens
        cursor += 1
        if decodes:
            decoding += 1
            context += request.computed + 1
        else:
            count(state.batch, request, 1)
    state.cursor, state.budget = cursor, budget
    count_decodes(state.batch, decoding, context)
    return THERE


@part_kernel
def status_on_admission(request):
    """Return DECODING for a request that comes back with all but its last token computed, else PREFILLING."""
    if request.generated > 0 and request.computed == request.prompt + request.generated - 1:
        return DECODING
    return PREFILLING
