"""What an agent sees of a fleet at a tick, and how replicas are switched on and off, or change their role, as it says.

It says how many replicas are to be on in each role, as a controller does; `power.follow` says which. The first time is
before anything happens, at time 0, when as many are on at once.
"""

from typing import NamedTuple

import numpy as np

from llmqueue_gym._jit import lean_kernel, part_kernel, prefetch, records
from llmqueue_gym.engines.batching.block_queue import row_of, stands_for_itself
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.fleet.moments import left
from llmqueue_gym.engines.fleet.power import follow
from llmqueue_gym.engines.fleet.sites import SOON, add
from llmqueue_gym.engines.fleet.stepping import first_open
from llmqueue_gym.engines.fleet.tables import DRAINING, OFF, ON, OVER, STARTING, TICK
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.requests import ROLES, SITE

HOUR = 3600.0  # s
# Columns of a replica and of a fleet, in the order in which `observe_ticks` has them.
OF_REPLICA = (
    *("present", "role", "running", "waiting", "free", "blocks", "pending", "work"),
    *("starting", "starts_in", "draining", "becomes", "ended", "busy"),
)
OF_FLEET = (
    *("question", "in_system", "since_decision", "ticks", "arrivals", "prompts", "outputs", "held"),
    *("asked_both", "asked_prefill", "asked_decode", "forecast"),
)


COUNTS = ("ticks", "arrived", "made", "arrivals", "prompts", "outputs", "barren")


class Watch(NamedTuple):
    """What has been seen of E runs of R replicas at their last tick, and since the tick before."""

    ticks: np.ndarray  # so far, the first at time 0 not counted (E,)
    arrived: np.ndarray  # requests (E,)
    made: np.ndarray  # output tokens (E,)
    done: np.ndarray  # requests that left a replica (E * R,)
    batch_time: np.ndarray  # request-seconds in its batch (E * R,)
    arrivals: np.ndarray  # of these, what came since the tick before, here and below (E,)
    prompts: np.ndarray  # tokens of theirs (E,)
    outputs: np.ndarray  # (E,)
    ended: np.ndarray  # (E * R,)
    busy: np.ndarray  # (E * R,)
    asked: np.ndarray  # replicas that were asked for, by role (E, 3)
    forecast: np.ndarray  # requests that are predicted to come soon, at each tick (E, k); the last from then on
    barren: np.ndarray  # ticks one after another at which nobody had come or got a token (E,)
    burden: np.ndarray  # space, a SITE row (1,)


def fresh_watch(runs: int, replicas: int) -> Watch:
    """Return what has been seen of runs that have not begun."""
    counts = {name: np.zeros(runs, np.int64) for name in COUNTS}
    each = {name: np.zeros(runs * replicas, np.int64) for name in ("done", "ended")}
    times = {name: np.zeros(runs * replicas) for name in ("batch_time", "busy")}
    asked, forecast, burden = np.zeros((runs, 3), np.int64), np.zeros((runs, 1)), records(np.zeros(1, SITE))
    return Watch(**counts, **each, **times, asked=asked, forecast=forecast, burden=burden)


@part_kernel
def begin_on(e, f, targets):
    """Let the first replicas of each role of run e be on, as many as are asked for; nothing has happened yet."""
    for role in ROLES:
        count = targets[role]
        for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
            if f.members[g].home == role:
                f.members[g].power = ON if count > 0 else OFF
                count -= 1


@lean_kernel
def take_targets(f, r, watch, asks, actions, mask, targets, first, course):
    """Carry out what agents say at ticks; no time passes.

    Args:
        f: `FleetTables` of E runs.
        r: `ReplicaTables` of their replicas.
        watch: `Watch`.
        asks: `(E,)`, what each agent was last asked.
        actions: `(E,)`; those of other questions are left alone, and one that is not open stands for the first that is.
        mask: `(E, n)`.
        targets: replicas by role `(n - first, 3)`, of the actions from `first` on.
        first: the first action that is taken at ticks.
        course: `COURSE` record.
    """
    for e in range(actions.shape[0]):
        action = actions[e]
        if action < 0 or asks[e] != TICK:
            continue
        if mask[e, action] == 0:
            action = first_open(e, mask)
        wanted = targets[action - first]
        for role in ROLES:
            watch.asked[e, role] = wanted[role]
        if watch.ticks[e] == 0:
            begin_on(e, f, wanted)
        else:
            follow(e, f, r, wanted, course)


@part_kernel
def take_note(e, f, r, watch):
    """Note what has happened in run e since its last tick."""
    fleet, made, prompts, replicas = f.fleet[e], 0, 0, len(f.forms)
    for g in range(e * replicas, (e + 1) * replicas):
        state = r.state[g]
        made += state.made
        watch.ended[g], watch.busy[g] = state.done - watch.done[g], state.batch_time - watch.batch_time[g]
        watch.done[g], watch.batch_time[g] = state.done, state.batch_time
    for i in range(fleet.first + watch.arrived[e], fleet.first + fleet.arrived):
        prompts += r.requests[i].prompt
    watch.arrivals[e], watch.outputs[e], watch.prompts[e] = (
        fleet.arrived - watch.arrived[e],
        made - watch.made[e],
        prompts,
    )
    watch.arrived[e], watch.made[e] = fleet.arrived, made
    watch.barren[e] = watch.barren[e] + 1 if watch.arrivals[e] == 0 and watch.outputs[e] == 0 else 0
    watch.ticks[e] += 1


