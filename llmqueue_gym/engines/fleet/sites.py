"""What a router sees of the replicas, and which of them take a request."""

import numpy as np

from llmqueue_gym._jit import inner_kernel, prefetch
from llmqueue_gym.engines.batching.block_queue import row_of, stands_for_itself
from llmqueue_gym.engines.batching.pool import blocks_for
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.sharing import cached_tokens
from llmqueue_gym.engines.fleet.record import known_tokens
from llmqueue_gym.engines.fleet.tables import CACHED, KNOWN, LUCK, OFF, ON, SUMS
from llmqueue_gym.requests import DECODE, PREFILL

BITS = (1 << 31) - 1  # products of these stay below what an integer holds, which compiled code relies on
SOON = 8  # requests of the queue ahead of the one at hand that are asked for, because the queue may be long
MIX, STEP = 0x45D9F3B, 0x1E3779B9  # odd numbers without a pattern


@inner_kernel
def add(site, request):
    """Add a request to the sums of a replica."""
    site.pending += max(request.prompt + request.generated - request.computed - (request.generated > 0), 0)
    site.work += max(request.predicted - request.generated, 1.0)
    site.context += request.computed
    site.reading += request.generated == 0
    site.idle += request.scheduled == 0


@inner_kernel
def report(g, f, r, clock, wants):
    """Let replica g report itself as it is."""
    site, system, state, rules = f.sites[g], r.system[g], r.state[g], f.rules[g % len(f.forms)]
    coming = state.n - state.arrived
    # Of a pipeline what its first stage has; the rows of its stages are off.
    h = g + 1 if rules.stages > 1 and f.members[g].power != OFF else g
    site.reported, site.since = clock, 0
    site.running, site.waiting = r.system[h].running, r.system[h].waiting + coming
    site.free, site.blocks, site.step_time = system.free, system.blocks, system.step_time
    if not wants & SUMS:
        return
    site.pending = site.work = site.context = 0.0
    site.reading, site.idle, site.wanted = 0, f.members[g].inbound, 0
    for k in range(r.system[h].running):
        add(site, r.requests[r.running[h, k]])
    for k in range(r.system[h].waiting):
        prefetch(r.requests, row_at(h, r, k + SOON), 0)
        if stands_for_itself(r, rules, row_at(h, r, k)):
            wait_there(site, r.requests[row_of(row_at(h, r, k))], rules)
    for k in range(coming):
        wait_there(site, r.requests[r.inbox[g, (state.arrived + k) & (r.inbox.shape[1] - 1)]], rules)


@inner_kernel
def wait_there(site, request, rules):
    """Add a request that waits to the sums of a replica."""
    add(site, request)
    site.wanted += max(blocks_for(request.prompt + request.generated, rules.block_size) - request.blocks, 0)


@inner_kernel
def prompts_of(g, f, r):
    """Return the prompt tokens of the requests that are at replica g, those on their way there aside."""
    system, state, tokens = r.system[g], r.state[g], 0
    for k in range(system.running):
        tokens += r.requests[r.running[g, k]].prompt
    for k in range(system.waiting):
        if stands_for_itself(r, f.rules[g % len(f.forms)], row_at(g, r, k)):
            tokens += r.requests[row_of(row_at(g, r, k))].prompt
    for k in range(state.n - state.arrived):
        tokens += r.requests[r.inbox[g, (state.arrived + k) & (r.inbox.shape[1] - 1)]].prompt
    return tokens


@inner_kernel
def fits(f, r, q, i):
    """Whether replica q can hold request i to its end; its output is looked at as the limit that its sender sets.

    Where outputs are cut there has to be a token left to make. A call may ask for a model.
    """
    if len(f.calls) > 0 and f.calls[i].model > 0 and f.calls[i].model != f.models[q]:
        return False
    prompt, known = r.requests[i].prompt, r.requests[i].prompt + r.requests[i].generated
    if prompt > f.widest[q]:
        return False
    return known < f.longest[q] if f.cuts[q] else prompt + r.truth[i].output <= f.longest[q]


@inner_kernel
def stirred(x):
    """Return a hash of 31 bits of a number of 31 bits."""
    x = ((x ^ (x >> 16)) * MIX) & BITS
    x = ((x ^ (x >> 15)) * MIX) & BITS
    return x ^ (x >> 16)


@inner_kernel
def luck_of(drawn, index):
    """Return a number in [0, 1) of a request, given the one drawn for it, and of a replica: a hash of both."""
    x = int(drawn * 9007199254740992.0)
    return stirred((stirred((x ^ (x >> 31)) & BITS) + (index + 1) * STEP) & BITS) / (BITS + 1.0)


@inner_kernel
def takes(e, f, r, q, i, decodes):
    """Whether replica q of run e takes request i: it is on and not full, the request fits, and the role is right.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        q: the replica.
        i: row of the request.
        decodes: whether the request has been read and is to go on.
    """
    member = f.members[e * len(f.forms) + q]
    if member.power != ON or member.full or member.role == (PREFILL if decodes else DECODE):
        return False
    return fits(f, r, q, i)


@inner_kernel
def look(e, f, r, i, wants, decodes):
    """Bring what the router knows by itself up to date; return how many replicas request i can choose from.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        i: row of the request.
        wants: what the router reads.
        decodes: whether the request has been read and is to go on.
    """
    replicas = len(f.forms)
    first, count, total, most, least = e * replicas, 0, 0, 0, np.iinfo(np.int64).max
    for g in range(first, first + replicas):
        if takes(e, f, r, g - first, i, decodes):
            there = r.state[g].n - r.state[g].done + f.members[g].inbound
            f.sites[g].outstanding = there
            count += 1
            total += there
            most, least = max(most, there), min(least, there)
    for g in range(first, first + replicas):
        site = f.sites[g]
        member, state = f.members[g], r.state[g]
        site.promised = max(member.promised - (state.done - member.pulled), 0)
        site.reserved = member.reserved - state.fulfilled
        site.clock, site.sites, site.total, site.most, site.least = f.fleet[e].clock, count, total, most, least
        if wants & SUMS:
            site.tokens = prompts_of(g, f, r) + f.members[g].inbound_tokens
        if wants & CACHED and r.state[g].caching:
            size = f.rules[g - first].block_size
            site.cached = cached_tokens(r.cells, r.state[g], r.requests[i], r.truth[i].path, size)
        if wants & KNOWN:
            site.known = known_tokens(e, f, r, i, g - first)
        if wants & LUCK:
            site.luck = luck_of(f.ties[i], site.index)
    return count
