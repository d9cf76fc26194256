"""A fleet watched from one moment of its agenda to the next, for `fuzz_fleets`: what has to hold at every moment."""

from typing import Any

import numba
import numpy as np
from watched_replica import users_of_blocks

from llmqueue_gym.engines.batching.block_queue import stands_for_itself
from llmqueue_gym.engines.batching.cache import LEFT, TREE
from llmqueue_gym.engines.batching.radix_tables import PROTECTED, SHARED
from llmqueue_gym.engines.batching.tables import BY_BLOCKS, BY_PASSES
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.engines.fleet.tables import DRAINING, OFF, ON
from llmqueue_gym.policies.control import Unit
from llmqueue_gym.policies.routing import RoutingPolicy
from llmqueue_gym.requests import DONE, MOVING
from llmqueue_gym.systems import Drawn, Run
from llmqueue_gym.systems.control import NEVER, Steering
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.fleet_run import run_of

(
    KEPT, TWICE, LOST, BEYOND_POOL, NOWHERE, SEATS, COUNT, BACK, UNMADE, TOO_LONG, MISPLACED, AT_NOBODY, OUT_OF_LINE,
    PROMISED, NO_END,
) = range(15)  # fmt: skip
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
    AT_NOBODY: "somebody is at a replica that is off, or served by one that is not on",
    OUT_OF_LINE: "who waits at the router is miscounted or out of order",
    PROMISED: "promised room is miscounted",
    NO_END: "no end",
}
MOST = 1_000_000  # moments; no run of random fleets has a tenth of that


@numba.njit(error_model="numpy")
def broken_at(g, q, f, r, merged, room, seen):  # type: ignore[no-untyped-def]
    """Return which promise the lists of row g break, of replica q or one of its stages, and where; count in `seen`.

    Args:
        g: the row.
        q: the row that the replica is named by.
        f: tables of the fleet.
        r: tables of its replicas.
        merged: whether the order has one queue for all, where seats are counted in the batch alone.
        room: the longest prompt of request i that each row can hold to its end `(R, n)`.
        seen: number of times that each request was found so far `(n,)`.
    """
    system, state, rules, power = r.system[g], r.state[g], f.rules[g], f.members[q].power
    inbox = state.n - state.arrived
    served = system.running + system.waiting
    if (power not in (ON, DRAINING) and served > 0) or (power == OFF and inbox > 0):
        return AT_NOBODY, g
    for k in range(served + inbox):
        if k < system.running:
            i = r.running[g, k]
            request = r.requests[i]
            if request.computed > request.blocks * rules.block_size and request.status != DONE:
                if rules.batching == BY_PASSES:
                    return NOWHERE, i
        elif k < served:
            entry = r.waiting[g, (state.head + k - system.running) % r.waiting.shape[1]]
            i = entry if entry >= 0 else ~entry
            if rules.batching == BY_BLOCKS:
                if not stands_for_itself(r, rules, entry):
                    continue
        else:
            i = r.inbox[g, (state.arrived + k - served) % r.inbox.shape[1]]
        seen[i] += 1
        if r.requests[i].site != q:
            return MISPLACED, i
        if r.requests[i].prompt > room[q, i]:
            return TOO_LONG, i
    if rules.batching == BY_PASSES and not merged and system.running > rules.max_seqs:
        return SEATS, q
    return KEPT, 0


@numba.njit(error_model="numpy")
def blocks_of_its_own(r, g, i):  # type: ignore[no-untyped-def]
    """Return the blocks that request i holds at row g, wherever it stands there, but for those of the tree."""
    blocks = r.requests[i].blocks
    if blocks > 0 and r.state[g].caching == TREE:
        blocks -= r.cells[r.truth[i].path + SHARED]
    return blocks


@numba.njit(error_model="numpy")
def loses_blocks(g, f, r, held):  # type: ignore[no-untyped-def]
    """Whether the blocks of row g are not those that are free and the `held` ones of its requests and its tree."""
    system, state = r.system[g], r.state[g]
    if state.caching == TREE:  # what belongs to the tree is nobody's own
        held += r.cells[state.tree + PROTECTED] // f.rules[g].block_size
    elif state.caching:  # several may hold one
        return held != users_of_blocks(r.cells, state, system.free)
    return held + system.free != system.blocks


