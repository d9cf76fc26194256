"""Requests come to a fleet, are sent to replicas, and are followed by others when they leave.

Those are the next of clients who wait for their answers, or calls of the same program, see `programs`.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel
from llmqueue_gym.engines.fleet.programs import begin_program, end_call
from llmqueue_gym.engines.fleet.promises import lend_room, promise
from llmqueue_gym.engines.fleet.record import remember
from llmqueue_gym.engines.fleet.retention import begin_away, is_away
from llmqueue_gym.engines.fleet.stopping import has_answered, stop_or_not
from llmqueue_gym.engines.fleet.tables import KEEP, KEEPS, STOP, STOPS
from llmqueue_gym.engines.fleet.transfers import send
from llmqueue_gym.requests import PREFILL


@inner_kernel
def next_arrival(e, f, r):
    """Return when the next request of run e comes, s; infinity where that is not known."""
    fleet = f.fleet[e]
    return r.requests[fleet.first + fleet.arrived].arrival if fleet.arrived < fleet.sent else np.inf


@inner_kernel
def arrive(e, f, r):
    """Let the next request of run e come, and return its row."""
    fleet = f.fleet[e]
    i = fleet.first + fleet.arrived
    cost = r.truth[i].cost
    fleet.arrived += 1
    if len(f.calls) > 0:
        begin_program(e, f, r, i)
    fleet.arrived_cost += cost
    fleet.arrived_time += cost * r.requests[i].arrival
    return i


@inner_kernel
def sent_to(e, f, r, q, course):
    """Send the request in question to replica q of run e."""
    f.fleet[e].turn += 1
    if not course.paired:
        if f.members[e * len(f.forms) + q].role == PREFILL:
            lend_room(e, f, r, f.fleet[e].subject, q, 1)
        else:
            promise(e, f, r, f.fleet[e].subject, q, 1)
    remember(e, f, r, f.fleet[e].subject, q)
    send(e, f, r, f.fleet[e].subject, q, course)


@inner_kernel
def follow(e, f, r, retain, stop, agent):
    """Let those follow who come after requests that have left since it was last called; for the rest see `go_on`.

    Returns:
        KEEP or STOP where the agent is asked what comes of one of them, and it is to be called again; 0 at the end.
    """
    fleet = f.fleet[e]
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        member = f.members[g]
        while member.done < r.state[g].done:
            i = r.inbox[g, member.done & (r.inbox.shape[1] - 1)]
            member.done += 1
            if i < 0:
                continue
            if len(f.calls) > 0:
                end_call(e, f, r, i)
                if retain is not None:
                    begin_away(e, f, r, i, retain)
                if agent & KEEPS and is_away(e, f, r, i):
                    return KEEP
                if stop is not None:
                    stop_or_not(e, f, r, i, stop)
                if agent & STOPS and has_answered(e, f, r, i):
                    return STOP
            elif fleet.sent < fleet.n:
                request = r.requests[fleet.first + fleet.sent]
                request.arrival = request.ready = request.last_token = request.last_scheduled = fleet.clock
                fleet.sent += 1
    return 0