@part_kernel
def add_up(g, f, r, burden):
    """Sum up what the requests at replica g have left."""
    system, state, rules = r.system[g], r.state[g], f.rules[g % len(f.forms)]
    burden.pending = burden.work = 0.0
    for k in range(system.running):
        add(burden, r.requests[r.running[g, k]])
    for k in range(system.waiting):
        prefetch(r.requests, row_at(g, r, k + SOON), 0)
        if stands_for_itself(r, rules, row_at(g, r, k)):
            add(burden, r.requests[row_of(row_at(g, r, k))])
    for k in range(state.n - state.arrived):
        add(burden, r.requests[r.inbox[g, (state.arrived + k) & (r.inbox.shape[1] - 1)]])


@lean_kernel
def bill(f, steps, actions, owed, price):
    """Take what the replicas of each run cost in a step from its reward; all until the first decision with the second.

    Args:
        f: `FleetTables` of E runs.
        steps: `STEP` rows `(E,)`, written.
        actions: `(E,)`, those that led here; a run with SKIP is left alone.
        owed: `(E,)`, the hours for which each run had paid at its last decision, written.
        price: of an hour.
    """
    for e in range(actions.shape[0]):
        if actions[e] == SKIP:
            continue
        hours = 0.0
        if actions[e] != START:
            for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
                member = f.members[g]
                on = max(steps[e].clock - member.since, 0.0) if member.power != OFF else 0.0
                hours += member.on_time + on
            hours /= HOUR
            steps[e].reward -= price * (hours - owed[e])
        owed[e] = hours


@part_kernel
def starts_in(e, f, g):
    """Return the s until replica g of run e serves, 0 where it does not start."""
    member, fleet = f.members[g], f.fleet[e]
    if member.power == STARTING:
        for k in range(fleet.events):
            if f.events[e, k].order == member.starts:
                return f.events[e, k].time - fleet.clock
    return 0.0


@lean_kernel
def observe_ticks(
    f, r, watch, steps, asks, actions, features, view, mask, factors, view_factors, columns, view_columns, first, whole
):  # fmt: skip
    """Write what agents see at ticks, and, where they decide nothing else, at the end.

    Args:
        f: `FleetTables` of E runs.
        r: `ReplicaTables` of their replicas.
        watch: `Watch`.
        steps: `STEP` rows `(E,)`.
        asks: `(E,)`, what each agent is asked.
        actions: `(E,)`, those that led here; a run with SKIP is left alone.
        features: `(E, R, F)`, written, as are the next two.
        view: `(E, G)`.
        mask: `(E, n)`.
        factors: `(F,)`, by which the columns of features are multiplied, float32.
        view_factors: `(G,)`, likewise of view.
        columns: `(14,)`, where those of `OF_REPLICA` are.
        view_columns: `(12,)`, where those of `OF_FLEET` are.
        first: the first action that is taken at ticks.
        whole: whether agents decide nothing but this.
    """
    replicas = len(f.forms)
    for e in range(actions.shape[0]):
        ask, fleet, step = asks[e], f.fleet[e], steps[e]
        if actions[e] == SKIP or (ask != TICK and not whole):
            continue
        if ask == TICK:
            take_note(e, f, r, watch)
        for action in range(mask.shape[1]):
            mask[e, action] = 1 if ask == OVER or action >= first else 0
        for q in range(replicas):
            g = e * replicas + q
            member, system, state, burden = f.members[g], r.system[g], r.state[g], watch.burden[0]
            for column in range(features.shape[2]):
                features[e, q, column] = 0.0
            add_up(g, f, r, burden)
            features[e, q, columns[0]] = member.power == ON
            features[e, q, columns[1]] = member.home
            features[e, q, columns[2]] = system.running
            features[e, q, columns[3]] = system.waiting + state.n - state.arrived + member.awaited
            features[e, q, columns[4]] = system.free
            features[e, q, columns[5]] = system.blocks
            features[e, q, columns[6]] = burden.pending
            features[e, q, columns[7]] = burden.work
            features[e, q, columns[8]] = member.power == STARTING
            features[e, q, columns[9]] = starts_in(e, f, g)
            features[e, q, columns[10]] = member.power == DRAINING
            features[e, q, columns[11]] = member.becomes + 1
            features[e, q, columns[12]] = watch.ended[g]
            features[e, q, columns[13]] = watch.busy[g]
            for column in range(features.shape[2]):
                features[e, q, column] *= factors[column]
        for column in range(view.shape[1]):
            view[e, column] = 0.0
        soon = min(watch.ticks[e], watch.forecast.shape[1] - 1)
        view[e, view_columns[0]] = ask if ask == TICK else 0
        view[e, view_columns[1]] = fleet.arrived - left(e, f, r)
        view[e, view_columns[2]] = step.dt
        view[e, view_columns[3]] = watch.ticks[e]
        view[e, view_columns[4]] = watch.arrivals[e]
        view[e, view_columns[5]] = watch.prompts[e]
        view[e, view_columns[6]] = watch.outputs[e]
        view[e, view_columns[7]] = fleet.held
        for role in ROLES:
            view[e, view_columns[8] + role] = watch.asked[e, role]
        view[e, view_columns[11]] = watch.forecast[e, soon]
        for column in range(view.shape[1]):
            view[e, column] *= view_factors[column]
