"""The loop of a replica: it runs until its agent has to decide, or, without one, to the end."""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.batching.accounts import charge_outputs, schedule_fairly, tell_accounts
from llmqueue_gym.engines.batching.block_pass import schedule_block
from llmqueue_gym.engines.batching.cache import TREE
from llmqueue_gym.engines.batching.comings import arrive
from llmqueue_gym.engines.batching.flight import board, land, launch
from llmqueue_gym.engines.batching.iteration import (
    begin,
    coast,
    duration,
    note_progress,
    run_model,
)
from llmqueue_gym.engines.batching.merged_pass import schedule_merged
from llmqueue_gym.engines.batching.pipeline import run_pipeline
from llmqueue_gym.engines.batching.pool import clear_queue
from llmqueue_gym.engines.batching.queue import rank_again, row_at
from llmqueue_gym.engines.batching.radix_pool import order_queue
from llmqueue_gym.engines.batching.running_pass import MUST_EVICT, schedule_running
from llmqueue_gym.engines.batching.sharing import note_hits
from llmqueue_gym.engines.batching.tables import (
    ADMISSION,
    ADMIT,
    AFTER,
    BEGIN,
    BOARD,
    BY_BLOCKS,
    BY_PASSES,
    COMPUTE,
    DRAINED,
    EVICT,
    EVICTION,
    GOING,
    HANDED,
    HELD,
    HORIZON,
    LOOK,
    NOTHING,
    PAUSED,
    PREFILL_FIRST,
    RANK,
    RANKING,
    READY,
    RESERVE,
    SCHEDULE_RUNNING,
    SCHEDULE_WAITING,
    STUCK,
    WATCHING,
)
from llmqueue_gym.engines.batching.turns_pass import schedule_turns
from llmqueue_gym.engines.batching.waiting_pass import may_join, schedule_waiting
from llmqueue_gym.requests import DECODING


@inner_kernel
def may_admit(e, r, rules, conduct):
    """Whether the rules admit anybody at all in this iteration [10].

    A tree is not looked into while the head of the queue is known not to fit: that would refresh what it touches.
    """
    system, state = r.system[e], r.state[e]
    if rules.caching == TREE and state.blocked and not conduct.ages:
        return False
    if system.waiting == 0 or state.budget <= 0 or (rules.pause and state.forced > 0):
        return False
    return not rules.request_level or system.running == state.admitted


@inner_kernel
def admit_waiting(e, r, rules, conduct, more, rank, victim, length, params):
    """Admit who waits, by the accounts of their owners where the policy reads these."""
    if more is not None:
        if rank is not None:
            if conduct.accounts:
                schedule_fairly(e, r, rules, conduct, rank, length, params)
                return
    schedule_waiting(e, r, rules, conduct, rank, victim, length, params)


@inner_kernel
def may_preempt(request):
    """Whether the agent may preempt a running request at will: not before it got a token since it was last preempted.

    So the agent cannot go in circles: whoever is admitted stays until there is more of its output.
    """
    return request.generated > request.note


@inner_kernel
def has_choice(e, r, rules, conduct, agent, length, params, window):
    """Whether an agent can admit one of the first `window` requests of the queue, or may preempt one."""
    if agent & EVICTION:
        for k in range(r.system[e].running):
            if may_preempt(r.requests[r.running[e, k]]):
                return True
    if r.system[e].running >= rules.max_seqs:
        return False
    for k in range(min(window, r.system[e].waiting)):
        if may_join(e, r, rules, conduct, length, params, row_at(e, r, k)):
            return True
    return False


