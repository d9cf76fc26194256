"""Contexts that a replica keeps while their programs are away, for the calls that go on with them.

The blocks are those of the call to come, which is not here yet. They are listed in the order in which they go where
memory is short: before anybody who runs is preempted for it, and before nobody could run at all.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.sharing import release
from llmqueue_gym.requests import AWAITED, PENDING


@part_kernel
def leave_context(e, r, i):
    """Let request i, which leaves, pass its blocks on to the call that goes on with its context, if there is one."""
    state, request = r.state[e], r.requests[i]
    if request.heir < 0:
        release(e, r, i)
        return
    heir = r.requests[request.heir]
    heir.blocks, heir.site, heir.status = request.blocks, request.site, AWAITED
    heir.computed = min(request.computed, heir.prompt - 1)  # a first token takes a token to compute
    request.blocks = 0
    if state.kept == 0:
        state.first_kept = request.heir
    else:
        r.requests[state.last_kept].behind = request.heir
    state.last_kept = request.heir
    heir.behind = -1
    state.kept += 1


@part_kernel
def take_out(e, r, i):
    """Take the context for call i out of the list; its blocks stay."""
    state = r.state[e]
    before, at = -1, state.first_kept
    while at != i:
        before, at = at, r.requests[at].behind
    if before < 0:
        state.first_kept = r.requests[i].behind
    else:
        r.requests[before].behind = r.requests[i].behind
    if state.last_kept == i:
        state.last_kept = before
    state.kept -= 1
    r.requests[i].behind = -1


@part_kernel
def put_first(e, r, i):
    """Let the context for call i be the first to go."""
    state = r.state[e]
    if state.first_kept == i:
        return
    take_out(e, r, i)
    r.requests[i].behind = state.first_kept
    state.first_kept = i
    state.kept += 1


@part_kernel
def drop_one(e, r, i):
    """Drop the context for call i, which will compute it again."""
    request = r.requests[i]
    take_out(e, r, i)
    release(e, r, i)
    r.truth[i].service.recomputed += request.computed
    request.computed, request.status = 0, PENDING
    r.state[e].blocked = 0


@inner_kernel
def drop_kept(e, r, wanted):
    """Drop contexts in order until so many blocks are free, or none is kept."""
    while r.state[e].kept > 0 and r.system[e].free < wanted:
        drop_one(e, r, r.state[e].first_kept)
