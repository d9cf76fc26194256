"""A replica watched from one iteration to the next, for `fuzz_replicas`: what has to hold at every moment."""

from typing import Any

import numba
import numpy as np

from llmqueue_gym.engines.batching.cache import BLOCK, END, FIRST, TREE, USERS
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.radix_tables import PROTECTED, SHARED
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.engines.batching.tables import BOARD, COMPUTE, ENDLESS, LOOK, WATCHING, ReplicaTables
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.profiles import Profile
from llmqueue_gym.requests import DONE
from llmqueue_gym.systems.replica_tables import kernel_arguments, loaded
from llmqueue_gym.systems.serve import as_drawn

KEPT, TWICE, BEYOND_POOL, LOST, NOWHERE, BEYOND_BUDGET, SEATS, IDLE_WORK, BACK, TOKEN_TWICE, NO_END = range(11)
PROMISES = {
    TWICE: "somebody stands twice or nowhere",
    BEYOND_POOL: "blocks beyond the pool",
    LOST: "blocks lost",
    NOWHERE: "keys and values nowhere",
    BEYOND_BUDGET: "beyond the budget",
    SEATS: "one seat too many",
    IDLE_WORK: "who waits computes",
    BACK: "time runs back",
    TOKEN_TWICE: "a token twice",
    NO_END: "no end",
}
MOST = 10_000_000  # iterations; with the patience of the random rules no run has a tenth of that


@numba.njit(error_model="numpy")
def users_of_blocks(cells, state, free):  # type: ignore[no-untyped-def]
    """Return how often blocks with identities are held by requests, -1 where some are neither held nor free."""
    users, idle, ring = 0, 0, state.buckets - state.bucket_mask - 1
    for b in range(state.queue + BLOCK, ring, BLOCK):
        users += max(cells[b + USERS], 0)
        idle += cells[b + USERS] <= 0
    for k in range(cells[state.queue + FIRST], cells[state.queue + END]):
        place = k & state.bucket_mask
        b = cells[ring + place]
        if b != 0:
            idle -= 1
            free -= 1
            if cells[b + USERS] != -place:
                return -1
    return users if idle == 0 and free == 0 else -1


@numba.njit(error_model="numpy")  # not kept on disk: it calls kernels of another folder
def broken_before(r, rules, merged, seen):  # type: ignore[no-untyped-def]
    """Return which promise a scheduled iteration breaks; `seen` is space for a number for each request."""
    system, requests, ring = r.system[0], r.requests, r.waiting.shape[1]
    seen[:] = 0
    for k in range(system.running):
        seen[r.running[0, k]] += 1
    for k in range(system.waiting):
        seen[r.waiting[0, (r.state[0].head + k) % ring]] += 3
    held, tokens, computing, there = system.free, 0, 0, 0
    for i in range(len(requests)):
        request = requests[i]
        if seen[i] not in (0, 1, 3):
            return TWICE
        there += seen[i] > 0
        held += request.blocks
        tokens += request.scheduled
        computing += request.scheduled > 0
        if seen[i] == 1 and request.computed > request.blocks * rules.block_size and request.status != DONE:
            return NOWHERE
        if seen[i] == 3 and request.scheduled != 0:
            return IDLE_WORK
    if there != r.state[0].arrived - r.state[0].done:
        return TWICE
    if system.free < 0:
        return BEYOND_POOL
    if rules.caching == TREE:  # what belongs to the tree is nobody's own
        held += r.cells[r.state[0].tree + PROTECTED] // rules.block_size
        for k in range(system.running):
            held -= r.cells[r.truth[r.running[0, k]].path + SHARED]
        if held != rules.blocks:
            return LOST
    elif rules.caching:  # several may hold one
        if held - system.free != users_of_blocks(r.cells, r.state[0], system.free):
            return LOST
    elif held != rules.blocks:
        return LOST
    if not tokens == r.state[0].batch.tokens <= rules.token_budget:
        return BEYOND_BUDGET
    return SEATS if (computing if merged else system.running) > rules.max_seqs else KEPT


@numba.njit(error_model="numpy")
def watch(r, rules, conduct, form, numbers, tokens, seen, rank, victim, length, progress, params):  # type: ignore[no-untyped-def]
    """Serve to the end; return which promise broke, and how many iterations there were."""
    system, requests, count, clock, work = r.system[0], r.requests, 0, 0.0, ENDLESS
    while (
        proceed(0, r, rules, conduct, form, numbers, WATCHING, 0, rank, victim, length, progress, params, work) == LOOK
    ):
        if r.state[0].phase == COMPUTE or r.state[0].phase == BOARD:  # it is scheduled
            found = broken_before(r, rules, conduct.merged, seen)
            if found != KEPT:
                return found, count
            continue
        count += 1
        if not clock <= system.clock < np.inf:
            return BACK, count
        clock = system.clock
        for i in range(len(requests)):
            if not (0 <= requests[i].generated - tokens[i] <= 1 or rules.forget_unread):
                return TOKEN_TWICE, count
            tokens[i] = requests[i].generated
        if count > MOST:
            return NO_END, count
    return KEPT, count


def watched(given: Any, policy: ServingPolicy, profile: Profile, rules: Rules) -> tuple[ReplicaTables, int]:
    """Serve requests one iteration after another, and check each.

    Returns:
        The replica at the end, and the iterations.

    Raises:
        AssertionError: a promise is broken.
    """
    replica = loaded(as_drawn(given), rules, policy.merged)
    *loop, functions = kernel_arguments(policy, profile, rules)
    space = replica.requests["generated"].copy(), np.zeros(len(given.outputs), np.int64)
    found, count = watch(replica, *loop, *space, *functions)
    assert found == KEPT, f"{PROMISES[found]}, in iteration {count}"
    return replica, count
