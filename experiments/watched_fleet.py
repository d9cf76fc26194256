"""A fleet watched from one moment of its agenda to the next, for `fuzz_fleets`: what has to hold at every moment."""

from typing import Any

import numba
import numpy as np
from watched_caches import check_caches

from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.policies.routing import RoutingPolicy
from llmqueue_gym.requests import DONE, MOVING, PENDING
from llmqueue_gym.systems import Drawn, Run
from llmqueue_gym.systems.control import NEVER, noted
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.fleet_run import run_of

KEPT, TWICE, LOST, BEYOND_POOL, NOWHERE, SEATS, COUNT, BACK, UNMADE, TOO_LONG, MISPLACED = range(11)
PROMISES = {
    TWICE: "somebody stands twice or nowhere",
    LOST: "blocks lost",
    BEYOND_POOL: "blocks beyond the pool",
    NOWHERE: "keys and values nowhere",
    SEATS: "one seat too many",
    COUNT: "transfers miscounted",
    BACK: "time runs back",
    UNMADE: "a token unmade",
    TOO_LONG: "a request where it does not fit",
    MISPLACED: "somebody is at another replica than it says",
}
MOST = 100_000  # moments; no run of random fleets has a tenth of that


@numba.njit(error_model="numpy")
def broken(f, r, merged, fits, seen, held, inbound, awaited, tokens, forgets):  # type: ignore[no-untyped-def]
    """Return which promise is broken, and by which request or replica.

    Args:
        f: tables of the fleet.
        r: tables of its replicas.
        merged: whether the order has one queue for all, where seats are counted in the batch alone.
        fits: whether replica q can hold request i to its end `(R, n)`.
        seen: space for a number for each request.
        held: space for a number for each replica, and likewise below.
        inbound: likewise.
        awaited: likewise.
        tokens: output tokens that each request had before.
        forgets: whether the rules may forget output.
    """
    seen[:] = 0
    held[:] = inbound[:] = awaited[:] = 0
    for q in range(len(f.forms)):
        system, state = r.system[q], r.state[q]
        for k in range(system.running + system.waiting + state.n - state.arrived):
            if k < system.running:
                i = r.running[q, k]
                request = r.requests[i]
                if request.computed > request.blocks * f.rules[q].block_size and request.status != DONE:
                    return NOWHERE, i
            elif k < system.running + system.waiting:
                i = r.waiting[q, (state.head + k - system.running) % r.waiting.shape[1]]
            else:
                i = r.inbox[q, (state.arrived + k - system.running - system.waiting) % r.inbox.shape[1]]
            seen[i] += 1
            held[q] += r.requests[i].blocks
            if r.requests[i].site != q:
                return MISPLACED, i
            if not fits[q, i]:
                return TOO_LONG, i
        if not merged and system.running > f.rules[q].max_seqs:
            return SEATS, q
    for i in range(len(r.requests)):
        request, flow = r.requests[i], f.flows[i]
        done = not np.isnan(r.truth[i].service.completion)
        if request.status == MOVING:
            held[flow.source] += flow.blocks
            held[flow.target] += request.blocks
            inbound[flow.target] += 1
            awaited[flow.target] += flow.order < 0
        outside = request.status == PENDING and seen[i] == 0 and (request.site < 0 or f.fleet[0].held > 0)
        if seen[i] + done + (request.status == MOVING) + outside != 1:
            return TWICE, i
        if request.generated < tokens[i] and not forgets:
            return UNMADE, i
        tokens[i] = request.generated
    for q in range(len(f.forms)):
        if r.system[q].free < 0:
            return BEYOND_POOL, q
        if held[q] + r.system[q].free != r.system[q].blocks and not r.state[q].caching:
            return LOST, q
        if inbound[q] != f.members[q].inbound or awaited[q] != f.members[q].awaited:
            return COUNT, q
    return KEPT, 0


def watched(fleet: Fleet, drawn: Drawn, router: RoutingPolicy, fits: np.ndarray) -> tuple[Run, np.ndarray]:
    """Serve requests one moment after another, and check each.

    Args:
        fleet: the fleet.
        drawn: the requests and the chance of the run.
        router: sends them.
        fits: as in `broken`.

    Returns:
        the run, and the replica that each request was sent to first `(n,)`.

    Raises:
        AssertionError: a promise is broken.
    """
    f, r, course, rest, _ = fleet.loaded(drawn, router)
    f = noted(f, drawn.truth.get("vanishing", NEVER))
    n, size, forgets = len(drawn.sizes), len(f.forms), any(m.rules.forget_unread for m in fleet.members)
    space: Any = (np.zeros(n, np.int64), *np.zeros((3, size), np.int64), np.zeros(n, np.int64))
    first, clock, clocks = np.full(n, -1), -np.inf, np.zeros(size)
    for _ in range(MOST):
        before = f.fleet.tobytes()
        over = go_on(0, f, r, course, *rest, 1) != tables.PAUSED
        if not over and f.fleet.tobytes() == before:  # no work was left for the last requests
            over = go_on(0, f, r, course, *rest, 2) != tables.PAUSED
        found, where = broken(f, r, fleet.discipline.merged, fits, *space, forgets)
        assert found == KEPT, f"{PROMISES[found]}: {where}, at {f.fleet['clock'][0]} s"
        check_caches(f, r)
        sites = r.requests["site"][:n]
        first = np.where(first < 0, sites, first)
        assert f.fleet["clock"][0] >= clock and (r.system["clock"] >= clocks).all(), PROMISES[BACK]
        clock, clocks = f.fleet["clock"][0], r.system["clock"].copy()
        if over:
            return run_of(f, r, 0, drawn.sizes, router.name, fleet, 0.0), first
    raise AssertionError("no end")
