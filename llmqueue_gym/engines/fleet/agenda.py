"""What happens next in a fleet: an arrival, what was noted, a report, a tick, or the end of an iteration that concerns
others, whichever comes first.

At one instant iterations end first, replica by replica; then come the events that were noted, reports, the controller's
tick and the arrivals, and whoever waits at the router is sent on; then iterations begin. A replica whose iterations
concern nobody else is brought up to date at these instants alone, and passes through as many iterations between them as
it likes.
"""

import numpy as np

from llmqueue_gym._jit import lean_kernel, part_kernel
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.tables import DRAINED, ENDLESS, GOING, HORIZON, STUCK
from llmqueue_gym.engines.batching.tables import PAUSED as BUSY
from llmqueue_gym.engines.fleet.arrivals import arrive, follow, next_arrival, sent_to
from llmqueue_gym.engines.fleet.choice import choose
from llmqueue_gym.engines.fleet.decider import route
from llmqueue_gym.engines.fleet.events import drop_first
from llmqueue_gym.engines.fleet.held import first_held, has_place, hold, let_go, may_pick
from llmqueue_gym.engines.fleet.migration import migrate
from llmqueue_gym.engines.fleet.moments import is_amid, is_watched, left, next_moment
from llmqueue_gym.engines.fleet.pools import choose_both, come_home
from llmqueue_gym.engines.fleet.power import begin_start, switch_off
from llmqueue_gym.engines.fleet.programs import come
from llmqueue_gym.engines.fleet.promises import keep_promises_here, promise
from llmqueue_gym.engines.fleet.record import remember
from llmqueue_gym.engines.fleet.retention import expire, review, settle
from llmqueue_gym.engines.fleet.sites import fits, report
from llmqueue_gym.engines.fleet.stopping import withdraw_cancelled
from llmqueue_gym.engines.fleet.tables import (
    ARRIVE,
    BEGIN,
    CANCELLED,
    DRAINING,
    EXPIRES,
    FOLLOW,
    HAND,
    HANDS,
    HAPPEN,
    MOVE_ON,
    MOVED,
    OFF,
    ON,
    OVER,
    PAUSED,
    PICK,
    PICKS,
    READY,
    RETRIED,
    RETURNS,
    ROUTE,
    ROUTES,
    STARTED,
    STARTING,
    TICK,
)
from llmqueue_gym.engines.fleet.transfers import (
    arrive_from_elsewhere,
    begin_transfers,
    hand_over,
    only_tries,
    send,
    try_transfer,
    vanish,
)
from llmqueue_gym.requests import DONE


@part_kernel
def happen_now(e, f, r, course, retain, stop):
    """Let the events of run e happen that are due."""
    while f.fleet[e].events > 0 and f.events[e, 0].time <= f.fleet[e].clock:
        happen(e, f, r, course, retain, stop)


@part_kernel
def happen(e, f, r, course, retain, stop):
    """Let the first event of run e happen, which is due."""
    fleet, event = f.fleet[e], f.events[e, 0]
    kind, subject = event.kind, event.subject
    drop_first(e, f)
    if kind == MOVED:
        arrive_from_elsewhere(e, f, r, subject, course)
    elif kind == RETRIED:
        try_transfer(e, f, r, subject, course)
    elif kind == RETURNS:
        hold(e, f, r, subject)
    elif kind == READY:
        if f.calls[subject].place == CANCELLED:
            return
        q = come(e, f, r, subject)
        if q < 0:
            hold(e, f, r, subject)
        else:  # where its context is
            promise(e, f, r, subject, q, 1)
            remember(e, f, r, subject, q)
            send(e, f, r, subject, q, course)
    elif kind == EXPIRES:
        if retain is not None:
            expire(e, f, r, subject, retain)
    elif kind == STARTED:
        g = e * len(f.forms) + subject
        f.members[g].power, f.members[g].starts = ON, -1
        r.system[g].clock = max(r.system[g].clock, fleet.clock)
    else:
        member = f.members[e * len(f.forms) + subject]
        if member.power != OFF:
            wanted = member.power != DRAINING or member.becomes >= 0
            role = member.becomes if member.becomes >= 0 else member.home
            vanish(e, f, r, subject, course)
            if course.follows:
                follow(e, f, r, retain, stop, 0)
            if wanted:  # another one is asked for in its place
                begin_start(e, f, r, subject, role, course.start_up, course)


