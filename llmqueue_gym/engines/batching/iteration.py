"""One iteration after another: arrivals, the schedule, the time it takes, tokens, and requests that leave."""

import numpy as np

from llmqueue_gym._jit import lean_kernel
from llmqueue_gym.engines.batching.cost import iteration_time
from llmqueue_gym.engines.batching.pool import blocks_for, release, take
from llmqueue_gym.engines.batching.queue import enqueue, row_at
from llmqueue_gym.engines.batching.tables import LIVELOCK
from llmqueue_gym.requests import DECODING, DONE


@lean_kernel
def arrive(e, r, conduct, rank, params, asks):
    """Let everything that has arrived by now into the queue; its cost counts from its arrival on.

    Args:
        e: row of the run.
        r: `Replica`.
        conduct: `CONDUCT` record.
        rank: rank function, or None.
        params: its parameters.
        asks: whether an agent ranks arrivals.

    Returns:
        whether there is one for the agent to rank: the row `state.subject`, not yet in the queue.
    """
    system, state, requests = r.system[e], r.state[e], r.requests
    while state.arrived < r.n[e] and requests[e, state.arrived].arrival <= system.clock:
        i = state.arrived
        request = requests[e, i]
        if rank is not None:
            if conduct.ranked:
                request.rank = rank(request, system, params)
        state.integral += r.cost[e, i] * (system.clock - request.arrival)
        state.cost_rate += r.cost[e, i]
        state.arrived += 1
        if conduct.ranked:
            state.blocked = 0  # it may be the new head
        if asks:
            state.subject = i
            return True
        enqueue(e, r, i)
    return False


@lean_kernel
def begin(e, r, rules):
    """Open an iteration: nothing is scheduled, the whole budget is there [3, 5]."""
    system, state = r.system[e], r.state[e]
    requests, running = r.requests[e], r.running[e]
    for k in range(system.running):
        requests[running[k]].scheduled = 0
    state.cursor = state.admitted = state.victims = state.forced = state.moved = state.longest = 0
    state.budget = rules.token_budget
    alone = system.running + system.waiting == 1
    capped = rules.threshold > 0 and (rules.threshold_alone or not alone)
    state.limit = rules.threshold if capped else rules.token_budget


@lean_kernel
def fill_batch(e, r):
    """Write down what the scheduled requests will compute."""
    system, batch, requests, running = r.system[e], r.batch[e], r.requests[e], r.running[e]
    tokens, prefills, decodes, prefill_tokens, pages = 0, 0, 0, 0, 0
    context, pairs, squares = 0.0, 0.0, 0.0
    for k in range(system.running):
        request = requests[running[k]]
        new = request.scheduled
        if new == 0:
            continue
        tokens += new
        if request.status == DECODING:
            decodes += 1
            context += request.computed + 1
        else:
            prefills += 1
            prefill_tokens += new
            pairs += new * (request.computed + 0.5 * new)
            squares += float(new) * new
            pages += (request.computed + 63) // 64
    batch.tokens, batch.prefills, batch.prefill_tokens, batch.decodes = tokens, prefills, prefill_tokens, decodes
    batch.context, batch.pairs, batch.squares, batch.pages = context, pairs, squares, pages


@lean_kernel
def pass_time(e, r, rules, dt):
    """Let an iteration take dt s, and account for it."""
    system, state, batch = r.system[e], r.state[e], r.batch[e]
    system.clock += dt
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


@lean_kernel
def compute(e, r, rules, form, numbers):
    """Run the model on the schedule: time passes, requests get their tokens, and those that are done leave [17, 18].

    Args:
        e: row of the run.
        r: `Replica`.
        rules: `RULES` record.
        form: of the cost profile, index into `cost.FORMS`.
        numbers: of the cost profile `(k,)`.
    """
    system, state, running, requests, outputs = r.system[e], r.state[e], r.running[e], r.requests[e], r.outputs[e]
    fill_batch(e, r)
    start = system.clock
    dt = iteration_time(form, numbers, r.batch[e])
    if state.moved > 0:
        transfer = state.moved * rules.block_seconds
        longer = max(0.0, transfer - dt) if rules.overlapped else transfer
        state.transfer_time += longer
        dt += longer
    pass_time(e, r, rules, dt)
    now, every, longest = system.clock, r.every[e], rules.max_model_len
    state.barren += 1
    state.refreshed = 0
    stay, ended, made = 0, 0, 0
    for k in range(system.running):
        i = running[k]
        request = requests[i]
        new = request.scheduled
        over = False
        if new > 0:
            request.last_scheduled = now
            request.computed += new
            known = request.prompt + request.generated
            if request.computed == known:  # a token is sampled
                made += 1
                if request.status == DECODING or request.generated > 0:
                    request.longest_gap = max(request.longest_gap, now - request.last_token)
                elif np.isnan(r.service[e, i].first_token):
                    r.service[e, i].first_token = now
                request.last_token = now
                request.generated += 1
                request.status = DECODING
                if every > 0 and request.generated % every == 0:
                    refresh(e, r, i)
                    r.scratch[e, 2, state.refreshed] = i
                    state.refreshed += 1
                over = request.generated >= outputs[i] or known + 1 >= longest
            if request.preemptions == 0 and request.generated <= 1 and np.isnan(r.service[e, i].scheduled):
                r.service[e, i].scheduled = start
        if over:
            ended += 1
            if rules.request_level:  # it keeps its seat and its memory until the whole batch has ended
                request.status = DONE
                request.computed += 1  # so that it wants no further token
            else:
                leave(e, r, i)
                continue
        elif request.status == DONE:
            ended += 1
        running[stay] = i
        stay += 1
    system.running = stay
    if rules.request_level and ended == stay:
        for k in range(stay):
            leave(e, r, running[k])
        system.running = 0
    note_made(state, made)
    if state.barren > rules.patience:
        state.reason = LIVELOCK