@lean_kernel
def proceed(e, r, rules, conduct, form, numbers, agent, window, rank, victim, length, progress, params, work):
    """Go on until the agent has to decide, the run is over, or so much is done that Python should have a turn.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        form: of the cost profile, index into `cost.FORMS`.
        numbers: of the cost profile `(k,)`.
        agent: which decisions are the agent's: ADMISSION, EVICTION and RANKING, added; 0 for none. WATCHING stops
            twice in every iteration, before and after its computation, for side-by-side runs.
        window: waiting requests that it sees.
        rank: compiled function, or None in an environment: there the queue is first come first served.
        victim: likewise.
        length: likewise.
        progress: likewise.
        params: their parameters.
        work: looks at a request after which it comes back, about; it goes on from there when it is called again.

    Returns:
        ADMIT, EVICT or RANK where the agent decides, LOOK where it watches, PAUSED where the work is done, HELD at
        `state.until`, HANDED where somebody had a first token who may have to go elsewhere; NOTHING where the run is
        over, for `state.reason`.
    """
    return proceed_with(
        r.cells, e, r, rules, conduct, form, numbers, agent, window, rank, victim, length, progress, params, work
    )


@inner_kernel
def proceed_with(
    more, e, r, rules, conduct, form, numbers, agent, window, rank, victim, length, progress, params, work
):  # fmt: skip
    """Do what `proceed` does.

    `more` is `r.cells`, as only an argument that is None is known when a function is compiled. Without cells there are
    no caches, pipelines, accounts, merged queues or steps in flight, and nobody is handed over.
    """
    if more is not None:
        if rules.stages > 1:
            return run_pipeline(e, r, rules, conduct, form, numbers, work)
    system, state = r.system[e], r.state[e]
    steady = (
        conduct.admission != RESERVE
        and rules.batching == BY_PASSES
        and not (
            conduct.merged
            or conduct.ages
            or conduct.has_progress
            or conduct.accounts
            or rules.asynchronous
            or agent & (EVICTION | WATCHING)
        )
    )
    scans = (
        conduct.ages or conduct.merged or conduct.has_progress or conduct.skips or conduct.accounts
    )  # the whole queue
    plain = rules.batching == BY_PASSES and not (rules.caching or rules.asynchronous or state.hands_over)
    tells = conduct.hits or conduct.accounts or conduct.ages
    while state.reason == GOING:
        if state.phase == BEGIN:
            if work <= 0:
                return PAUSED
            work -= 1 + system.running + (system.waiting if scans else 0)
            if more is not None:
                in_flight = not plain and state.in_flight and state.next > system.clock
                if in_flight and system.running == 0 and system.waiting == 0:
                    state.ends = system.clock + state.flight_time  # nobody is left to be scheduled meanwhile
                    if state.ends > state.until:
                        return HELD
                    state.ends = np.inf
                    land(e, r, rules)
                    if agent & WATCHING:
                        return LOOK
                    continue
            if state.done == state.n:
                if state.until < np.inf:
                    return HELD
                state.reason = DRAINED
                break
            if system.clock >= rules.horizon:
                state.reason = HORIZON
                break
            if system.running == 0 and system.waiting == 0 and state.arrived < state.n:
                system.clock = max(system.clock, state.next)
            if system.clock >= state.until:
                return HELD
            if arrive(e, r, rules, conduct, more, rank, params, agent & RANKING):
                return RANK
            if steady and (system.waiting == 0 or state.blocked) and system.running > 0:
                if coast(e, r, rules, form, numbers, agent & RANKING):
                    continue
            if rank is not None:
                if tells:
                    if more is not None:
                        if conduct.hits and rules.caching:
                            note_hits(e, r, rules.block_size)
                        if conduct.accounts:
                            tell_accounts(e, r, conduct)
                    if conduct.ages and not conduct.accounts:
                        rank_again(e, r, rank, params)
            begin(e, r, rules)
            state.phase = SCHEDULE_WAITING if rules.order == PREFILL_FIRST else SCHEDULE_RUNNING
            if more is not None:
                if rank is not None:
                    if conduct.merged:
                        schedule_merged(e, r, rules, conduct, rank, victim, length, params)
                        if state.keeps and state.batch.tokens == 0 and clear_queue(e, r, rules):
                            schedule_merged(e, r, rules, conduct, rank, victim, length, params)
                        state.phase = READY
                if not plain and rules.batching != BY_PASSES:
                    state.phase = READY
                    if rules.batching == BY_BLOCKS:
                        schedule_block(e, r, rules)
                    else:
                        schedule_turns(e, r, rules)
        if state.phase == SCHEDULE_RUNNING:
            if more is not None:
                if plain:
                    found = schedule_running(e, r, rules, conduct, rank, victim, params, agent & EVICTION, True)
                else:
                    found = schedule_running(e, r, rules, conduct, rank, victim, params, agent & EVICTION, False)
            else:  # of its own, so that the other is not compiled
                found = schedule_running(e, r, rules, conduct, rank, victim, params, agent & EVICTION, True)
            if found == MUST_EVICT:
                return EVICT
            state.forced = state.victims
            state.phase = READY if rules.order == PREFILL_FIRST else SCHEDULE_WAITING
        if state.phase == SCHEDULE_WAITING:
            if may_admit(e, r, rules, conduct):
                if more is not None:
                    if not plain and rules.caching == TREE and state.admitted == 0 and not conduct.ranked:
                        order_queue(e, r, rules.queue_order)
                if not agent & (ADMISSION | EVICTION):
                    admit_waiting(e, r, rules, conduct, more, rank, victim, length, params)
                elif has_choice(e, r, rules, conduct, agent, length, params, window):
                    return ADMIT
                elif state.admitted == 0:
                    state.blocked = 0 if rules.caching else 1  # there it can come to fit at any time
            none_joined = rules.order == PREFILL_FIRST and state.admitted == 0
            state.phase = SCHEDULE_RUNNING if none_joined else READY
            continue
        if state.phase == READY:
            state.phase = COMPUTE if plain or not rules.asynchronous else BOARD
            if agent & WATCHING and (state.batch.tokens > 0 or state.victims > 0 or state.in_flight):
                return LOOK
        if more is not None:
            if not plain and state.phase == BOARD:
                board(e, r)
                state.phase = COMPUTE
        if state.phase == COMPUTE:
            if state.batch.tokens == 0 and state.victims == 0 and (plain or not state.in_flight):
                # Nothing can run before something arrives.
                state.phase = BEGIN
                stop = min(state.next, state.until)
                if stop == np.inf:
                    state.reason = STUCK
                    break
                start, system.clock = system.clock, stop
                state.integral += state.cost_rate * (stop - start)
                continue
            if more is not None:
                if not plain and rules.asynchronous:
                    state.ends = system.clock + state.flight_time
                    if state.ends > state.until:
                        return HELD
                    state.ends = np.inf
                    over = state.in_flight
                    if over:
                        land(e, r, rules)
                    launch(e, r, rules, form, numbers)
                    if not over and state.flight.tokens == 0:  # one that computes nothing is over when it begins
                        over = True
                        land(e, r, rules)
                    if progress is not None:
                        if conduct.has_progress and over:
                            note_progress(e, r, progress, params)
                    state.phase = AFTER if agent & RANKING else BEGIN
                    if agent & WATCHING and over:
                        return LOOK
                    continue
            dt, longer = duration(e, r, rules, form, numbers)
            if system.clock + dt > state.until:
                state.ends = system.clock + dt
                return HELD
            state.ends = np.inf
            state.phase = BEGIN
            if more is not None:
                if tells and conduct.accounts:
                    charge_outputs(e, r, conduct)
            if more is not None:
                if plain:
                    run_model(e, r, rules, dt, longer, agent & RANKING, True)
                else:
                    run_model(e, r, rules, dt, longer, agent & RANKING, False)
            else:  # of its own, so that the other is not compiled
                run_model(e, r, rules, dt, longer, agent & RANKING, True)
            if progress is not None:
                if conduct.has_progress and state.batch.tokens > 0:
                    note_progress(e, r, progress, params)
            if not plain and state.out > 0:
                return HANDED
            if agent & RANKING:
                state.phase = AFTER
            if agent & WATCHING:
                return LOOK
        if state.phase == AFTER:  # new predictions, one after another
            while state.refreshed > 0:
                state.refreshed -= 1
                state.subject = r.notes[e, state.refreshed].renewed
                if r.requests[state.subject].status == DECODING:
                    return RANK
            state.phase = BEGIN
    return NOTHING
