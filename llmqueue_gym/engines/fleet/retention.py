"""What happens to a context while its program is away: a policy keeps it, for a time or for good, or lets it go.

The policy is asked when the call ends, and again before the iterations of the replica where it wants that. What it is
asked with is a tuple: its numbers, whether it is asked at all, whether it is asked again, whether it has the functions
`waste`, `fix` and `swap_out`, and these behind `keep`; see `policies.retention`.
"""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.kept import drop_one, put_first, take_out
from llmqueue_gym.engines.batching.sharing import release
from llmqueue_gym.engines.batching.tables import BEGIN
from llmqueue_gym.engines.fleet.events import note
from llmqueue_gym.engines.fleet.tables import CANCELLED, EXPIRES, ON
from llmqueue_gym.requests import AWAITED, PENDING, SWAP

NUMBERS, ASKED, AGAIN, RANKS, FIXES, LIMITS, KEEP, WASTE, FIX, SWAP_OUT = range(10)  # of the tuple
DROPS, KEEPS_IT, MOVES = 0, 1, 2  # what an agent says


@part_kernel
def show(e, f, r, g, i):
    """Write what a policy may know of the context at replica g that is kept for call i of run e, and of the replica."""
    away, call, request = f.away[0], f.calls[i], r.requests[i]
    away.context, away.blocks, away.block_size = request.computed, request.blocks, f.rules[g % len(f.forms)].block_size
    away.clock, away.since, away.elapsed = f.fleet[e].clock, call.since, f.fleet[e].clock - call.since
    away.predicted_gap, away.next_prompt, away.calls_left = call.predicted_gap, call.next_prompt, call.calls_left
    away.predicted, away.strategy, away.stored, away.worst = request.predicted, call.strategy, call.stored, -np.inf
    show_load(f, r, g)


@part_kernel
def show_load(f, r, g):
    """Write what else there is at replica g."""
    away, state, system, blocks = f.away[0], r.state[g], r.system[g], 0
    for k in range(system.running):
        blocks += r.requests[r.running[g, k]].blocks
    away.scheduled, away.held, away.free = state.batch.tokens, blocks * away.block_size, system.free
    away.waiting = system.waiting


@part_kernel
def carry_out(e, f, r, g, i, told, retain):
    """Do with the context for call i at replica g what a policy says: see `requests.SWAP` and its neighbours."""
    call, clock = f.calls[i], f.fleet[e].clock
    if told == SWAP:
        if retain[LIMITS]:
            limit = retain[SWAP_OUT](f.away[0], r.system[g], retain[NUMBERS])
            if r.state[g].owed + r.requests[i].blocks > limit:
                return  # it stays for now
        move_out(r, g, i)
    elif clock + told <= clock or np.isnan(told):  # also what is too short to be a time
        drop_one(g, r, i)
    else:
        call.until = clock + told
        if call.until < np.inf and not call.expires:
            call.expires = True
            note(e, f, call.until, EXPIRES, i)


@part_kernel
def move_out(r, g, i):
    """Move the context for call i from replica g to the host, which takes time of the next iteration."""
    request, state = r.requests[i], r.state[g]
    take_out(g, r, i)
    state.owed += request.blocks
    r.truth[i].service.swapped += request.blocks
    release(g, r, i)
    state.blocked = 0


@part_kernel
def forget_context(e, f, r, i):
    """Let the context go that is kept for call i, which will never come."""
    if r.requests[i].blocks > 0:
        drop_one(e * len(f.forms) + r.requests[i].site, r, i)
    r.requests[i].computed, r.requests[i].status = 0, PENDING


@part_kernel
def is_away(e, f, r, i):
    """Whether somebody goes on with the context of call i of run e, which has just ended; it is then in question."""
    heir = r.requests[i].heir
    if heir < 0 or r.requests[heir].status != AWAITED:
        return False
    if f.calls[heir].place == CANCELLED:
        forget_context(e, f, r, heir)
        return False
    f.calls[heir].since, f.calls[heir].until = f.fleet[e].clock, np.inf
    f.fleet[e].subject = heir
    return True


@part_kernel
def begin_away(e, f, r, i, retain):
    """Ask what happens to the context of call i of run e, which has just ended, if somebody goes on with it."""
    if not (retain[ASKED] and is_away(e, f, r, i)):
        return
    heir = r.requests[i].heir
    g = e * len(f.forms) + r.requests[heir].site
    show(e, f, r, g, heir)
    if not retain[AGAIN]:  # else `review` asks at once
        carry_out(e, f, r, g, heir, retain[KEEP](f.away[0], r.system[g], retain[NUMBERS]), retain)


