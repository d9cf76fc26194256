"""Steps of the environment of a fleet: a request is sent, or goes on elsewhere, and the fleet goes on to the next one.

`step_batch` does it for E runs; a scalar environment is a batch of one. Rows are the replicas, in their order.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, prefetch
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.tables import DRAINED
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.engines.fleet.arrivals import sent_to
from llmqueue_gym.engines.fleet.choice import draw_others, place_of
from llmqueue_gym.engines.fleet.decider import asks_again, may_stay
from llmqueue_gym.engines.fleet.moments import left
from llmqueue_gym.engines.fleet.sites import look, takes
from llmqueue_gym.engines.fleet.tables import HAND, OVER, PAUSED, RESUME, ROUTE, SAMPLE, TICK
from llmqueue_gym.engines.fleet.transfers import hand_over
from llmqueue_gym.engines.state import SKIP, START

WORK = 1 << 50  # moments that a call of the agenda may pass through: it comes back at a decision and not before
FEW = 8  # requests


@inner_kernel
def cost_until(e, f, r, clock):
    """Return what run e has cost by now, the integral of the cost rate: of who has come, less of who has left."""
    rate, paid_later = f.fleet[e].arrived_cost, f.fleet[e].arrived_time
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        rate -= r.state[g].gone
        paid_later -= r.state[g].gone_time
    return clock * rate - paid_later


@inner_kernel
def time_of(e, f, r, over):
    """Return what time it is in run e, s; where it is over, when the last of its replicas stopped."""
    clock = f.fleet[e].clock
    if over:
        for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
            clock = max(clock, r.system[g].clock)
    return clock


@inner_kernel
def reads_and_goes_on(e, f, r, ask, course):
    """Whether the request in question looks for a replica that decodes."""
    fleet = f.fleet[e]
    return ask == HAND or (not fleet.elsewhere and may_stay(e, f, r, fleet.subject, course))


@inner_kernel
def write_mask(e, f, r, ask, decodes, mask):
    """Write which replicas are open: those that take the request and, when it is routed, that it sees.

    All that take it are where none of those that it sees does, and every action is where the run is over. What an agent
    does at ticks is closed.
    """
    i, any_open = f.fleet[e].subject, False
    for action in range(len(f.forms), mask.shape[1]):
        mask[e, action] = 1 if ask == OVER else 0
    for q in range(len(f.forms)):
        is_open = ask == OVER or takes(e, f, r, q, i, decodes)
        if ask == ROUTE and f.choices.shape[1] > 0:
            is_open = is_open and place_of(f, i, q) > 0
        mask[e, q] = 1 if is_open else 0
        any_open = any_open or is_open
    if not any_open:
        for q in range(len(f.forms)):
            mask[e, q] = 1 if takes(e, f, r, q, i, decodes) else 0


@inner_kernel
def observe(e, f, r, ask, decodes, wants, dt, features, view, factors, view_factors):
    """Write what an agent sees of run e; the columns are `systems.fleet_view.FleetView`'s.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        ask: ROUTE, HAND or OVER.
        decodes: whether the request in question looks for a replica that decodes.
        wants: what reports tell.
        dt: s since the last decision.
        features: `(E, R, 19)`, written; columns beyond those are 0.
        view: `(E, 13)`, likewise.
        factors: `(19,)`, by which the columns of features are multiplied, float32.
        view_factors: `(13,)`, likewise of view.
    """
    fleet, first, i = f.fleet[e], e * len(f.forms), f.fleet[e].subject
    count = look(e, f, r, i, wants, decodes)
    request = r.requests[i]
    for q in range(len(f.forms)):
        g = first + q
        site, member = f.sites[g], f.members[g]
        features[e, q, 0] = 1.0 if takes(e, f, r, q, i, decodes) else 0.0
        features[e, q, 1] = place_of(f, i, q)
        features[e, q, 2] = 1.0 if ask == HAND and fleet.source == q else 0.0
        features[e, q, 3] = member.role
        features[e, q, 4] = site.running
        features[e, q, 5] = site.waiting
        features[e, q, 6] = site.free
        features[e, q, 7] = site.blocks
        features[e, q, 8] = site.pending
        features[e, q, 9] = site.work
        features[e, q, 10] = site.context
        features[e, q, 11] = site.step_time
        features[e, q, 12] = fleet.clock - site.reported
        features[e, q, 13] = r.state[g].n - r.state[g].done + member.inbound
        features[e, q, 14] = site.tokens
        features[e, q, 15] = site.cached
        features[e, q, 16] = site.known
        features[e, q, 17] = site.since
        features[e, q, 18] = site.wanted
        for column in range(19, features.shape[2]):
            features[e, q, column] = 0.0
        for column in range(features.shape[2]):
            features[e, q, column] *= factors[column]
    for column in range(view.shape[1]):
        view[e, column] = 0.0
    if ask != OVER:
        view[e, 0] = ask
        view[e, 1] = request.prompt
        view[e, 2] = request.generated
        view[e, 3] = request.computed
        view[e, 4] = request.predicted
        view[e, 5] = request.upper
        view[e, 6] = request.weight
        view[e, 7] = fleet.clock - request.arrival
        view[e, 8] = max(request.deadline - fleet.clock, 0.0) if request.deadline < float("inf") else 0.0
        view[e, 11] = (fleet.turn if ask == ROUTE else fleet.handed) % max(count, 1)
        view[e, 12] = f.ties[i]
    view[e, 9] = fleet.arrived - left(e, f, r)
    view[e, 10] = dt
    for column in range(view.shape[1]):
        view[e, column] *= view_factors[column]


@inner_kernel
def first_open(e, mask):
    """Return the action that stands for one that is not open."""
    for q in range(mask.shape[1]):
        if mask[e, q] == 1:
            return q
    return 0


@inner_kernel
def ask_for(e, f, r):
    """Ask for the rows that a step of run e will look at, because the tables of many runs lie in no near cache.

    More than these would take the place of others that are needed.
    """
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        for k in range(min(FEW, r.system[g].running)):
            i = r.running[g, k]
            prefetch(r.requests, i, 0)
            prefetch(r.truth, i, 0)
        i = row_at(g, r, 0)
        prefetch(r.requests, i, 0)
        prefetch(r.requests, i, 64)
        prefetch(r.truth, i, 0)
    i = f.fleet[e].first + f.fleet[e].arrived
    prefetch(r.requests, i, 0)
    prefetch(r.requests, i, 64)
    prefetch(r.requests, i, 128)
    prefetch(r.truth, i, 0)


@lean_kernel
def step_batch(
    f, r, steps, asks, paid, actions, features, view, mask, factors, view_factors, course, conduct, agent, score,
    scores, hand, hands, rank, victim, length, progress, params,
):  # fmt: skip
    """Take one decision in each of E runs, go to the next and write what came of it.

    Args:
        f: `FleetTables` of E runs.
        r: `ReplicaTables` of their replicas.
        steps: `STEP` rows `(E,)`, written.
        asks: `(E,)`, what each agent was last asked, written.
        paid: `(E,)`, what each run had cost at its last decision, written; all until the first is paid with the second.
        actions: `(E,)`, START, SKIP, or a replica. One that is not open stands for the first that is. At a tick it is
            what `scaling.take_targets` has carried out, or RESUME, which makes one step of what is before and after.
        features: `(E, R, 19)`, written by `observe`.
        view: `(E, 13)`, likewise.
        mask: `(E, R)`, written by `write_mask`.
        factors: see `observe`.
        view_factors: likewise.
        course: `COURSE` record.
        conduct: `CONDUCT` record.
        agent: which decisions are the agent's: ROUTES, HANDS, added.
        score: as in `go_on`; None where the agent decides all that there is, by a plain order.
        scores: likewise.
        hand: likewise.
        hands: likewise.
        rank: of the order, likewise.
        victim: likewise.
        length: likewise.
        progress: likewise.
        params: their numbers, `(R, k)`.
    """
    for e in range(actions.shape[0]):
        action = actions[e]
        if e + 1 < actions.shape[0]:
            ask_for(e + 1, f, r)
        if action == SKIP:
            continue
        fleet, step = f.fleet[e], steps[e]
        clock = max(fleet.clock, 0.0)
        if action != RESUME:
            step.illegal, step.reward, step.dt = False, 0.0, 0.0
        if action == START:
            clock, paid[e] = r.requests[fleet.first].arrival, 0.0
        elif action != RESUME:
            if mask[e, action] == 0:
                step.illegal = True
                action = first_open(e, mask)
            if asks[e] == HAND:
                hand_over(e, f, r, fleet.subject, action, course)
            elif asks[e] == ROUTE and not asks_again(e, f, r, action, course):
                sent_to(e, f, r, action, course)
        ask = ROUTE if fleet.elsewhere else PAUSED
        while ask == PAUSED:
            ask = go_on(
                e, f, r, course, conduct, agent, 0, score, scores, hand, hands, None, None, rank, victim, length,
                progress, params, WORK,
            )  # fmt: skip
        asks[e] = ask
        now = time_of(e, f, r, ask == OVER)
        if action != START:
            cost = cost_until(e, f, r, now)
            step.reward += paid[e] - cost
            paid[e] = cost
        step.dt += now - clock
        step.clock = now
        step.in_system = fleet.arrived - left(e, f, r)
        step.terminated = ask == OVER and fleet.reason == DRAINED
        step.truncated = ask == OVER and fleet.reason != DRAINED
        if agent == 0 or ask == TICK:
            continue
        decodes = reads_and_goes_on(e, f, r, ask, course)
        if ask != OVER and (course.looks if ask == ROUTE else course.hand_looks) == SAMPLE:
            draw_others(e, f, r, fleet.subject, decodes)
        write_mask(e, f, r, ask, decodes, mask)
        observe(e, f, r, ask, decodes, course.wants | course.hand_wants, step.dt, features, view, factors, view_factors)