@part_kernel
def who_was_read(e, f, r):
    """Return a replica of run e where somebody has just had a first token who may go on elsewhere, -1 for none."""
    for q in range(len(f.forms)):
        if r.state[e * len(f.forms) + q].out > 0:
            return q
    return -1


@part_kernel
def ask_for_next_read(e, f, r, q):
    """Make the first who was read at replica q of run e the request in question."""
    fleet, g = f.fleet[e], e * len(f.forms) + q
    state, notes = r.state[g], r.notes[g]
    fleet.source, fleet.subject = q, notes[0].first
    state.out -= 1
    for k in range(state.out):
        notes[k].first = notes[k + 1].first


@lean_kernel
def go_on(
    e,
    f,
    r,
    course,
    conduct,
    agent,
    slots,
    score,
    scores,
    hand,
    hands,
    retain,
    stop,
    rank,
    victim,
    length,
    progress,
    params,
    work,
):
    """Go on with run e until somebody has to decide, the run is over, or so much is done that Python has its turn.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`, replica k of run e in row e * R + k.
        course: `COURSE` record.
        conduct: `CONDUCT` record of the order in which replicas serve.
        agent: which decisions are the agent's: ROUTES, HANDS, PICKS, KEEPS, STOPS, added; 0 for none.
        slots: of those that wait at the router the first that an agent can pick among.
        score: compiled function of the router, or None where an agent routes.
        scores: its numbers.
        hand: compiled function that chooses who goes on with what was read; None where an agent does.
        hands: its numbers.
        retain: functions of a policy of retention and its numbers, see `retention`; None where no context is kept.
        stop: function of a rule of stopping and its numbers, see `stopping`; None where every call is served.
        rank: of the order, as in `proceed`.
        victim: likewise.
        length: likewise.
        progress: likewise.
        params: their numbers, `(R, k)`.
        work: moments after which it comes back, about.

    Returns:
        ROUTE where the agent sends request `fleet.subject` somewhere by `sent_to`, HAND where it says who goes on with
        it by `hand_over`, PICK where it says in `fleet.picked` who is sent on next of those that wait at the router,
        KEEP where it says what happens to the context for call `fleet.subject` by `do_with`, STOP where it may end the
        program of call `fleet.subject`, which has answered, by `stop_program`, TICK where the controller is to be
        asked, PAUSED where the work is done, OVER where the run is over, for `fleet.reason`.
    """
    fleet, replicas = f.fleet[e], len(f.forms)
    first = e * replicas
    while fleet.reason == GOING:
        if course.splits and fleet.phase in (MOVE_ON, HAPPEN):
            q = who_was_read(e, f, r)
            if q >= 0:
                fleet.clock = max(fleet.clock, r.system[first + q].clock)
                ask_for_next_read(e, f, r, q)
                if r.requests[fleet.subject].status == DONE:  # its first token was its last
                    keep_promises_here(e, f, r, fleet.subject, q, course)
                    continue
                if course.staleness == 0:
                    report_all(e, f, r, course)
                i = fleet.subject
                has_place(e, f, r, i, True, False)  # whoever goes on may wait there
                if agent & HANDS:
                    return HAND
                if hand is not None:
                    target = f.flows[i].target
                    paired = course.paired and not (r.requests[i].goes_on and target == q)  # else its target vanished
                    if not (paired and f.members[first + target].power == ON and fits(f, r, target, i)):
                        target = choose(e, f, r, i, course.hand_looks, course.hand_wants, True, hand, hands)
                    hand_over(e, f, r, i, target, course)
                    if course.borrows:
                        come_home(e, f, r)
                continue
        if fleet.phase == MOVE_ON:
            if work <= 0:
                return PAUSED
            work -= 1
            closes = fleet.clock >= course.horizon  # then what has begun ends, as at a replica alone
            when = next_moment(e, f, r, course)
            until, reason = min(when, course.horizon), DRAINED
            for q in range(replicas):
                g = first + q
                if f.members[g].power in (OFF, STARTING):
                    continue
                state = r.state[g]
                if closes and state.ends == np.inf:
                    continue
                state.until = state.ends if closes else until
                if is_amid(f, r, q, g, state.until):
                    continue
                found = proceed(
                    g, r, f.rules[q], conduct, f.forms[q], f.numbers[q], 0, 0, rank, victim, length, progress,
                    params[q], ENDLESS if until < np.inf else (work + 1) * 1000,
                )  # fmt: skip
                if found == BUSY:
                    return PAUSED
                if state.reason not in (GOING, DRAINED):
                    reason = state.reason
                if closes:
                    fleet.clock = max(fleet.clock, r.system[g].clock)
            done, reads = left(e, f, r) == fleet.n, course.splits and who_was_read(e, f, r) >= 0
            if reads and (done or (until == np.inf and reason == DRAINED)):  # it may be settled yet where they stay
                continue
            if closes:
                fleet.reason = DRAINED if done else HORIZON
                break
            if course.retry > 0:
                fleet.fruitless = fleet.fruitless + 1 if only_tries(e, f, r, course) else 0
                if fleet.fruitless > 1:  # who waits at a replica may have begun after the first of them
                    fleet.reason = STUCK
                    break
            if until < np.inf and done:  # what comes later concerns nobody, and nobody pays for it
                fleet.reason = DRAINED
                break
            if until == np.inf or reason != DRAINED:
                fleet.reason = STUCK if reason == DRAINED and fleet.held > 0 else reason
                break
            fleet.clock = until
            if course.borrows:
                come_home(e, f, r)
            if course.follows:
                fleet.phase = FOLLOW
            elif when < course.horizon:
                fleet.phase = HAPPEN
            continue
        if fleet.phase == FOLLOW:
            ask = follow(e, f, r, retain, stop, agent)
            if ask > 0:
                return ask
            fleet.phase = HAPPEN if fleet.clock < course.horizon else MOVE_ON
            continue
        if fleet.phase == HAPPEN:
            for g in range(first, first + replicas):
                if f.members[g].awaited > 0:
                    begin_transfers(e, f, r, g, course)
            happen_now(e, f, r, course, retain, stop)
            switch_off(e, f, r, course)
            if course.migrate_every > 0:
                migrate(e, f, r, course)
                happen_now(e, f, r, course, retain, stop)  # who moves in no time is there before iterations begin
            if fleet.withdrawn >= 0:
                withdraw_cancelled(e, f, r)
            if retain is not None:
                review(e, f, r, retain)
            if fleet.next_report <= fleet.clock:
                report_all(e, f, r, course)
                fleet.next_report = np.inf
            fleet.phase = ARRIVE
            if fleet.next_tick <= fleet.clock:
                fleet.next_tick += course.tick
                return TICK
            continue
        elif fleet.phase == ARRIVE:
            if next_arrival(e, f, r) <= fleet.clock:
                i = arrive(e, f, r)
                if len(f.calls) == 0 or f.calls[i].place != CANCELLED:  # its program may have been stopped before
                    hold(e, f, r, i)
                continue
            i = fleet.picked
            fleet.picked = -1
            if i < 0:
                if agent & PICKS and may_pick(e, f, r, course, slots):
                    return PICK
                i = first_held(e, f, r, course, rank, params[0])
            if i < 0:
                fleet.phase = BEGIN
                continue
            let_go(e, f, i)
        else:
            soon = np.nextafter(fleet.clock, np.inf)
            for q in range(replicas):
                g = first + q
                ends_next = fleet.clock < r.state[g].ends <= soon  # which is the next moment, and not before it
                held = ends_next or is_amid(f, r, q, g, soon)
                if is_watched(e, f, g, course) and f.members[g].power in (ON, DRAINING) and not held:
                    r.state[g].until = soon
                    proceed(
                        g, r, f.rules[q], conduct, f.forms[q], f.numbers[q], 0, 0, rank, victim, length, progress,
                        params[q], ENDLESS,
                    )  # fmt: skip
                    if r.state[g].ends == np.inf:  # it waits, and may begin at this very instant yet
                        r.system[g].clock = min(r.system[g].clock, fleet.clock)
                if f.members[g].awaited > 0:  # somebody may have been preempted
                    begin_transfers(e, f, r, g, course)
            fleet.phase = MOVE_ON
            continue
        if course.staleness == 0:
            report_all(e, f, r, course)
        if agent & ROUTES:
            return ROUTE
        if score is not None:
            i = fleet.subject
            if course.paired and hand is not None:
                q = choose_both(e, f, r, i, course, score, scores, hand, hands)
            else:
                q = route(e, f, r, i, course, score, scores)
            sent_to(e, f, r, q, course)
            if retain is not None:
                settle(e, f, r, i, q, retain)
    if len(f.calls) > 0:
        follow(e, f, r, retain, stop, 0)  # who has left since the last moment
    return OVER


@part_kernel
def report_all(e, f, r, course):
    """Let all replicas of run e report themselves."""
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        report(g, f, r, f.fleet[e].clock, course.wants | course.hand_wants)