@lean_kernel
def note_made(state, tokens):
    """Count new output tokens; a run makes progress while requests have more of them than ever before."""
    state.made += tokens
    if state.made > state.most_made:
        state.most_made = state.made
        state.barren = 0


@lean_kernel
def refresh(e, r, i):
    """Take over the prediction that holds from the present number of output tokens on."""
    request = r.requests[e, i]
    k = r.start[e, i] + request.generated // r.every[e]
    if k < r.start[e, i + 1]:
        request.predicted = r.total[e, k]


@lean_kernel
def leave(e, r, i):
    """Let request i go."""
    state = r.state[e]
    release(e, r, i)
    r.requests[e, i].status = DONE
    r.requests[e, i].scheduled = 0
    r.service[e, i].completion = r.system[e].clock
    state.cost_rate -= r.cost[e, i]
    state.done += 1
    state.blocked = 0
    if state.done == state.arrived:
        state.cost_rate = 0.0  # no rounding error survives an idle period


@lean_kernel
def coast(e, r, rules, form, numbers, stop_at_refresh):
    """Pass through iterations in which all running requests decode, nobody joins and no memory is short.

    It goes on until something arrives or a request ends, and does what as many turns of the loop would do, to the last
    bit, in one look at each request.

    Args:
        e: row of the run.
        r: `Replica`.
        rules: as in `compute`.
        form: as in `compute`.
        numbers: as in `compute`.
        stop_at_refresh: whether a new prediction is an event that is not passed through.

    Returns:
        whether any iteration was passed.
    """
    system, state, batch, size = r.system[e], r.state[e], r.batch[e], rules.block_size
    running, requests, outputs = r.running[e], r.requests[e], r.outputs[e]
    n, steps, context, every = system.running, 1 << 40, 0.0, r.every[e]
    if n == 0 or n > rules.token_budget:
        return False
    for k in range(n):
        i = running[k]
        request = requests[i]
        if request.status != DECODING:
            return False
        left = min(outputs[i] - request.generated, rules.max_model_len - request.prompt - request.generated)
        if stop_at_refresh and every > 0:
            left = min(left, every - request.generated % every - 1)
        steps = min(steps, left)
        context += request.computed + 1
    if rules.request_level:
        steps -= 1  # an end means more there
    least = 1 if rules.room_for_one else 0
    while steps > 0:
        need = 0
        for k in range(n):
            request = requests[running[k]]
            tokens = request.computed + steps + rules.lookahead
            if tokens > request.blocks * size:
                need += blocks_for(tokens, size) - request.blocks
        if need + least <= system.free:
            break
        steps //= 2
    next_arrival = requests[state.arrived].arrival if state.arrived < r.n[e] else np.inf
    stop = min(next_arrival, rules.horizon)
    if steps < 1 or system.clock >= stop:
        return False
    batch.tokens = batch.decodes = n
    batch.prefills = batch.prefill_tokens = batch.pages = 0
    batch.pairs = batch.squares = 0.0
    first, longest, done = 0.0, 0.0, 0
    while done < steps and system.clock < stop:
        batch.context, before = context, system.clock
        pass_time(e, r, rules, iteration_time(form, numbers, batch))
        context += n
        if done == 0:
            first = system.clock
        else:
            longest = max(longest, system.clock - before)
        done += 1
    now, stay = system.clock, 0
    note_made(state, n * done)
    for k in range(n):
        i = running[k]
        request = requests[i]
        request.longest_gap = max(request.longest_gap, first - request.last_token, longest)
        request.last_token = request.last_scheduled = now
        request.generated += done
        request.computed += done
        request.scheduled = 1
        take(e, r, i, request.computed + rules.lookahead, size)
        if every > 0:
            refresh(e, r, i)
        known = request.prompt + request.generated
        if request.generated >= outputs[i] or known >= rules.max_model_len:
            leave(e, r, i)
        else:
            running[stay] = i
            stay += 1
    system.running = stay
    return True


@lean_kernel
def note_progress(e, r, progress, params):
    """Let the policy keep its number for every request in system."""
    system = r.system[e]
    for k in range(system.running):
        request = r.requests[e, r.running[e, k]]
        request.note = progress(request, system, params)
    for k in range(system.waiting):
        request = r.requests[e, row_at(e, r, k)]
        request.note = progress(request, system, params)
