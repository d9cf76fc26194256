"""A replica whose model is cut into stages: a ring of them, each with a batch of its own under way.

Requests take turns as in `turns_pass`. The first stage puts batches together; a later one takes the prompts that were
in one batch before, and all decodes that have come to it, so batches of decodes merge. Tokens are made where the last
stage ends; from there decodes go on to the first stage, and so do prompts that were cut.

A replica of k stages is k rows: the last stage is row e, where its state is kept as that of any replica, and stage s
before it is row e + 1 + s. Of the rows of the other stages the lists, the batch and `stage_ends` are used.

Source: LLMServe/DistServe 82831f1, simdistserve (Zhong et al., DistServe, OSDI 2024).
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.batch import count, empty
from llmqueue_gym.engines.batching.comings import arrive
from llmqueue_gym.engines.batching.cost import iteration_time
from llmqueue_gym.engines.batching.iteration import run_model
from llmqueue_gym.engines.batching.queue import dequeue, row_at
from llmqueue_gym.engines.batching.tables import (
    BEGIN,
    COMPUTE,
    DRAINED,
    GOING,
    HANDED,
    HELD,
    HORIZON,
    NOTHING,
    PAUSED,
    STUCK,
    TIMELESS,
)
from llmqueue_gym.engines.batching.turns_pass import count_turns, schedule_turns, to_the_back
from llmqueue_gym.requests import DECODING, PREFILLING

LATER = 12  # where the numbers of later stages begin in those of the form "distserve"


@inner_kernel
def row_of_stage(e, s, stages):
    """Return the row that holds stage s of replica e."""
    return e + (s + 1) % stages


@part_kernel
def first_end(e, r, stages):
    """Return the row of the stage whose batch ends first."""
    best = e
    for q in range(e + 1, e + stages):
        if r.state[q].stage_ends < r.state[best].stage_ends:
            best = q
    return best


@part_kernel
def take_over(q, r, rules):
    """Let a later stage take up what has come to it: the prompts of one batch, or else decodes."""
    requests, running, state, n = r.requests, r.running[q], r.state[q], r.system[q].running
    if r.system[q].waiting == 0:
        for k in range(count_turns(q, r, n, rules.max_seqs, rules.context_budget)):
            requests[running[k]].scheduled = 1
            count(state.batch, requests[running[k]], 1)
        return
    number = requests[row_at(q, r, 0)].place
    while r.system[q].waiting > 0 and requests[row_at(q, r, 0)].place == number:
        i = dequeue(q, r, 0)
        requests[i].status = PREFILLING
        running[n] = i
        n += 1
        count(state.batch, requests[i], 1)
    r.system[q].running = n


@part_kernel
def begin_stages(e, r, rules, form, numbers):
    """Let all stages that have nothing under way begin what has come to them."""
    now = r.system[e].clock
    for s in range(rules.stages):
        q = row_of_stage(e, s, rules.stages)
        if r.state[q].stage_ends < np.inf or r.system[q].running + r.system[q].waiting == 0:
            continue
        empty(r.state[q].batch)
        if s == 0:
            schedule_turns(q, r, rules)
            r.system[q].iterations += 1
            for k in range(r.system[q].running):
                request = r.requests[r.running[q, k]]
                request.place = r.system[q].iterations  # the batch that a prompt is in
                if request.scheduled > 0 and np.isnan(r.truth[r.running[q, k]].service.scheduled):
                    r.truth[r.running[q, k]].service.scheduled = now
        else:
            take_over(q, r, rules)
        if r.state[q].batch.tokens > 0:
            time = iteration_time(form, numbers if s == 0 else numbers[LATER:], r.state[q].batch)
            r.state[q].stage_ends = now + time


@part_kernel
def pass_on(q, r, to, served, hands_over):
    """Send on whoever was in the batch of a stage, or at the last stage was served at a time; new ones may stay."""
    running, stay = r.running[q], 0
    for k in range(r.system[q].running):
        i = running[k]
        request = r.requests[i]
        waits = request.scheduled == 0 and request.last_scheduled != served
        if waits or (hands_over and request.status == DECODING and request.generated == 1):
            running[stay] = i
            stay += 1
        elif request.status == PREFILLING:
            to_the_back(to, r, i)
        else:
            request.scheduled = 0
            r.running[to, r.system[to].running] = i
            r.system[to].running += 1
    r.system[q].running = stay


@part_kernel
def run_pipeline(e, r, rules, conduct, form, numbers, work):
    """Go on as `closed_loop.proceed` does, from one end of a stage or arrival to the next.

    Args:
        e: row of the replica.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        form: of the cost profile, index into `cost.FORMS`.
        numbers: of the cost profile, those of the first stage and those of later ones.
        work: as in `proceed`.

    Returns:
        PAUSED, HELD, HANDED or NOTHING, as `proceed`.
    """
    system, state, first, none = r.system[e], r.state[e], row_of_stage(e, 0, rules.stages), -1.0
    while state.reason == GOING:
        if work <= 0:
            return PAUSED
        work -= 1 + r.system[first].running
        if state.phase == BEGIN:
            if system.clock >= rules.horizon:
                state.reason = HORIZON
                break
            if system.clock >= state.until:
                state.ends = r.state[first_end(e, r, rules.stages)].stage_ends
                return HELD
            arrive(e, r, rules, conduct, r.cells, None, numbers, False)
            begin_stages(e, r, rules, form, numbers)
            state.phase = COMPUTE
        q = first_end(e, r, rules.stages)
        state.ends = r.state[q].stage_ends
        now = min(state.ends, state.next)
        if now == np.inf and state.until == np.inf:
            state.reason = DRAINED if state.done == state.n else STUCK
            break
        if now > state.until or now == np.inf:
            return HELD
        if not now >= system.clock:
            state.reason = TIMELESS
            break
        state.phase = BEGIN
        if q == e and state.ends == now:
            r.state[e].stage_ends = np.inf
            run_model(e, r, rules, now - system.clock, 0.0, False, False)
            pass_on(e, r, first, system.clock, state.hands_over)
            if state.out > 0:
                return HANDED
            continue
        state.integral += state.cost_rate * (now - system.clock)
        system.clock = now
        if state.ends == now:
            r.state[q].stage_ends = np.inf
            pass_on(q, r, q + 1 if q + 1 < e + rules.stages else e, none, False)
    return NOTHING
