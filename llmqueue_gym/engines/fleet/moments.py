"""When something happens next in a fleet that concerns more than one replica."""

import numpy as np

from llmqueue_gym._jit import inner_kernel
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.tables import COMPUTE
from llmqueue_gym.engines.fleet.arrivals import next_arrival
from llmqueue_gym.engines.fleet.tables import DRAINING

FEW = 64  # who wait at a replica; it would take too long to look at more


@inner_kernel
def left(e, f, r):
    """Return how many requests of run e have been done, or were cancelled."""
    total = f.fleet[e].cancelled - f.fleet[e].pulled
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        total += r.state[g].done
    return total


@inner_kernel
def next_moment(e, f, r, course):
    """Return when anything happens in run e that concerns more than one replica, s."""
    fleet = f.fleet[e]
    when = next_arrival(e, f, r)
    if (fleet.events > 0 or course.tick < np.inf) and left(e, f, r) == fleet.n:
        return np.inf  # what was noted concerns nobody
    if fleet.events > 0:
        when = min(when, f.events[e, 0].time)
    if course.tick < np.inf:
        when = min(when, fleet.next_tick)
    if course.migrate_every > 0 and left(e, f, r) < fleet.n:
        when = min(when, fleet.next_migration)
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        if is_watched(e, f, g, course):
            when = min(when, none_before(e, f, r, g, course))
    if course.staleness > 0 and when < np.inf:
        fleet.next_report = report_before(fleet.clock, when, course.staleness)
        when = min(when, fleet.next_report)
    return when


@inner_kernel
def is_watched(e, f, g, course):
    """Whether the ends of iterations of replica g of run e concern others, at which somebody leaves at least."""
    member = f.members[g]
    return member.emits or member.power == DRAINING or (course.holds and f.fleet[e].held > 0)


@inner_kernel
def none_before(e, f, r, g, course):
    """Return a time before which no iteration ends at replica g of run e that concerns others, s.

    Where only those concern them at which somebody leaves, as many iterations lie before the next of these as the
    shortest output that is left has tokens, but for one; each takes as long as the shortest that there is, at least.
    """
    q, state, system, member = g % len(f.forms), r.state[g], r.system[g], f.members[g]
    shortest = f.shortest[q]
    others = course.each or course.splits or f.fleet[e].withdrawn >= 0 or member.leaving >= 0 or member.awaited > 0
    coming = state.n - state.arrived
    if others or shortest == 0 or system.waiting + coming > FEW or system.running == 0:
        return state.ends
    fewest = np.iinfo(np.int64).max
    for k in range(system.running):
        fewest = min(fewest, tokens_left(f, r, q, r.running[g, k]))
    for k in range(system.waiting):  # who waits joins the next iteration at the earliest
        fewest = min(fewest, 1 + tokens_left(f, r, q, row_at(g, r, k)))
    for k in range(coming):
        fewest = min(fewest, 1 + tokens_left(f, r, q, r.inbox[g, (state.arrived + k) & (r.inbox.shape[1] - 1)]))
    return state.ends + max(fewest - 1, 0) * shortest


@inner_kernel
def tokens_left(f, r, q, i):
    """Return the output tokens that request i still has to make at replica q, which may cut it short."""
    most = f.longest[q] - r.requests[i].prompt if f.cuts[q] else r.truth[i].output
    return min(most, r.truth[i].output) - r.requests[i].generated


@inner_kernel
def is_amid(f, r, q, g, until):
    """Whether replica q, in row g, is in an iteration that ends after a time, so that nothing happens there before.

    A pipeline is not looked at, as another stage of it may begin.
    """
    state = r.state[g]
    return state.phase == COMPUTE and until < state.ends < np.inf and f.rules[q].stages == 1


@inner_kernel
def report_before(clock, when, staleness):
    """Return when replicas report last before anybody looks, or then; infinity where that has been.

    What ends then looks before they report, so it needs the report before.
    """
    k = np.floor(when / staleness)
    if k * staleness >= when:
        k -= 1.0
    last = max(k, 0.0) * staleness  # nothing was before time 0
    if last <= clock:
        last = (k + 1.0) * staleness
    return last if clock < last <= when else np.inf
