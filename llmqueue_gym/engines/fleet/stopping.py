"""Programs are stopped when their answers so far suffice, and their calls that have not ended are cancelled.

A call that runs leaves at the end of the iteration that it is in. The rule is asked whenever a call has given an
answer; what it is asked with is a tuple: its numbers, whether it is asked at all, and its function `stops`; see
`policies.stopping`.
"""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.pool import promised_blocks
from llmqueue_gym.engines.batching.queue import dequeue, find
from llmqueue_gym.engines.batching.sharing import release
from llmqueue_gym.engines.batching.tables import BEGIN
from llmqueue_gym.engines.fleet.held import let_go_of
from llmqueue_gym.engines.fleet.programs import end_program
from llmqueue_gym.engines.fleet.promises import promise
from llmqueue_gym.engines.fleet.retention import forget_context
from llmqueue_gym.engines.fleet.tables import AT_ROUTER, CANCELLED, SENT
from llmqueue_gym.requests import AWAITED, DONE, PENDING, WAITING


@part_kernel
def show(f, program):
    """Write what a rule may know of a program."""
    told, second, clusters, entropy = f.told[0], 0, 0, 0.0
    for k in range(program.first, program.end):
        votes = f.votes[k]
        if votes > 0:
            clusters += 1
            entropy -= votes / program.answers * np.log2(votes / program.answers)
            if k != program.first + program.leading:
                second = max(second, votes)
    told.answers, told.planned, told.clusters, told.second = program.answers, program.planned, clusters, second
    told.leading = f.votes[program.first + program.leading]
    told.entropy, told.agree, told.tokens = max(entropy, 0.0), program.agree, program.tokens
    told.predicted, told.confidence = program.predicted, program.confidence
    told.mean_score, told.best_score = program.scores / program.answers, program.best
    told.depth = program.depth


@part_kernel
def stop_or_not(e, f, r, i, stop):
    """Stop the program of call i of run e, which has just ended, if the rule says that its answers suffice."""
    if stop[1] and has_answered(e, f, r, i):
        program = f.programs[f.calls[i].program]
        show(f, program)
        if stop[2](f.told[0], stop[0]) > 0:
            stop_program(e, f, r, program, r.truth[i].service.completion)


@part_kernel
def has_answered(e, f, r, i):
    """Whether call i of run e, which has just ended, has given an answer and its program is not over."""
    call, program = f.calls[i], f.programs[f.calls[i].program]
    program.depth = max(program.depth, r.requests[i].depth)
    f.fleet[e].subject = i
    return call.cluster >= 0 and not program.over


@part_kernel
def stop_program(e, f, r, program, clock):
    """Let a program of run e be over at a time, s, with the answer that it has; cancel what has not ended of it."""
    end_program(e, f, program, clock)
    for k in range(program.first, program.end):
        cancel(e, f, r, f.of_programs[k])
    program.cancelled = program.left


@part_kernel
def cancel(e, f, r, i):
    """Cancel call i of run e, unless it has ended: at once, or where a replica has it, between two iterations."""
    fleet, call, request = f.fleet[e], f.calls[i], r.requests[i]
    if request.status == DONE:
        return
    if call.place == SENT:
        request.behind, fleet.withdrawn = fleet.withdrawn, i
        return
    if call.place == AT_ROUTER:
        let_go_of(e, f, i)
    elif request.status == AWAITED:
        forget_context(e, f, r, i)
    call.place = CANCELLED
    fleet.cancelled += 1


@part_kernel
def withdraw_cancelled(e, f, r):
    """Take those calls of run e from their replicas that were cancelled, as far as they are in no iteration."""
    i, stay = f.fleet[e].withdrawn, -1
    while i >= 0:
        after, g = r.requests[i].behind, e * len(f.forms) + r.requests[i].site
        if f.calls[i].place == AT_ROUTER:  # its replica has vanished since
            let_go_of(e, f, i)
            f.calls[i].place = CANCELLED
            f.fleet[e].cancelled += 1
        elif r.requests[i].status != DONE:
            if r.state[g].phase == BEGIN and r.state[g].ends == np.inf:
                withdraw(e, f, r, g, i)
            else:
                r.requests[i].behind, stay = stay, i
        i = after
    f.fleet[e].withdrawn = stay


@part_kernel
def withdraw(e, f, r, g, i):
    """Take call i from replica g, which is between two iterations."""
    request, state, system, ring = r.requests[i], r.state[g], r.system[g], r.inbox.shape[1] - 1
    f.calls[i].place = CANCELLED
    release(g, r, i)
    request.computed = request.scheduled = 0
    state.blocked, state.calm = 0, False
    if request.status == PENDING:  # it is in the inbox yet
        k = state.arrived
        while r.inbox[g, k & ring] != i:
            k += 1
        for j in range(k, state.n - 1):
            r.inbox[g, j & ring] = r.inbox[g, (j + 1) & ring]
        state.n -= 1
        state.sent -= 1
        state.next = r.requests[r.inbox[g, state.arrived & ring]].ready if state.arrived < state.n else np.inf
        promise(e, f, r, i, g - e * len(f.forms), -1)
        f.fleet[e].cancelled += 1
        return
    if request.status == WAITING:
        dequeue(g, r, find(g, r, i))
    else:
        position = 0
        while r.running[g, position] != i:
            position += 1
        system.running -= 1
        for k in range(position, system.running):
            r.running[g, k] = r.running[g, k + 1]
    state.fulfilled += promised_blocks(request, f.rules[g % len(f.forms)].block_size)
    r.inbox[g, state.done & ring] = -1
    state.done += 1
    request.status = DONE