@part_kernel
def do_with(e, f, r, i, told):
    """Do with the context for call i of run e what an agent says: one of DROPS, KEEPS_IT and MOVES."""
    g = e * len(f.forms) + r.requests[i].site
    if told == DROPS:
        drop_one(g, r, i)
    elif told == MOVES:
        move_out(r, g, i)


@part_kernel
def review(e, f, r, retain):
    """Ask again about all contexts at the replicas of run e that are between two iterations."""
    if not (retain[ASKED] and retain[AGAIN]):
        return
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        if r.state[g].kept > 0 and r.state[g].phase == BEGIN:
            review_at(e, f, r, g, retain)


@part_kernel
def review_at(e, f, r, g, retain):
    """Do so at replica g: all are asked with the wastes of the beginning, and who is worst and stays goes first."""
    state, system, worst, first = r.state[g], r.system[g], -np.inf, -1
    i = state.first_kept
    while retain[RANKS] and i >= 0:
        show(e, f, r, g, i)
        mine = retain[WASTE](f.away[0], system, retain[NUMBERS])
        if mine > worst:
            worst, first = mine, i
        i = r.requests[i].behind
    i, free = state.first_kept, system.free
    while i >= 0:
        after = r.requests[i].behind
        show(e, f, r, g, i)
        f.away[0].worst, f.away[0].free = worst, free
        carry_out(e, f, r, g, i, retain[KEEP](f.away[0], system, retain[NUMBERS]), retain)
        i = after
    if first >= 0 and r.requests[first].status == AWAITED and r.requests[first].blocks > 0:
        put_first(g, r, first)


@part_kernel
def settle(e, f, r, i, q, retain):
    """Fix what is to happen to the context that call i, which goes to replica q, will leave; if the policy does so."""
    request, heir, g = r.requests[i], r.requests[i].heir, e * len(f.forms) + q
    if heir < 0 or not (retain[ASKED] and retain[FIXES]):
        return
    call, away, size = f.calls[heir], f.away[0], f.rules[q].block_size
    show(e, f, r, g, heir)
    away.context = request.prompt + np.int64(max(request.predicted, 1.0))
    away.blocks = (away.context + size - 1) // size
    away.since, away.elapsed, away.strategy, away.stored = away.clock, 0.0, np.nan, np.nan
    call.strategy = request.strategy = retain[FIX](away, r.system[g], retain[NUMBERS])
    if retain[RANKS]:
        call.stored = retain[WASTE](away, r.system[g], retain[NUMBERS])


@part_kernel
def expire(e, f, r, i, retain):
    """Drop the context for call i if its time is over; where it was asked about since, that may be later.

    A policy that is asked again says at this very moment what happens then, see `review`: it may have it swapped.
    """
    call = f.calls[i]
    call.expires = False
    if retain[AGAIN] or r.requests[i].status != AWAITED or r.requests[i].blocks == 0:
        return
    if call.until <= f.fleet[e].clock:
        drop_one(e * len(f.forms) + r.requests[i].site, r, i)
    elif call.until < np.inf:
        call.expires = True
        note(e, f, call.until, EXPIRES, i)


@part_kernel
def back_to(e, f, r, i):
    """Return the replica of run e that has the context for call i, which comes now; -1 where that is on no more."""
    request, q = r.requests[i], r.requests[i].site
    g = e * len(f.forms) + q
    if request.blocks > 0:
        take_out(g, r, i)
    request.status = PENDING
    if f.members[g].power == ON:
        return q
    release(g, r, i)
    r.truth[i].service.recomputed += request.computed
    request.computed = 0
    return -1


@part_kernel
def lose_kept(e, f, r, q):
    """Let replica q of run e, which is gone, forget the contexts of calls that are away."""
    g = e * len(f.forms) + q
    while r.state[g].kept > 0:
        drop_one(g, r, r.state[g].first_kept)
    for i in range(f.fleet[e].first, f.fleet[e].first + f.fleet[e].n):
        request = r.requests[i]
        if request.status == AWAITED and request.site == q:  # on the host
            r.truth[i].service.recomputed += request.computed
            request.computed, request.status = 0, PENDING
