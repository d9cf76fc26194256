"""One queue for all: in each iteration running and waiting requests are served together in order of rank.

Policies such as LTR, FastServe and SLAI work so. A running request that is left out keeps its cache until somebody
needs the memory, or loses it at once if the policy does not keep.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.batch import count
from llmqueue_gym.engines.batching.pool import blocks_for, preempt, take
from llmqueue_gym.engines.batching.queue import find, row_at
from llmqueue_gym.engines.batching.running_pass import value_of, wanted_in_flight
from llmqueue_gym.engines.batching.sharing import hold_tokens, look_up
from llmqueue_gym.engines.batching.tables import AS_RULES
from llmqueue_gym.engines.batching.waiting_pass import admit, first_chunk, room_to_join
from llmqueue_gym.requests import WAITING


@inner_kernel
def goes_first(a, b):
    """Whether entry `a` of the heap is served before entry `b`: by rank, then by place, as in `queue.precedes`."""
    return a.key < b.key or (a.key == b.key and a.value < b.value)


@part_kernel
def sift(notes, k, n):
    """Let entry k of a binary heap of n entries sink to its place; the first served is on top."""
    row, rank, place = notes[k].order, notes[k].key, notes[k].value
    while True:
        child = 2 * k + 1
        if child >= n:
            break
        if child + 1 < n and goes_first(notes[child + 1], notes[child]):
            child += 1
        other = notes[child]
        if rank < other.key or (rank == other.key and place < other.value):
            break
        notes[k].order, notes[k].key, notes[k].value = other.order, other.key, other.value
        k = child
    notes[k].order, notes[k].key, notes[k].value = row, rank, place


@part_kernel
def note_rank(notes, n, i, request):
    """Note the rank of request i, which was preempted while it was in the heap; it stays where it is."""
    for k in range(n):
        if notes[k].order == i:
            notes[k].key, notes[k].value = request.rank, request.place


@part_kernel
def last_holder(e, r, conduct, rank, victim, params, i):
    """Return the position of the running request to preempt for request i: of largest value, not yet in the batch.

    It is -1 where there is none; request i itself is not chosen.
    """
    system, running = r.system[e], r.running
    best, most = -1, -np.inf
    for k in range(system.running):
        row = running[e, k]
        request = r.requests[row]
        if row != i and request.scheduled == 0 and request.blocks > 0:
            value = value_of(request, system, conduct, rank, victim, params)
            if value > most or best < 0:
                best, most = k, value
    return best


@part_kernel
def missing_blocks(e, r, rules, i, need):
    """Return how many free blocks are missing until request i has as many as it needs."""
    missing = need - r.requests[i].blocks - r.system[e].free
    if rules.caching and r.requests[i].status == WAITING:
        look_up(e, r, i, rules.block_size)
        missing -= r.state[e].hits - r.state[e].idle_hits
    return missing


@part_kernel
def schedule_merged(e, r, rules, conduct, rank, victim, length, params):
    """Fill the batch in order of rank, until tokens, seats or memory are out.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        rank: rank function.
        victim: victim function.
        length: length function.
        params: parameters of all three.
    """
    system, state, requests = r.system[e], r.state[e], r.requests
    notes, n = r.notes[e], 0
    for k in range(system.running):
        notes[n].order = r.running[e, k]
        n += 1
    for k in range(system.waiting):
        notes[n].order = row_at(e, r, k)
        n += 1
    for k in range(n):
        request = requests[notes[k].order]
        request.rank = rank(request, system, params)
        notes[k].key, notes[k].value = request.rank, request.place
    for k in range(n // 2 - 1, -1, -1):
        sift(notes, k, n)
    seats = rules.max_seqs
    while n > 0 and seats > 0 and state.budget > 0:
        i = notes[0].order
        n -= 1
        notes[0].order, notes[0].key, notes[0].value = notes[n].order, notes[n].key, notes[n].value
        sift(notes, 0, n)
        request = requests[i]
        waits = request.status == WAITING
        if waits:
            if rules.caching:
                look_up(e, r, i, rules.block_size)
            tokens = first_chunk(request, state, rules)
        else:
            tokens = wanted_in_flight(request, r.truth[i], state.limit, state.budget, rules)
        if tokens <= 0:
            break
        if waits:
            room = room_to_join(request, system, state, rules, conduct, length, params, tokens)
            need = blocks_for(room, rules.block_size)
            if system.running > 0:
                need += rules.watermark
        else:
            need = blocks_for(request.computed + tokens + rules.lookahead, rules.block_size)
        missing = missing_blocks(e, r, rules, i, need)
        while missing > 0 and (conduct.displaces or not waits):
            v = last_holder(e, r, conduct, rank, victim, params, i)
            if v < 0:
                break
            gone = r.running[e, v]
            preempt(e, r, rules, conduct, rank, params, v, AS_RULES, system.blocks)
            note_rank(notes, n, gone, requests[gone])
            missing = missing_blocks(e, r, rules, i, need)
        if missing > 0:
            if waits and not conduct.displaces:
                continue
            break
        if waits:
            admit(e, r, rules, conduct, length, params, find(e, r, i))
        else:
            take(e, r, i, request.computed + tokens + rules.lookahead, rules.block_size)
            if rules.caching:
                known = request.prompt + request.generated
                hold_tokens(e, r, i, min(request.computed + tokens, known), rules.block_size)
            request.scheduled = tokens
            state.budget -= tokens
            count(state.batch, request, 1)
        seats -= 1
    while not conduct.keeps or system.free < conduct.spare:
        v = last_holder(e, r, conduct, rank, victim, params, -1)
        if v < 0:
            break
        preempt(e, r, rules, conduct, rank, params, v, AS_RULES, system.blocks)
