"""Requests go to replicas, leave them for others, and lose what they had where one vanishes."""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.block_pass import gains, stay_here
from llmqueue_gym.engines.batching.block_queue import remove, row_of, stands_for_itself
from llmqueue_gym.engines.batching.comings import leave
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.sharing import release
from llmqueue_gym.engines.batching.tables import BY_BLOCKS, BY_TURNS
from llmqueue_gym.engines.fleet.caches import claim, free_behind, has_room, leave_behind, settle
from llmqueue_gym.engines.fleet.events import cancel, note
from llmqueue_gym.engines.fleet.power import turn_off
from llmqueue_gym.engines.fleet.promises import forget_promises, keep_promises_here, lend_room, promise
from llmqueue_gym.engines.fleet.retention import lose_kept
from llmqueue_gym.engines.fleet.tables import MOVED, OFF, RETRIED, RETURNS, SENT
from llmqueue_gym.requests import DONE, MOVING, PENDING, PREFILL, WAITING


@part_kernel
def send(e, f, r, i, q, course):
    """Put request i into the inbox of replica q of run e, now."""
    g = e * len(f.forms) + q
    state, request = r.state[g], r.requests[i]
    request.site, request.ready = q, f.fleet[e].clock
    request.goes_on = f.flows[i].target != q if course.paired else f.members[g].role == PREFILL
    request.place = state.n  # among equals who came here first is first
    r.inbox[g, state.n & (r.inbox.shape[1] - 1)] = i
    if len(f.calls) > 0:
        f.calls[i].place = SENT
    state.n += 1
    state.sent += 1
    if state.arrived == state.n - 1:
        state.next = request.ready


@part_kernel
def pull(e, f, r, g, i):
    """Take request i, which was read at replica g or decodes there, out of its lists; what it holds there stays."""
    system, state, position = r.system[g], r.state[g], 0
    if r.requests[i].status == WAITING:  # the rest of its tokens is in the queue already, see `block_pass`
        remove(g, r, ~i)
    else:
        while r.running[g, position] != i:
            position += 1
        system.running -= 1
        for k in range(position, system.running):
            r.running[g, k] = r.running[g, k + 1]
    r.inbox[g, state.done & (r.inbox.shape[1] - 1)] = -1
    state.done += 1
    f.members[g].pulled += 1
    state.cost_rate -= r.truth[i].cost
    state.calm, state.blocked = False, 0  # the next iteration is looked at by itself
    f.fleet[e].pulled += 1


@part_kernel
def hand_over(e, f, r, i, q, course):
    """Let request i, which replica `fleet.source` has read, go on at replica q of run e, unless that one is off."""
    first, source = e * len(f.forms), f.fleet[e].source
    f.fleet[e].handed += 1
    if q == source or f.members[first + q].power == OFF:
        keep_promises_here(e, f, r, i, source, course)
        if f.rules[source].batching == BY_BLOCKS and r.requests[i].goes_on:
            r.requests[i].goes_on = 0
            stay_here(first + source, r, f.rules[source], i)
        r.requests[i].goes_on = 0
        return
    request, flow, target = r.requests[i], f.flows[i], f.members[first + q]
    pull(e, f, r, first + source, i)
    if not request.goes_on:
        promise(e, f, r, i, source, -1)
    if not (course.paired and request.goes_on and flow.target == q):
        forget_promises(e, f, r, i, source, course)
        promise(e, f, r, i, q, 1)
    flow.source, flow.target, flow.next, flow.order = source, q, -1, -1
    leave_behind(r, first + source, i, flow)
    request.status = MOVING
    f.members[first + source].outbound += 1
    target.inbound += 1
    target.inbound_tokens += request.prompt
    if course.retry > 0:
        try_transfer(e, f, r, i, course)
        return
    if target.head < 0:
        target.head = target.tail = i
    else:
        f.flows[target.tail].next = i
        target.tail = i
    target.awaited += 1
    begin_transfers(e, f, r, first + q, course)


