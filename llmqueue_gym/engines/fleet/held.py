"""Requests wait at the router, in order of arrival, while no replica takes them.

That is so while nobody is on who could, and where the fleet `holds` until a replica has a seat free.
"""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.fleet.decider import may_stay
from llmqueue_gym.engines.fleet.power import outstanding
from llmqueue_gym.engines.fleet.sites import fits, takes
from llmqueue_gym.engines.fleet.tables import AT_ROUTER, ON, STARTING
from llmqueue_gym.requests import DECODE, PREFILL


@part_kernel
def has_place(e, f, r, i, decodes, holds):
    """Note which replicas of run e are full, for whoever `holds`; return whether request i can be sent now.

    It waits for a replica of the right role. Where none that it fits has that role it goes to one of another, as soon
    as one of those is on or starts.
    """
    found, may, other = False, False, False
    for q in range(len(f.forms)):
        g = e * len(f.forms) + q
        member = f.members[g]
        member.full = holds and outstanding(f, r, g) >= f.rules[q].max_seqs
        found = found or takes(e, f, r, q, i, decodes)
        if fits(f, r, q, i):
            may = may or member.role != (PREFILL if decodes else DECODE)
            other = other or member.power == ON or member.power == STARTING
    return found or (other and not may)


@part_kernel
def comes_after(r, i, j):
    """Whether request i came after request j."""
    came, before = r.requests[i].arrival, r.requests[j].arrival
    return i > j if came == before else came > before


@part_kernel
def hold(e, f, r, i):
    """Let request i wait at the router of run e; what returns from a replica may have come before others that wait."""
    fleet, before = f.fleet[e], -1
    fleet.held += 1
    if len(f.calls) > 0:
        f.calls[i].place = AT_ROUTER
    if fleet.held == 1 or comes_after(r, i, fleet.back):
        before = fleet.back
    elif comes_after(r, i, fleet.front):
        before = fleet.front
        while comes_after(r, i, f.flows[before].next):
            before = f.flows[before].next
    if before >= 0:
        f.flows[i].next = f.flows[before].next
        f.flows[before].next = i
    else:
        f.flows[i].next = fleet.front
        fleet.front = i
    if before == fleet.back:
        fleet.back = i


@part_kernel
def let_go(e, f, i):
    """Make request i, which waits at the router of run e, the one in question."""
    let_go_of(e, f, i)
    f.fleet[e].subject, f.fleet[e].source, f.fleet[e].mate = i, -1, i


@part_kernel
def let_go_of(e, f, i):
    """Take request i out of those that wait at the router of run e."""
    fleet, before = f.fleet[e], -1
    while (fleet.front if before < 0 else f.flows[before].next) != i:
        before = fleet.front if before < 0 else f.flows[before].next
    if before < 0:
        fleet.front = f.flows[i].next
    else:
        f.flows[before].next = f.flows[i].next
    fleet.held -= 1
    if fleet.back == i:
        fleet.back = before


@part_kernel
def free_seats(e, f, r):
    """Return how many seats are free at the replicas of run e that are on."""
    free = 0
    for q in range(len(f.forms)):
        g = e * len(f.forms) + q
        if f.members[g].power == ON:
            free += max(f.rules[q].max_seqs - outstanding(f, r, g), 0)
    return free


@part_kernel
def mates_of(e, f, i):
    """Return how many of the calls that became ready with call i wait at the router of run e, itself included."""
    k, mates = f.fleet[e].front, 0
    while k >= 0:
        mates += f.calls[k].gang == f.calls[i].gang
        k = f.flows[k].next
    return mates


@part_kernel
def may_go(e, f, r, i, course):
    """Whether call i, which waits at the router of run e, can be sent on.

    In a gang all that came with it have to have a seat, and when one of them has gone the others are next.
    """
    if course.gang:
        last = f.fleet[e].mate
        if mates_of(e, f, i) > free_seats(e, f, r):
            return False
        if last >= 0 and f.calls[i].gang != f.calls[last].gang and mates_of(e, f, last) > 0:
            return False
    return has_place(e, f, r, i, may_stay(e, f, r, i, course), course.holds)


@part_kernel
def show_whole(e, f, r):
    """Write what an order may know of all replicas of run e together; the duration of an iteration is of the first."""
    whole, first = f.whole[0], r.system[e * len(f.forms)]
    whole.clock, whole.step_time, whole.mean_step_time = f.fleet[e].clock, first.step_time, first.mean_step_time
    whole.free = whole.blocks = whole.running = whole.iterations = 0
    whole.waiting = f.fleet[e].held
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        system = r.system[g]
        whole.free += system.free
        whole.blocks += system.blocks
        whole.running += system.running
        whole.iterations += system.iterations


@part_kernel
def first_held(e, f, r, course, rank, numbers):
    """Return who goes on first of those that wait at the router of run e and have a place, -1 where nobody has.

    That is the one of least rank, or the first that came where nobody is ranked. Where requests are by themselves
    nobody overtakes one that has no place.
    """
    i = f.fleet[e].front
    if not course.picks or i < 0:
        return i if i >= 0 and has_place(e, f, r, i, may_stay(e, f, r, i, course), course.holds) else -1
    if free_seats(e, f, r) == 0:
        return -1
    best, least = -1, np.inf
    show_whole(e, f, r)
    while i >= 0:
        if may_go(e, f, r, i, course):
            mine = rank(r.requests[i], f.whole[0], numbers) if rank is not None else r.requests[i].arrival
            if best < 0 or mine < least:
                best, least = i, mine
        i = f.flows[i].next
    return best


@part_kernel
def may_pick(e, f, r, course, slots):
    """Whether an agent has a choice among the first of those that wait at the router of run e."""
    i = f.fleet[e].front
    if f.fleet[e].held < 2 or free_seats(e, f, r) == 0:
        return False
    for _ in range(slots):
        if i < 0:
            return False
        if may_go(e, f, r, i, course):
            return True
        i = f.flows[i].next
    return False