@numba.njit(error_model="numpy")
def broken(f, r, owners, merged, room, seen, counts, tokens, forgets):  # type: ignore[no-untyped-def]
    """Return which promise is broken, and by which request or replica.

    Args:
        f: tables of the fleet.
        r: tables of its replicas.
        owners: the row that the replica of each row is named by `(R,)`; a pipeline has one for each stage.
        merged: as in `broken_at`.
        room: likewise.
        seen: space for a number for each request.
        counts: space for five numbers for each row `(5, R)`.
        tokens: output tokens that each request had before.
        forgets: whether the rules may forget output.
    """
    held, inbound, awaited, outbound, prompts = counts[0], counts[1], counts[2], counts[3], counts[4]
    fleet = f.fleet[0]
    seen[:], counts[:] = 0, 0
    for g in range(len(f.forms)):
        found, where = broken_at(g, owners[g], f, r, merged, room, seen)
        if found != KEPT:
            return found, where
    i, line = fleet.front, 0
    while i >= 0:
        seen[i] += 1
        line += 1
        after = f.flows[i].next
        if line > fleet.held or (after >= 0 and after <= i) or (after < 0 and i != fleet.back) or r.requests[i].blocks:
            return OUT_OF_LINE, i
        i = after
    if line != fleet.held:
        return OUT_OF_LINE, -1
    for i in range(len(tokens)):
        request, flow = r.requests[i], f.flows[i]
        done = not np.isnan(r.truth[i].service.completion)
        if request.status == MOVING:
            held[flow.source] += flow.blocks
            held[flow.target] += blocks_of_its_own(r, flow.target, i)
            if r.state[flow.source].caching == TREE:
                path = r.truth[i].path
                held[flow.source] -= r.cells[path + r.cells[path + LEFT] + SHARED]
            inbound[flow.target] += 1
            prompts[flow.target] += request.prompt
            outbound[flow.source] += 1
            awaited[flow.target] += flow.order < 0
        elif request.site >= 0:
            held[request.site] += blocks_of_its_own(r, request.site, i)
        if seen[i] + done + (request.status == MOVING) + (i >= fleet.arrived) != 1:
            return TWICE, i
        if request.generated < tokens[i] and not forgets:
            return UNMADE, i
        tokens[i] = request.generated
    for q in range(len(f.forms)):
        member = f.members[q]
        if owners[q] == q and (r.system[q].free < 0 or r.system[q].free > r.system[q].blocks):
            return BEYOND_POOL, q
        if owners[q] == q and loses_blocks(q, f, r, held[q]):
            return LOST, q
        if inbound[q] != member.inbound or prompts[q] != member.inbound_tokens or outbound[q] != member.outbound:
            return COUNT, q
        if awaited[q] != member.awaited:
            return COUNT, q
        if member.promised < 0 or member.reserved < min(0, r.state[q].fulfilled):  # it is, where prompts have grown
            return PROMISED, q
    return KEPT, 0


@numba.njit(error_model="numpy")
def watch(f, r, course, rest, owners, merged, room, first, seen, counts, tokens, forgets, clocks, moments):  # type: ignore[no-untyped-def]
    """Go on until the controller is asked or the run is over; return what is asked, and which promise broke where.

    Args:
        f: tables of the fleet.
        r: tables of its replicas.
        course: `COURSE` record.
        rest: what `go_on` takes behind it.
        owners: as in `broken`, and below.
        merged: likewise.
        room: likewise.
        first: the row that each request was sent to first, -1 before `(n,)`.
        seen: likewise.
        counts: likewise.
        tokens: likewise.
        forgets: likewise.
        clocks: of the fleet and of each row, s, at the moment before `(1 + R,)`.
        moments: how many at most.
    """
    for k in range(moments):
        ask = go_on(0, f, r, course, *rest, min(k, 1))  # first what is left of an instant at which there was a tick
        found, where = broken(f, r, owners, merged, room, seen, counts, tokens, forgets)
        if found != KEPT:
            return ask, found, where
        if f.fleet[0].clock < clocks[0]:
            return ask, BACK, -1
        clocks[0] = f.fleet[0].clock
        for g in range(len(f.forms)):
            if r.system[g].clock < clocks[1 + g]:
                return ask, BACK, g
            clocks[1 + g] = r.system[g].clock
        for i in range(len(first)):
            if first[i] < 0:
                first[i] = r.requests[i].site
        if ask != tables.PAUSED:
            return ask, KEPT, 0
    return tables.PAUSED, NO_END, 0


def watched(fleet: Fleet, drawn: Drawn, router: RoutingPolicy, room: np.ndarray, unit: Unit) -> tuple[Run, np.ndarray]:
    """Serve requests one moment after another, and check each, and what is left at the end.

    Args:
        fleet: the fleet.
        drawn: the requests and the chance of the run.
        router: sends them.
        room: the longest prompt of request i that replica q can hold to its end `(R, n)`.
        unit: what the controller is told of one replica.

    Returns:
        the run, and the replica that each request was sent to first `(n,)`.

    Raises:
        AssertionError: a promise is broken.
    """
    f, r, course, rest, checked = fleet.loaded(drawn, router)
    if r.cells is None:  # watched, all of the engine is compiled, and unwatched as little as suffices
        r = r._replace(cells=np.zeros(0, np.int64))
    steering = Steering(fleet, f, r, course, drawn.truth.get("vanishing", NEVER), unit)
    f, which, n = steering.f, fleet.rows[1], len(drawn.sizes)
    forgets = any(m.rules.forget_unread for m in fleet.members)
    first, clocks = np.full(n, -1), np.full(1 + len(which), -np.inf)
    space: Any = (first, np.zeros(n, np.int64), np.zeros((5, len(which)), np.int64), np.zeros(n, np.int64))
    told = np.searchsorted(which, which), fleet.discipline.merged, room[which]
    for _ in range(MOST):
        ask, found, where = watch(f, r, course, rest, *told, *space, forgets, clocks, MOST)
        assert found == KEPT, f"{PROMISES[found]}: {where}, at {f.fleet['clock'][0]} s"
        if ask != tables.TICK:
            break
        steering.tick()
    for made, numbers in checked:
        made.refuse_failure(numbers, r.requests)
    run = run_of(f, r, 0, drawn.sizes, router.name, fleet, 0.0)
    if run.reason == "drained":
        at_rest(f, r, promises=not (forgets and router.paired))  # who was promised to another forgot its length
    return run, which[first]


def at_rest(f: Any, r: Any, promises: bool) -> None:
    """Check what is left when all are done, `promises` of room among it."""
    held = r.system["blocks"] - r.system["free"]
    assert (held == 0).all(), f"blocks kept: {held}"
    for name in ("inbound", "inbound_tokens", "outbound", "awaited"):
        assert (f.members[name] == 0).all(), f"somebody is yet {name}: {f.members[name]}"
    left = f.members["reserved"] - r.state["fulfilled"]
    assert not promises or (left == 0).all(), f"room promised to nobody: {left}"
    awaited = f.members["promised"] - (r.state["done"] - f.members["pulled"])
    assert (awaited == 0).all(), f"promised, but not there: {awaited}"