@part_kernel
def transfer(e, f, r, i, course):
    """Let request i move to its target, where it takes its room, as far as it is not there; return whether it can."""
    request, flow = r.requests[i], f.flows[i]
    g, size = e * len(f.forms) + flow.target, f.rules[flow.target].block_size
    found = 0
    if f.rules[flow.target].batching != BY_TURNS:  # which looks at no memory
        found = claim(r, g, i, size)
        if found < 0:
            return False
    moved = (request.computed - found) * f.bytes_each[flow.source]
    link = flow.source, flow.target
    time = (1.0 - course.overlapped) * moved * f.byte_time[link] + f.latency[link]
    flow.order = note(e, f, f.fleet[e].clock + time, MOVED, i)
    f.fleet[e].transfers += 1
    f.fleet[e].transfer_bytes += moved
    f.fleet[e].spared_tokens += found
    return True


@part_kernel
def try_transfer(e, f, r, i, course):
    """Begin the transfer of request i, or note when it is tried again."""
    if not transfer(e, f, r, i, course):
        f.flows[i].order = note(e, f, f.fleet[e].clock + course.retry, RETRIED, i)


@part_kernel
def only_tries(e, f, r, course):
    """Whether nothing runs in run e, and nothing is to come but transfers that find no room."""
    fleet, first = f.fleet[e], e * len(f.forms)
    if fleet.events == 0 or fleet.arrived < fleet.sent or course.tick < np.inf:
        return False
    for g in range(first, first + len(f.forms)):
        if r.system[g].running > 0 or r.state[g].ends < np.inf or r.state[g].arrived < r.state[g].n:
            return False
    for k in range(fleet.events):
        if f.events[e, k].kind != RETRIED:
            return False
        i = f.events[e, k].subject
        q = f.flows[i].target
        if f.rules[q].batching == BY_TURNS or has_room(r, first + q, i, f.rules[q].block_size):
            return False
    return True


@part_kernel
def begin_transfers(e, f, r, g, course):
    """Begin the transfers that wait for room at replica g, in order, as far as there is room."""
    member = f.members[g]
    while member.head >= 0 and transfer(e, f, r, member.head, course):
        member.head = f.flows[member.head].next
        member.awaited -= 1
    member.emits = r.state[g].hands_over or course.follows or member.awaited > 0 or member.leaving >= 0


@part_kernel
def arrive_from_elsewhere(e, f, r, i, course):
    """End the transfer of request i: its source forgets it, and it joins its target."""
    flow, first = f.flows[i], e * len(f.forms)
    source, g = first + flow.source, first + flow.target
    free_behind(r, source, i, flow)
    settle(r, g, i, f.rules[flow.target].block_size)
    if r.requests[i].goes_on:
        lend_room(e, f, r, i, flow.source, -1)
    if gains(source, r, f.rules[flow.source]):
        r.state[source].blocked = 0
    f.members[source].outbound -= 1
    f.members[g].inbound -= 1
    f.members[g].inbound_tokens -= r.requests[i].prompt
    r.requests[i].status = PENDING
    r.state[g].keeps = True
    flow.order = -1
    send(e, f, r, i, flow.target, course)
    r.requests[i].goes_on = 0  # it is promised to this replica, even if that one reads for others
    if f.members[source].awaited > 0:
        begin_transfers(e, f, r, source, course)


@part_kernel
def forget(e, f, r, i):
    """Let request i lose its cache and come back to the router at once."""
    request = r.requests[i]
    r.truth[i].service.recomputed += request.computed
    request.computed = request.blocks = request.scheduled = request.due = 0
    request.status = PENDING
    f.fleet[e].lost += 1
    f.fleet[e].pulled += 1
    note(e, f, f.fleet[e].clock, RETURNS, i)


