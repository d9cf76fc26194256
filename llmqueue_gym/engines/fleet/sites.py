"""What a router sees of the replicas, and which of them it chooses."""

import numpy as np

from llmqueue_gym._jit import inner_kernel
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.fleet.tables import ALL, ON, STARTING, SUMS, TURN
from llmqueue_gym.requests import DECODE, PREFILL


@inner_kernel
def add(site, request):
    """Add a request to the sums of a replica."""
    site.pending += max(request.prompt + request.generated - request.computed - (request.generated > 0), 0)
    site.work += max(request.predicted - request.generated, 1.0)
    site.context += request.computed


@inner_kernel
def report(g, f, r, clock, wants):
    """Let replica g report itself as it is."""
    site, system, state = f.sites[g], r.system[g], r.state[g]
    coming = state.n - state.arrived
    site.reported = clock
    site.running, site.waiting = system.running, system.waiting + coming
    site.free, site.blocks, site.step_time = system.free, system.blocks, system.step_time
    if not wants & SUMS:
        return
    site.pending = site.work = site.context = 0.0
    for k in range(system.running):
        add(site, r.requests[r.running[g, k]])
    for k in range(system.waiting):
        add(site, r.requests[row_at(g, r, k)])
    for k in range(coming):
        add(site, r.requests[r.inbox[g, (state.arrived + k) & (r.inbox.shape[1] - 1)]])


@inner_kernel
def prompts_of(g, r):
    """Return the prompt tokens of the requests that are at replica g."""
    system, state, tokens = r.system[g], r.state[g], 0
    for k in range(system.running):
        tokens += r.requests[r.running[g, k]].prompt
    for k in range(system.waiting):
        tokens += r.requests[row_at(g, r, k)].prompt
    for k in range(state.n - state.arrived):
        tokens += r.requests[r.inbox[g, (state.arrived + k) & (r.inbox.shape[1] - 1)]].prompt
    return tokens


@inner_kernel
def takes(member, decodes):
    """Whether a replica takes requests that are to be read, or those that are to go on elsewhere (`decodes`)."""
    return member.power == ON and not member.full and member.role != (PREFILL if decodes else DECODE)


@inner_kernel
def look(e, f, r, wants, decodes):
    """Bring what the router knows by itself up to date; return how many replicas there are to choose from."""
    replicas = len(f.forms)
    first, count, total, most, least = e * replicas, 0, 0, 0, np.iinfo(np.int64).max
    for g in range(first, first + replicas):
        if takes(f.members[g], decodes):
            there = r.state[g].n - r.state[g].done + f.members[g].inbound
            f.sites[g].outstanding = there
            count += 1
            total += there
            most, least = max(most, there), min(least, there)
    for g in range(first, first + replicas):
        site = f.sites[g]
        site.clock, site.sites, site.all, site.most, site.least = f.fleet[e].clock, count, total, most, least
        if wants & SUMS:
            site.tokens = prompts_of(g, r)
    return count


@inner_kernel
def kth(e, f, k, decodes):
    """Return the k-th of the replicas that take such a request, or the one that will soonest if none does now."""
    replicas = len(f.forms)
    for q in range(replicas):
        if takes(f.members[e * replicas + q], decodes):
            if k == 0:
                return q
            k -= 1
    for power in (STARTING, ON):  # one that starts, or else one of another role
        for q in range(replicas):
            if f.members[e * replicas + q].power == power:
                return q
    return 0


@inner_kernel
def choose(e, f, r, i, looks, wants, decodes, score, params):
    """Return which replica of run e a router sends request i to.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        i: row of the request.
        looks: at which replicas: `ALL`, `SAMPLE` or `TURN`.
        wants: what it reads.
        decodes: whether the request has been read and is to go on.
        score: compiled function; the least is chosen.
        params: its numbers.
    """
    replicas, count = len(f.forms), look(e, f, r, wants, decodes)
    if count == 0 or looks == TURN:
        return kth(e, f, f.fleet[e].turn % max(count, 1), decodes)
    best, least, equal, shown = -1, np.inf, 0, f.choices.shape[1]
    if looks != ALL:
        for c in range(shown):
            q = f.choices[i, c]
            if takes(f.members[e * replicas + q], decodes):
                value = score(r.requests[i], f.sites[e * replicas + q], params)
                if best < 0 or value < least:
                    best, least = q, value
        if best >= 0:
            return best
    for q in range(replicas):
        f.scores[q] = np.inf
        if takes(f.members[e * replicas + q], decodes):
            f.scores[q] = score(r.requests[i], f.sites[e * replicas + q], params)
            if f.scores[q] < least or equal == 0:
                best, least, equal = q, f.scores[q], 1
            elif f.scores[q] == least:
                equal += 1
    if equal > 1:
        k = int(f.ties[i] * equal)
        for q in range(best, replicas):
            if f.scores[q] == least and takes(f.members[e * replicas + q], decodes):
                if k == 0:
                    return q
                k -= 1
    return best
