"""One iteration after another: the time that it takes, and the tokens that it gives."""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.batch import empty
from llmqueue_gym.engines.batching.block_pass import release_read
from llmqueue_gym.engines.batching.cache import TREE
from llmqueue_gym.engines.batching.comings import let_leave, note_firsts, note_leaver, tokens_left
from llmqueue_gym.engines.batching.cost import iteration_time, straight_line
from llmqueue_gym.engines.batching.pool import blocks_for, count_taken, take
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.sharing import hold_tokens
from llmqueue_gym.engines.batching.tables import BY_BLOCKS, LIVELOCK, TIMELESS
from llmqueue_gym.requests import DECODING, DONE

MANY = 1 << 40  # more tokens than any request has


@inner_kernel
def begin(e, r, rules):
    """Open an iteration: the whole budget is there [3, 5]. Nothing is scheduled since the last one was computed."""
    system, state = r.system[e], r.state[e]
    state.cursor = state.admitted = state.victims = state.forced = state.longest = 0
    state.moved, state.owed = state.owed, 0
    state.budget = rules.token_budget
    alone = system.running + system.waiting == 1
    capped = rules.threshold > 0 and (rules.threshold_alone or not alone)
    state.limit = rules.threshold if capped else rules.token_budget
    empty(state.batch)


@inner_kernel
def pass_time(e, r, batch, dt):
    """Let an iteration that computes a batch take dt s, and account for it."""
    system, state = r.system[e], r.state[e]
    system.clock += dt
    if batch.tokens > 0:
        system.step_time = dt
    system.iterations += 1
    if batch.prefills > 0:
        state.prefill_time += dt
    else:
        state.decode_time += dt
    system.mean_step_time = (state.prefill_time + state.decode_time) / system.iterations
    state.integral += state.cost_rate * dt
    state.token_time += batch.context * dt
    state.batch_time += (batch.prefills + batch.decodes) * dt
    state.prefill_tokens += batch.prefill_tokens
    state.decode_tokens += batch.decodes


@inner_kernel
def duration(e, r, rules, form, numbers):
    """Return the time of the iteration that is scheduled, s, and how much of it is for moves of blocks alone."""
    state = r.state[e]
    # Without tokens, where all that ran was preempted, the model does not run.
    dt = iteration_time(form, numbers, state.batch) if state.batch.tokens > 0 else 0.0
    if state.moved == 0:
        return dt, 0.0
    transfer = state.moved * rules.block_seconds
    longer = max(0.0, transfer - dt) if rules.overlapped else transfer
    return dt + longer, longer


@inner_kernel
def run_model(e, r, rules, dt, longer, stop_at_refresh, plain):
    """Run the model on the schedule: time passes, requests get their tokens, and those that are done leave [17, 18].

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        dt: s that it takes, by `duration`.
        longer: s of it for moves of blocks alone.
        stop_at_refresh: as in `coast`.
        plain: True where the replica caches no prefixes, has no two steps in flight, hands nobody over and puts its
            batches together by passes. Written as a constant by the callers, so that there is code for each: what the
            others want of these loops would make such a replica slower.
    """
    system, state, running, requests = r.system[e], r.state[e], r.running[e], r.requests
    start = system.clock
    state.transfer_time += longer
    if not 0.0 <= dt < np.inf:
        state.reason = TIMELESS
        return
    pass_time(e, r, state.batch, dt)
    tree = not plain and rules.caching == TREE
    if not plain and (tree or state.hands_over):
        note_firsts(e, r, rules)
    now, every = system.clock, state.every
    state.barren += 1
    state.refreshed = 0
    stay, ended, made, calm, least, context = 0, 0, 0, True, MANY, 0.0
    for k in range(system.running):
        i = running[k]
        request = requests[i]
        new, generated, left = request.scheduled, request.generated, MANY
        if new > 0:
            computed = request.computed + new
            request.scheduled = 0
            request.computed = computed
            request.last_scheduled = now
            if generated == 0 and np.isnan(r.truth[i].service.scheduled):
                r.truth[i].service.scheduled = start
            if computed == request.prompt + generated:  # a token is sampled
                made += 1
                if generated > 0:
                    request.longest_gap = max(request.longest_gap, now - request.last_token)
                elif np.isnan(r.truth[i].service.first_token):
                    r.truth[i].service.first_token = now
                generated += 1
                request.generated = generated
                request.last_token = now
                left = tokens_left(request, r.truth[i], rules)
                request.status = DECODING
                if every > 0 and generated % every == 0:
                    refresh(e, r, i)
                    r.notes[e, state.refreshed].renewed = i
                    state.refreshed += 1
        if left <= 0:
            ended += 1
            if rules.request_level:  # it keeps its seat and its memory until the whole batch has ended
                request.status = DONE
                request.computed += 1  # so that it wants no further token
            else:
                if not tree:
                    note_leaver(e, r, i)
                continue
        elif request.status == DONE:
            ended += 1
        calm = calm and left < MANY
        if stop_at_refresh and every > 0:
            left = min(left, every - generated % every - 1)
        least = min(least, left)
        context += request.computed + 1
        running[stay] = i
        stay += 1
    system.running = stay
    state.calm, state.least_left, state.context = calm, least, context
    if rules.request_level and ended == stay:
        for k in range(stay):
            note_leaver(e, r, running[k])
        system.running = 0
    if not plain and rules.batching == BY_BLOCKS:
        release_read(e, r, rules)
    if state.leavers > 0:
        let_leave(e, r, rules)
    note_made(state, made)
    if state.barren > rules.patience:
        state.reason = LIVELOCK