@part_kernel
def vanish(e, f, r, q, course):
    """Let replica q of run e be gone at once; its requests begin anew elsewhere, but for those that have all tokens."""
    first = e * len(f.forms)
    g, fleet = first + q, f.fleet[e]
    system, state, member = r.system[g], r.state[g], f.members[g]
    if len(f.calls) > 0:
        lose_kept(e, f, r, q)
    done = state.done
    for k in range(system.running):
        i = r.running[g, k]
        release(g, r, i)
        if r.requests[i].status == DONE:  # it waited for the rest of its batch
            system.clock = max(system.clock, fleet.clock)
            leave(g, r, f.rules[q], i)
            continue
        forget_promises(e, f, r, i, q, course)
        forget(e, f, r, i)
    for k in range(system.waiting):
        i = row_of(row_at(g, r, k))
        if not stands_for_itself(r, f.rules[q], row_at(g, r, k)):
            continue
        release(g, r, i)
        forget_promises(e, f, r, i, q, course)
        forget(e, f, r, i)
    for k in range(state.arrived, state.n):
        i = r.inbox[g, k & (r.inbox.shape[1] - 1)]
        release(g, r, i)
        forget_promises(e, f, r, i, q, course)
        forget(e, f, r, i)
    for i in range(fleet.first, fleet.first + fleet.n):
        request, flow = r.requests[i], f.flows[i]
        if request.status == MOVING and q in (flow.source, flow.target):
            drop_flow(e, f, r, i, q)
        elif course.paired and request.goes_on and flow.target == q:
            flow.target = request.site  # it is to go on nowhere yet
    member.head = member.tail = member.leaving = -1
    member.awaited = member.inbound = member.inbound_tokens = member.outbound = 0
    member.emits = False
    ring, ended = r.inbox.shape[1] - 1, state.done - done
    for k in range(ended - 1, -1, -1):  # those who follow them come yet
        r.inbox[g, (state.n - ended + k) & ring] = r.inbox[g, (done + k) & ring]
    member.done = state.n - ended
    state.done = state.arrived = member.pulled = state.n
    member.promised, member.reserved = 0, state.fulfilled
    system.running = system.waiting = state.head = 0
    system.free = system.blocks
    state.in_flight, state.flying = False, 0
    state.next, state.phase, state.cost_rate, state.blocked, state.calm = float("inf"), 0, 0.0, 0, False
    state.ends = float("inf")
    turn_off(e, f, r, g)
    for k in range(first, first + len(f.forms)):
        if f.members[k].awaited > 0:  # there may be room now
            begin_transfers(e, f, r, k, course)


@part_kernel
def drop_flow(e, f, r, i, q):
    """Break off the transfer of request i because replica q is gone."""
    first, flow = e * len(f.forms), f.flows[i]
    if flow.order >= 0:
        cancel(e, f, flow.order)
    if flow.target != q:
        target = f.members[first + flow.target]
        target.inbound -= 1
        target.inbound_tokens -= r.requests[i].prompt
        promise(e, f, r, i, flow.target, -1)
        if flow.order < 0:  # it waited for room there
            unlink(f, target, i)
    if flow.source != q:
        if r.requests[i].goes_on:
            lend_room(e, f, r, i, flow.source, -1)
        f.members[first + flow.source].outbound -= 1
        r.state[first + flow.source].blocked = 0
    release(first + flow.target, r, i)
    free_behind(r, first + flow.source, i, flow)
    r.state[first + flow.target].looked = 0  # it may look there again, after it has looked elsewhere
    flow.order = -1
    forget(e, f, r, i)
    f.fleet[e].pulled -= 1  # it had been pulled already


@part_kernel
def unlink(f, target, i):
    """Take request i out of those that wait for room at a replica."""
    target.awaited -= 1
    if target.head == i:
        target.head = f.flows[i].next
        return
    k = target.head
    while f.flows[k].next != i:
        k = f.flows[k].next
    f.flows[k].next = f.flows[i].next
    if target.tail == i:
        target.tail = k
