"""Requests move from replicas of little freeness to those of much, as in Llumnix.

Every so often the replica of least freeness (free blocks without those that its queue needs, over its requests) is
paired with the one of most, the second least with the second most, and so on. Of a pair, the request that was admitted
last goes over if the target keeps so much freeness and the gap between both becomes smaller, but does not change its
sign. It leaves at the end of the iteration that it is in, and waits at the target like one that came from elsewhere.

Llumnix copies blocks while a request decodes on, and stops it for the last of them; here it stops for all. So a move
costs a request the whole transfer.

Source: Sun et al., "Llumnix: Dynamic Scheduling for Large Language Model Serving", OSDI 2024; AlibabaPAI/llumnix,
pair migration with the balanced constraint and the request rule LCR.
"""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.pool import blocks_for
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.tables import BEGIN
from llmqueue_gym.engines.fleet.sites import fits
from llmqueue_gym.engines.fleet.tables import ON
from llmqueue_gym.engines.fleet.transfers import hand_over
from llmqueue_gym.requests import DECODING, PREFILL


@part_kernel
def wanted_blocks(g, f, r):
    """Return how many blocks the requests that wait at replica g will need beyond those they have."""
    state, size, blocks = r.state[g], f.rules[g % len(f.forms)].block_size, 0
    for k in range(r.system[g].waiting):
        request = r.requests[row_at(g, r, k)]
        blocks += max(blocks_for(request.prompt + request.generated, size) - request.blocks, 0)
    for k in range(state.arrived, state.n):
        request = r.requests[r.inbox[g, k & (r.inbox.shape[1] - 1)]]
        blocks += max(blocks_for(request.prompt + request.generated, size) - request.blocks, 0)
    return blocks


@part_kernel
def freeness(g, f, r, blocks, requests):
    """Return the freeness of replica g with so many blocks and requests more; infinity where it is idle."""
    system, state = r.system[g], r.state[g]
    here = system.running + system.waiting + state.n - state.arrived + requests
    return (system.free - wanted_blocks(g, f, r) - blocks) / here if here > 0 else np.inf


@part_kernel
def extreme(f, sign):
    """Return the replica of least (sign 1) or most (-1) freeness in `scores`, -1 where no number is left."""
    best = -1
    for q in range(len(f.scores)):
        if not np.isnan(f.scores[q]) and (best < 0 or sign * f.scores[q] < sign * f.scores[best]):
            best = q
    return best


@part_kernel
def last_admitted(g, r):
    """Return the request that decodes at replica g and was admitted last, -1 where none does."""
    for k in range(r.system[g].running - 1, -1, -1):
        if r.requests[r.running[g, k]].status == DECODING:
            return r.running[g, k]
    return -1


@part_kernel
def pair_up(e, f, r, course):
    """Note of each pair of replicas of run e who is to leave, and for where."""
    first = e * len(f.forms)
    for q in range(len(f.forms)):
        member = f.members[first + q]
        takes_part = member.power == ON and member.role != PREFILL
        f.scores[q] = freeness(first + q, f, r, 0, 0) if takes_part else np.nan
    for _ in range(len(f.forms) // 2):
        s, d = extreme(f, 1), extreme(f, -1)
        if s < 0 or s == d:
            return
        gap, source = f.scores[d] - f.scores[s], f.members[first + s]
        f.scores[s] = f.scores[d] = np.nan
        i = last_admitted(first + s, r)
        if i < 0 or source.leaving >= 0 or not fits(f, r, d, i):
            continue
        need = blocks_for(r.requests[i].computed + 1, f.rules[d].block_size)
        there = freeness(first + d, f, r, need, 1)
        after = there - freeness(first + s, f, r, -r.requests[i].blocks, -1)
        if there >= course.migrate_floor and 0 <= after < gap:
            source.leaving, source.goes_to, source.emits = i, d, True


@part_kernel
def migrate(e, f, r, course):
    """Let those leave whose iteration has ended, and look for others where it is time to."""
    first, fleet = e * len(f.forms), f.fleet[e]
    if fleet.next_migration <= fleet.clock:
        fleet.next_migration += course.migrate_every
        pair_up(e, f, r, course)
    for g in range(first, first + len(f.forms)):
        member = f.members[g]
        if member.leaving < 0 or r.state[g].phase != BEGIN:
            continue
        i = member.leaving
        member.leaving = -1
        member.emits = r.state[g].hands_over or course.follows or member.awaited > 0
        target, stays = f.members[first + member.goes_to], r.requests[i].site != g - first
        if stays or r.requests[i].status != DECODING or target.power != ON or target.role == PREFILL:
            continue
        if not fits(f, r, member.goes_to, i):  # it had a token since, perhaps the last that fits there
            continue
        fleet.source = g - first
        hand_over(e, f, r, i, member.goes_to, course)
        fleet.source = -1
        fleet.migrations += 1
