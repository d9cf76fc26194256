"""Who comes to a replica, and who leaves it."""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.accounts import open_account
from llmqueue_gym.engines.batching.block_pass import line_up
from llmqueue_gym.engines.batching.cache import TREE
from llmqueue_gym.engines.batching.kept import leave_context
from llmqueue_gym.engines.batching.pool import promised_blocks
from llmqueue_gym.engines.batching.queue import enqueue
from llmqueue_gym.engines.batching.sharing import keep_tokens, release
from llmqueue_gym.engines.batching.tables import BY_BLOCKS, BY_PASSES
from llmqueue_gym.engines.batching.turns_pass import take_place
from llmqueue_gym.requests import DONE, PREFILLING


@inner_kernel
def next_row(e, r):
    """Return the row of the next request that is to come; there is one."""
    return r.inbox[e, r.state[e].arrived & (r.inbox.shape[1] - 1)]


@inner_kernel
def look_ahead(e, r):
    """Note when the next request comes."""
    state = r.state[e]
    state.next = r.requests[next_row(e, r)].ready if state.arrived < state.n else np.inf


@inner_kernel
def arrive(e, r, rules, conduct, more, rank, params, asks):
    """Let everything that has arrived by now into the queue; its cost counts from its arrival on.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        more: as in `closed_loop.proceed_with`.
        rank: rank function, or None.
        params: its parameters.
        asks: whether an agent ranks arrivals.

    Returns:
        whether there is one for the agent to rank: the row `state.subject`, not yet in the queue.
    """
    system, state, requests = r.system[e], r.state[e], r.requests
    while state.next <= system.clock:
        i = next_row(e, r)
        request = requests[i]
        if more is not None:
            if conduct.accounts:
                open_account(e, r, conduct, i)
        if rank is not None:
            if conduct.ranked:
                request.rank = rank(request, system, params)
        state.integral += r.truth[i].cost * (system.clock - request.ready)
        state.cost_rate += r.truth[i].cost
        state.arrived += 1
        look_ahead(e, r)
        if conduct.ranked:
            state.blocked = 0  # it may be the new head
        if asks:
            state.subject = i
            return True
        if rules.batching == BY_PASSES:
            enqueue(e, r, i)
            continue
        if more is not None:
            if rules.batching == BY_BLOCKS:
                line_up(e, r, rules, i, not request.goes_on)
            else:
                take_place(e + 1 if rules.stages > 1 else e, r, i)
    return False


@inner_kernel
def tokens_left(request, truth, rules):
    """Return the output tokens until a request ends, by itself or at the longest that the model can have."""
    return min(truth.output, rules.max_model_len - request.prompt) - request.generated


@inner_kernel
def note_leaver(e, r, i):
    """Note that request i leaves; `let_leave` does the rest when a loop over the running requests is over.

    So these loops call nothing and can keep their numbers in registers. Blocks without identities are free at once, for
    those who take some in the same loop.
    """
    state, request = r.state[e], r.requests[i]
    r.notes[e, state.leavers].leaver = i
    state.leavers += 1
    if not (state.caching or state.retains):
        r.system[e].free += request.blocks
        request.blocks = 0


@part_kernel
def note_firsts(e, r, rules):
    """Note, before an iteration gives its tokens, who has a first token in it: if not the last, it may go elsewhere.

    A tree has the prompts of those who stay (~row) and all of those who leave, in the order of the running list, so
    both are noted here. A look of its own, because branches in `run_model` for it would make every replica slower.
    """
    state, tree = r.state[e], r.state[e].caching == TREE
    for k in range(r.system[e].running):
        i = r.running[e, k]
        request = r.requests[i]
        ends = request.computed + request.scheduled == request.prompt + request.generated
        if request.scheduled == 0 or not ends:  # no token is sampled
            continue
        stays = tokens_left(request, r.truth[i], rules) > 1
        reads = request.status == PREFILLING or request.goes_on  # who comes back may lack no more than its last token
        if reads and state.hands_over:
            r.notes[e, state.out].first = i
            state.out += 1
        if tree and (request.status == PREFILLING if stays else not rules.request_level):
            r.notes[e, state.leavers].leaver = ~i if stays else i
            state.leavers += 1


@part_kernel
def let_leave(e, r, rules):
    """Let those go who were noted, in order; a tree has before what they computed, and prompts of those who stay."""
    state = r.state[e]
    for k in range(state.leavers):
        i = r.notes[e, k].leaver
        if state.caching == TREE:
            keep_tokens(e, r, i if i >= 0 else ~i)
        if i >= 0:
            leave(e, r, rules, i)
    state.leavers = 0


@inner_kernel
def leave(e, r, rules, i):
    """Let request i go."""
    state, request, truth, clock = r.state[e], r.requests[i], r.truth[i], r.system[e].clock
    if state.retains:
        leave_context(e, r, i)
    elif state.caching:
        release(e, r, i)
    request.status = DONE
    request.scheduled = 0
    truth.service.completion = clock
    state.cost_rate -= truth.cost
    if state.in_fleet:
        r.inbox[e, state.done & (r.inbox.shape[1] - 1)] = i  # a place that has been read; see `fleet.arrivals.answer`
        state.fulfilled += promised_blocks(request, rules.block_size)
        state.gone += truth.cost
        state.gone_time += truth.cost * clock
    state.done += 1
    state.blocked = 0
    if state.sent < state.n:
        follower = r.requests[r.inbox[e, state.sent & (r.inbox.shape[1] - 1)]]
        follower.arrival = follower.ready = follower.last_token = follower.last_scheduled = clock
        state.sent += 1
        look_ahead(e, r)
    if state.done == state.arrived:
        state.cost_rate = 0.0  # no rounding error survives an idle period