@inner_kernel
def note_made(state, tokens):
    """Count new output tokens; a run makes progress while requests have more of them than ever before."""
    state.made += tokens
    if state.made > state.most_made:
        state.most_made = state.made
        state.barren = 0


@inner_kernel
def refresh(e, r, i):
    """Take over the prediction that holds from the present number of output tokens on, or else the last there is."""
    request, first, end = r.requests[i], r.truth[i].refreshed, r.truth[i].refreshed_end
    k = min(first + request.generated // r.state[e].every, end - 1)
    if k >= first:
        request.predicted = r.total[k]


@inner_kernel
def coast(e, r, rules, form, numbers, stop_at_refresh):
    """Pass through iterations in which all running requests decode, nobody joins and no memory is short.

    It goes on until something arrives or a request ends, and does what as many turns of the loop would do, to the last
    bit, in one look at each request.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        form: of the cost profile, index into `cost.FORMS`.
        numbers: of the cost profile `(k,)`.
        stop_at_refresh: whether a new prediction is an event that is not passed through.

    Returns:
        whether any iteration was passed.
    """
    system, state, running, n = r.system[e], r.state[e], r.running[e], r.system[e].running
    if n > rules.token_budget or not state.calm or state.owed > 0:
        return False
    # At the static rules an end means more than a seat.
    steps = steps_in_memory(e, r, rules, state.least_left - 1 if rules.request_level else state.least_left)
    stop, until = min(state.next, rules.horizon), state.until
    if steps < 1 or system.clock >= stop:
        return False
    batch = state.batch
    empty(batch)
    batch.tokens = batch.decodes = n
    context, first, longest, done, step_time = state.context, 0.0, 0.0, 0, 0.0
    straight, base, slope = straight_line(form, numbers, batch)
    clock, integral, cost_rate = system.clock, state.integral, state.cost_rate  # copies, as in `schedule_running`
    decode_time, token_time, batch_time = state.decode_time, state.token_time, state.batch_time
    while done < steps and clock < stop:  # what `pass_time` would note
        if straight:
            dt = base + slope * context
        else:
            batch.context = context
            dt = iteration_time(form, numbers, batch)
        if clock + dt > until:
            break
        before, step_time = clock, dt
        clock += dt
        decode_time += dt
        integral += cost_rate * dt
        token_time += context * dt
        batch_time += n * dt
        context += n
        if done == 0:
            first = clock
        else:
            longest = max(longest, clock - before)
        done += 1
    if done == 0 or not clock < np.inf:  # left to `run_model`, which says so
        return False
    system.clock, system.step_time, system.iterations = clock, step_time, system.iterations + done
    system.mean_step_time = (state.prefill_time + decode_time) / system.iterations
    state.integral, state.decode_time, state.decode_tokens = integral, decode_time, state.decode_tokens + n * done
    state.token_time, state.batch_time = token_time, batch_time
    note_made(state, n * done)
    now, every, stay, least, context = system.clock, state.every, 0, MANY, 0.0
    if rules.caching:  # everybody takes blocks before anybody gives some back
        take_ahead(e, r, done, rules.block_size)
    for k in range(n):
        i = running[k]
        request = r.requests[i]
        request.longest_gap = max(request.longest_gap, first - request.last_token, longest)
        request.last_token = request.last_scheduled = now
        request.generated += done
        request.computed += done
        count_taken(e, r, i, request.computed + rules.lookahead, rules.block_size)
        if every > 0 and request.generated // every > (request.generated - done) // every:
            refresh(e, r, i)
        left = tokens_left(request, r.truth[i], rules)
        if left <= 0:
            note_leaver(e, r, i)
            continue
        if stop_at_refresh and every > 0:
            left = min(left, every - request.generated % every - 1)
        least = min(least, left)
        context += request.computed + 1
        running[stay] = i
        stay += 1
    system.running = stay
    state.least_left, state.context = least, context
    if state.leavers > 0:
        let_leave(e, r, rules)
    return True


@part_kernel
def take_ahead(e, r, steps, size):
    """Let all running requests take the blocks for so many tokens each, and fill them."""
    for k in range(r.system[e].running):
        i, tokens = r.running[e, k], r.requests[r.running[e, k]].computed + steps
        take(e, r, i, tokens, size)
        hold_tokens(e, r, i, tokens, size)


@inner_kernel
def steps_in_memory(e, r, rules, steps):
    """Return `steps`, or half of it as often as memory asks for, so that all running requests can decode so long."""
    system, running, size = r.system[e], r.running[e], rules.block_size
    spare = system.free - 1 if rules.room_for_one else system.free
    while steps > 0 and system.running * blocks_for(steps + rules.lookahead, size) > spare:  # a bound on what they need
        need = 0
        for k in range(system.running):
            request = r.requests[running[k]]
            tokens = request.computed + steps + rules.lookahead
            if tokens > request.blocks * size:
                need += blocks_for(tokens, size) - request.blocks
        if need <= spare:
            break
        steps //= 2
    return steps


@part_kernel
def note_progress(e, r, progress, params):
    """Let the policy keep its number for every request in system."""
    system = r.system[e]
    for k in range(system.running):
        request = r.requests[r.running[e, k]]
        request.note = progress(request, system, params)
    for k in range(system.waiting):
        request = r.requests[row_at(e, r, k)]
        request.note = progress(request, system, params)
