"""Requests wait at the router, in order of arrival, while no replica takes them.

That is so while nobody is on who could, and where the fleet `holds` until a replica has a seat free.
"""

from llmqueue_gym._jit import part_kernel
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
def hold(e, f, i):
    """Let request i wait at the router of run e; what returns from a replica may have come before others that wait."""
    fleet, before = f.fleet[e], -1
    fleet.held += 1
    if len(f.calls) > 0:
        f.calls[i].place = AT_ROUTER
    if i > fleet.back:
        before = fleet.back
    elif i > fleet.front:
        before = fleet.front
        while f.flows[before].next < i:
            before = f.flows[before].next
    if before >= 0:
        f.flows[i].next = f.flows[before].next
        f.flows[before].next = i
    else:
        f.flows[i].next = fleet.front
        fleet.front = i
    fleet.back = max(fleet.back, i)


@part_kernel
def let_go(e, f):
    """Make the first request that waits at the router of run e the one in question."""
    fleet = f.fleet[e]
    fleet.subject, fleet.source = fleet.front, -1
    fleet.front = f.flows[fleet.front].next
    fleet.held -= 1
    if fleet.held == 0:
        fleet.back = -1


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
