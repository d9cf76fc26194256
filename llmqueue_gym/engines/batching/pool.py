"""The KV block pool: how many blocks a request needs, taking them, and giving them back by preemption."""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.batch import count
from llmqueue_gym.engines.batching.kept import drop_kept
from llmqueue_gym.engines.batching.queue import enqueue, row_at
from llmqueue_gym.engines.batching.sharing import release, take_blocks
from llmqueue_gym.engines.batching.tables import AS_RULES, RECOMPUTE, SWAP
from llmqueue_gym.requests import PREFILLING


@part_kernel
def blocks_for(tokens, block_size):
    """Return the blocks that hold so many tokens."""
    return (tokens + block_size - 1) // block_size


@inner_kernel
def promised_blocks(request, block_size):
    """Return the blocks that a request takes in the end, by the prediction on arrival."""
    return blocks_for(request.prompt + max(np.int64(request.first_predicted), 1), block_size)


@inner_kernel
def reserved_blocks(request, block_size):
    """Return the blocks that a replica counts on for a request: in the end, or until it goes on elsewhere."""
    return blocks_for(request.prompt + 1, block_size) if request.goes_on else promised_blocks(request, block_size)


@inner_kernel
def take(e, r, i, tokens, block_size):
    """Give request i the blocks that `tokens` tokens need, beyond those it has."""
    need = count_taken(e, r, i, tokens, block_size)
    if need > 0 and r.state[e].caching:
        take_blocks(e, r, i, need, block_size)


@inner_kernel
def count_taken(e, r, i, tokens, block_size):
    """Do what `take` does where blocks have no identities; return how many were taken."""
    request, need = r.requests[i], 0
    if tokens > request.blocks * block_size:
        need = 1  # in most cases, and a division takes its time
        if tokens > (request.blocks + 1) * block_size:
            need = blocks_for(tokens, block_size) - request.blocks
        request.blocks += need
        r.system[e].free -= need
        r.state[e].most_blocks = max(r.state[e].most_blocks, r.system[e].blocks - r.system[e].free)
    return need


@part_kernel
def give_up(e, r, rules, i, way, wanted):
    """Take the blocks of a preempted request.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        i: row of the request.
        way: RECOMPUTE, SWAP or FREE.
        wanted: blocks that are missing; with `keep_head` no more than those are taken, from the tail of the cache.
    """
    request, service = r.requests[i], r.truth[i].service
    r.state[e].blocked = 0  # there is room for who was refused
    if way == RECOMPUTE:
        if rules.keep_head and wanted < request.blocks:
            lost = wanted
        else:
            lost = request.blocks
        if rules.forget_unread and request.status == PREFILLING and request.computed > 0:
            # Vidur's trap: what is not read yet of the prompt becomes output to generate.
            r.truth[i].output += request.prompt - request.computed
            r.state[e].made -= request.generated
            known = reserved_blocks(request, rules.block_size)
            request.prompt, request.generated = request.computed, 0
            r.state[e].fulfilled += known - reserved_blocks(request, rules.block_size)
        if lost == request.blocks:
            release(e, r, i)
        else:
            request.blocks -= lost
            r.system[e].free += lost
        kept = min(request.computed, request.blocks * rules.block_size)
        service.recomputed += request.computed - kept
        request.computed = kept
        return
    if way == SWAP:
        r.state[e].moved += request.blocks
        service.swapped += request.blocks
    release(e, r, i)


@part_kernel
def preempt(e, r, rules, conduct, rank, params, position, way, wanted):
    """Send the request at a position of the running list back to the queue.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        rank: rank function, or None.
        params: its parameters.
        position: in the running list.
        way: RECOMPUTE, SWAP, FREE or AS_RULES.
        wanted: as in `give_up`.
    """
    system, state, running = r.system[e], r.state[e], r.running
    i = running[e, position]
    request = r.requests[i]
    system.running -= 1
    for k in range(position, system.running):
        running[e, k] = running[e, k + 1]
    if request.scheduled > 0:
        state.budget += request.scheduled
        count(state.batch, request, -1)
        request.scheduled = 0
    if way == AS_RULES:
        way = rules.preemption if conduct.preemption == AS_RULES else conduct.preemption
    give_up(e, r, rules, i, way, wanted)
    request.preemptions += 1
    state.preemptions += 1
    r.notes[e, state.victims].victim = i
    state.victims += 1
    if conduct.ranked:
        if rank is not None:
            request.rank = rank(request, system, params)
    else:  # to the front
        state.first_place -= 1
        request.place = state.first_place
    enqueue(e, r, i)


@part_kernel
def room_held_by_the_queue(e, r, rules, wanted):
    """Let preempted requests in the queue give up kept blocks, the last of them first, until `wanted` are free."""
    system = r.system[e]
    for k in range(system.waiting - 1, -1, -1):
        if system.free >= wanted:
            return
        i = row_at(e, r, k)
        if r.requests[i].blocks > 0:
            give_up(e, r, rules, i, RECOMPUTE, wanted - system.free)


@part_kernel
def clear_queue(e, r, rules):
    """Let all in the queue, and all who are away, give up kept blocks; return whether any came free."""
    before = r.system[e].free
    drop_kept(e, r, r.system[e].blocks)
    room_held_by_the_queue(e, r, rules, r.system[e].blocks)
    return r.system[e].free > before


@part_kernel
def is_swapped(request):
    """Whether the cache of a waiting request lies on the host, so that it comes back by a transfer."""
    return request.computed > 0 and request.blocks == 0
