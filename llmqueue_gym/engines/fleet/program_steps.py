"""Steps of the environments of programs: who is sent on next, what happens to a context, whether a program stops.

`step_programs` does it for E runs; a scalar environment is a batch of one. Rows are the first of the calls that wait at
the router, in order of their coming.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.batching.tables import DRAINED, GOING
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.engines.fleet.held import may_go
from llmqueue_gym.engines.fleet.retention import do_with
from llmqueue_gym.engines.fleet.retention import show as show_context
from llmqueue_gym.engines.fleet.stepping import WORK, cost_until, first_open, time_of
from llmqueue_gym.engines.fleet.stopping import show as show_answers
from llmqueue_gym.engines.fleet.stopping import stop_program
from llmqueue_gym.engines.fleet.tables import KEEP, OVER, PAUSED, PICK, PICKS, STOP
from llmqueue_gym.engines.state import SKIP, START

NOTHING = 0  # is asked where a run is over before anything was: its only step ends it
WAYS, ENDS = 3, 2  # actions for a context: drop, keep, move out; and for a program: go on, answer now


@inner_kernel
def write_mask(e, f, r, ask, course, agent, slots, mask):
    """Write what is open: calls that have a place, or what an agent can say of a context or a program."""
    first = slots if agent & PICKS else 0
    for action in range(mask.shape[1]):
        mask[e, action] = 1 if ask in (OVER, NOTHING) or (ask != PICK and action >= first) else 0
    if ask == PICK:
        i = f.fleet[e].front
        for k in range(slots):
            if i >= 0:
                mask[e, k] = may_go(e, f, r, i, course)
                i = f.flows[i].next


@inner_kernel
def write_call(e, f, r, i, row):
    """Write the columns of call i of run e, `systems.program_columns.HELD`, into a row."""
    request, program, clock = r.requests[i], f.programs[f.calls[i].program], f.fleet[e].clock
    row[0] = 1.0
    row[1] = request.prompt
    row[2] = request.predicted
    row[3] = request.generated
    row[4] = request.to_come
    row[5] = request.path_to_come
    row[6] = request.attained
    row[7] = request.longest_path
    row[8] = request.depth
    row[9] = max(request.siblings, 1)
    row[10] = clock - request.arrival
    row[11] = clock - request.began
    row[12] = program.cost
    row[13] = program.answers
    row[14] = program.planned
    row[15] = f.votes[program.first + program.leading] if program.answers > 0 else 0


@inner_kernel
def write_context(e, f, r, view, at):
    """Write the columns of the context in question, `systems.program_columns.CONTEXT`, from place `at` on."""
    i = f.fleet[e].subject
    g = e * len(f.forms) + r.requests[i].site
    show_context(e, f, r, g, i)
    away = f.away[0]
    view[at] = away.context
    view[at + 1] = away.blocks
    view[at + 2] = away.predicted_gap
    view[at + 3] = away.next_prompt
    view[at + 4] = away.predicted
    view[at + 5] = away.calls_left
    view[at + 6] = away.scheduled
    view[at + 7] = away.held
    view[at + 8] = away.free
    view[at + 9] = away.waiting
    view[at + 10] = r.system[g].running
    view[at + 11] = r.state[g].kept


@inner_kernel
def write_answers(e, f, view, at):
    """Write the columns of the answers of the program in question, `systems.program_columns.ANSWERS`, likewise."""
    show_answers(f, f.programs[f.calls[f.fleet[e].subject].program])
    told = f.told[0]
    view[at] = told.answers
    view[at + 1] = told.planned
    view[at + 2] = told.leading
    view[at + 3] = told.second
    view[at + 4] = told.clusters
    view[at + 5] = told.entropy
    view[at + 6] = told.agree
    view[at + 7] = told.tokens
    view[at + 8] = told.predicted if told.predicted > 0 else 0.0  # nothing is predicted of a program without depth
    view[at + 9] = told.confidence if told.confidence > 0 else 0.0
    view[at + 10] = told.mean_score
    view[at + 11] = told.best_score
    view[at + 12] = told.depth


@inner_kernel
def observe(e, f, r, ask, slots, dt, features, view, factors, view_factors):
    """Write what an agent sees of run e; the columns are `systems.program_columns`'.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        ask: PICK, KEEP, STOP or OVER.
        slots: rows.
        dt: s since the last decision.
        features: `(E, slots, 16)`, written.
        view: `(E, 9)`, with 12 more where contexts are asked about, or 13 more where programs may stop; written.
        factors: `(16,)`, by which the columns of features are multiplied, float32.
        view_factors: likewise of view.
    """
    fleet, i = f.fleet[e], f.fleet[e].front
    for k in range(slots):
        row = features[e, k]
        if i < 0 or ask in (OVER, NOTHING):
            for column in range(len(row)):
                row[column] = 0.0
            continue
        write_call(e, f, r, i, row)
        for column in range(len(row)):
            row[column] *= factors[column]
        i = f.flows[i].next
    seen = view[e]
    for column in range(len(seen)):
        seen[column] = 0.0
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        system, state = r.system[g], r.state[g]
        seen[5] += system.running
        seen[6] += system.waiting + state.n - state.arrived
        seen[7] += system.free
        seen[8] += system.blocks
    seen[1], seen[2] = dt, fleet.inside
    if ask != OVER and ask != NOTHING:
        seen[0], seen[3], seen[4] = ask, fleet.held, max(fleet.held - slots, 0)
    if ask == KEEP:
        write_context(e, f, r, seen, 9)
    elif ask == STOP:
        write_answers(e, f, seen, 9)
    for column in range(len(seen)):
        seen[column] *= view_factors[column]


@inner_kernel
def take_action(e, f, r, ask, agent, slots, action):
    """Carry out an action that is open."""
    fleet, first = f.fleet[e], slots if agent & PICKS else 0
    if ask == PICK:
        i = fleet.front
        for _ in range(action):
            i = f.flows[i].next
        fleet.picked = i
    elif ask == KEEP:
        do_with(e, f, r, fleet.subject, action - first)
    elif ask == STOP and action > first:
        stop_program(e, f, r, f.programs[f.calls[fleet.subject].program], fleet.clock)


@lean_kernel
def step_programs(
    f, r, steps, asks, paid, actions, features, view, mask, factors, view_factors, course, conduct, agent, wrong, score,
    scores, hand, hands, retain, stop, rank, victim, length, progress, params,
):  # fmt: skip
    """Take one decision in each of E runs, go to the next and write what came of it.

    Args:
        f: `FleetTables` of E runs.
        r: `ReplicaTables` of their replicas.
        steps: `STEP` rows `(E,)`, written.
        asks: `(E,)`, what each agent was last asked, written.
        paid: `(E,)`, what each run had cost at its last decision, written; all until the first is paid with the second.
        actions: `(E,)`, START, SKIP, or an action. One that is not open stands for the first that is.
        features: `(E, slots, 16)`, written by `observe`.
        view: likewise.
        mask: `(E, actions)`, written by `write_mask`.
        factors: see `observe`.
        view_factors: likewise.
        course: `COURSE` record.
        conduct: `CONDUCT` record.
        agent: which decisions are the agent's: PICKS, KEEPS, STOPS, added.
        wrong: what a program costs that ends with a wrong answer, in the unit of the reward.
        score: compiled function of the router.
        scores: its numbers.
        hand: as in `go_on`.
        hands: likewise.
        retain: likewise; None where the agent decides about contexts, or none is kept.
        stop: likewise; None where the agent decides who stops, or nobody does.
        rank: of the order, likewise.
        victim: likewise.
        length: likewise.
        progress: likewise.
        params: their numbers, `(R, k)`.
    """
    slots = features.shape[1]
    for e in range(actions.shape[0]):
        action = actions[e]
        if action == SKIP:
            continue
        fleet, step = f.fleet[e], steps[e]
        clock = max(fleet.clock, 0.0)
        step.illegal, step.reward, step.dt = False, 0.0, 0.0
        if action == START:
            clock, paid[e] = r.requests[fleet.first].arrival, 0.0
        else:
            if mask[e, action] == 0:
                step.illegal = True
                action = first_open(e, mask)
            take_action(e, f, r, asks[e], agent, slots, action)
        ask = PAUSED
        while ask == PAUSED:
            ask = go_on(
                e, f, r, course, conduct, agent, slots, score, scores, hand, hands, retain, stop, rank, victim, length,
                progress, params, WORK,
            )  # fmt: skip
        if ask == OVER and action == START:
            ask = NOTHING
        asks[e] = ask
        now = time_of(e, f, r, fleet.reason != GOING)
        if action != START:
            cost = cost_until(e, f, r, now) + wrong * fleet.wrong
            step.reward += paid[e] - cost
            paid[e] = cost
        step.dt += now - clock
        step.clock = now
        step.in_system = fleet.inside
        step.terminated = ask == OVER and fleet.reason == DRAINED
        step.truncated = ask == OVER and fleet.reason != DRAINED
        write_mask(e, f, r, ask, course, agent, slots, mask)
        observe(e, f, r, ask, slots, step.dt, features, view, factors, view_factors)
