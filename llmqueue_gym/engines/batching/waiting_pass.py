"""Admission: which waiting request may join the batch of an iteration, and what it takes.

The numbers in brackets are those of vLLM's decision rules, as they are listed in `rules`.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.batch import count
from llmqueue_gym.engines.batching.kept import drop_one
from llmqueue_gym.engines.batching.pool import blocks_for, clear_queue, count_taken, is_swapped, preempt
from llmqueue_gym.engines.batching.queue import dequeue, find, row_at
from llmqueue_gym.engines.batching.running_pass import status_on_admission, value_of
from llmqueue_gym.engines.batching.sharing import look_up, may_appear, occupy, use_hits
from llmqueue_gym.engines.batching.tables import AS_RULES, FITS, FREE, KNOWN, LONGEST, PEAK, RESERVE


@part_kernel
def expected_length(request, system, conduct, length, params):
    """Return the output tokens that admission counts on: by the policy's `length` function, else as predicted."""
    if length is not None:
        if conduct.has_length:
            return length(request, system, params)
    return request.predicted


@inner_kernel
def there_already(request, state, rules):
    """Return the tokens of a waiting request, looked up last, that need not be computed; without caches none is hit."""
    return request.computed + state.hits * rules.block_size


@part_kernel
def first_chunk(request, state, rules):
    """Return the tokens that a waiting request would compute in this iteration, 0 where it may not be cut to fit [12].

    What is beyond the whole budget is cut in any case: a prompt never is, but it may be with output that is lost. With
    prefix caching the request is the one that was looked up last; the same holds below.
    """
    tokens = request.prompt + request.generated - there_already(request, state, rules)
    if tokens > state.limit:
        tokens = state.limit
    if tokens > state.budget:
        return state.budget if rules.chunked or tokens > rules.token_budget else 0
    return tokens


@part_kernel
def room_on_admission(request, system, state, rules, conduct, length, params, tokens):
    """Return the tokens for which a request holds blocks once it is admitted with `tokens` tokens."""
    if rules.allocation == LONGEST:
        return rules.max_model_len - 1 + rules.lookahead  # the last needs no room
    if conduct.admission == RESERVE:
        expected = expected_length(request, system, conduct, length, params)
        last = request.prompt + max(int(expected), request.generated + 1)
        return min(last, rules.max_model_len) - 1 + rules.lookahead
    if rules.allocation == KNOWN:
        return request.prompt + request.generated
    return there_already(request, state, rules) + tokens + rules.lookahead


@part_kernel
def room_to_join(request, system, state, rules, conduct, length, params, tokens):
    """Return the tokens for which admission asks for blocks: those it takes, or all that are known [13, 14]."""
    room = room_on_admission(request, system, state, rules, conduct, length, params, tokens)
    if rules.reserve_known:
        room = max(room, request.prompt + request.generated + rules.lookahead)
    return room


@part_kernel
def peak_is_safe(e, r, rules, conduct, length, params, i):
    """Whether running requests and request i fit in memory to their expected ends, were no other admitted.

    Memory is fullest just before one of them ends, so only those instants are looked at.
    Source: MC-SF (Jaillet et al., arXiv 2502.07115); the same test admits requests in LightLLM.
    """
    system, notes = r.system[e], r.notes[e]
    n = system.running + 1
    if n == 1:
        return True  # whoever is alone fits, see `Rules.check`
    most, tokens = 0.0, 0.0
    for k in range(n):
        row = i if k == system.running else r.running[e, k]
        request = r.requests[row]
        expected = expected_length(request, system, conduct, length, params)
        expected = min(expected, float(rules.max_model_len - request.prompt))  # where a request ends at the latest
        notes[k].key = max(1.0, expected - request.generated)
        notes[k].value = request.prompt + request.generated - 1 + rules.lookahead
        most = max(most, notes[k].key)
        tokens += notes[k].value
    # A block is filled only in part: one that is begun counts whole.
    capacity = float(system.blocks * rules.block_size)
    slack = float(rules.block_size - 1)
    if tokens + n * (most + slack) <= capacity:
        return True
    for k in range(n):
        need = 0.0
        for j in range(n):
            if notes[j].key >= notes[k].key:
                need += notes[j].value + notes[k].key + slack
        if need > capacity:
            return False
    return True


@inner_kernel
def fits(e, r, rules, conduct, length, params, i):
    """Whether seats, tokens and free memory suffice for waiting request i now [12 to 15]."""
    request, system, state = r.requests[i], r.system[e], r.state[e]
    if system.running >= rules.max_seqs:
        return False
    if rules.caching:
        look_up(e, r, i, rules.block_size)
    tokens = first_chunk(request, state, rules)
    if tokens <= 0:
        return False
    if rules.padded and (state.admitted + 1) * max(state.longest, tokens) > rules.token_budget:
        return False
    margin = rules.watermark if (rules.watermark_always or system.running > 0) else 0
    room = room_to_join(request, system, state, rules, conduct, length, params, tokens)
    held = request.blocks + state.hits - state.idle_hits  # who uses a free block makes it one less [21]
    return room <= (system.free - margin + held) * rules.block_size  # so that nothing is divided


@inner_kernel
def may_join(e, r, rules, conduct, length, params, i):
    """Whether request i can be admitted now: it fits, and will to its expected end if the policy looks ahead."""
    if not fits(e, r, rules, conduct, length, params, i):
        return False
    return conduct.admission != PEAK or peak_is_safe(e, r, rules, conduct, length, params, i)


@part_kernel
def admit(e, r, rules, conduct, length, params, position):
    """Move the request at a position of the queue to the running list, with its first chunk [16]."""
    system, state, running = r.system[e], r.state[e], r.running
    i = dequeue(e, r, position)
    request = r.requests[i]
    if rules.caching:
        look_up(e, r, i, rules.block_size)
    tokens = first_chunk(request, state, rules)
    way = rules.preemption if conduct.preemption == AS_RULES else conduct.preemption
    if is_swapped(request) and way != FREE:
        back = blocks_for(request.computed, rules.block_size)
        state.moved += back
        r.truth[i].service.swapped += back
    room = room_on_admission(request, system, state, rules, conduct, length, params, tokens)
    if rules.caching and request.blocks == 0:
        use_hits(r.cells, state, system, request, r.truth[i])
        request.computed = state.hits * rules.block_size
        state.hit_tokens += request.computed
    taken = count_taken(e, r, i, room, rules.block_size)
    if rules.caching:
        occupy(r.cells, state, system, request, r.truth[i], taken, request.computed + tokens, rules.block_size)
    request.status = status_on_admission(request)
    request.scheduled = tokens
    state.budget -= tokens
    count(state.batch, request, 1)
    state.longest = max(state.longest, tokens)
    r.notes[e, state.admitted].admitted = i
    state.admitted += 1
    k = system.running
    if rules.by_arrival:
        while k > 0 and running[e, k - 1] > i:
            running[e, k] = running[e, k - 1]
            k -= 1
    running[e, k] = i
    system.running += 1


@part_kernel
def displace(e, r, rules, conduct, rank, victim, params, i):
    """Preempt the running request of largest value, if it is larger than the rank of request i by the margin.

    Returns:
        whether one was preempted.
    """
    system, running = r.system[e], r.running
    best, most = -1, r.requests[i].rank + conduct.margin
    for k in range(system.running):
        value = value_of(r.requests[running[e, k]], system, conduct, rank, victim, params)
        if value > most:
            best, most = k, value
    if best < 0:
        return False
    preempt(e, r, rules, conduct, rank, params, best, AS_RULES, system.blocks)
    return True


@part_kernel
def can_displace(e, r, rules, conduct, rank, victim, params, i):
    """Whether preempting all running requests that request i may displace would make room for it."""
    system, request = r.system[e], r.requests[i]
    bar, blocks, seats = request.rank + conduct.margin, system.free, rules.max_seqs - system.running
    for k in range(system.running):
        other = r.requests[r.running[e, k]]
        if value_of(other, system, conduct, rank, victim, params) > bar:
            blocks += other.blocks
            seats += 1
    known = request.prompt + request.generated + rules.lookahead
    return seats > 0 and blocks_for(known, rules.block_size) + rules.watermark <= blocks


@inner_kernel
def schedule_waiting(e, r, rules, conduct, rank, victim, length, params):
    """Admit requests from the head of the queue until one does not fit [10 to 16]; policies may go past it or displace.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        rank: rank function, or None.
        victim: victim function, or None.
        length: length function, or None.
        params: parameters of all three.
    """
    system, state = r.system[e], r.state[e]
    position = 0
    state.blocked = 0
    while position < system.waiting and state.budget > 0:
        i = row_at(e, r, position)
        if may_join(e, r, rules, conduct, length, params, i):
            admit(e, r, rules, conduct, length, params, position)
            continue
        more = conduct.displaces and state.victims < rules.max_seqs  # so that no pair of policies can go on for ever
        if more and can_displace(e, r, rules, conduct, rank, victim, params, i):
            if displace(e, r, rules, conduct, rank, victim, params, i):
                position = find(e, r, i)
                continue
        if conduct.skips and position + 1 < system.waiting:
            position += 1
            continue
        if system.running == 0 and state.kept > 0:
            drop_one(e, r, state.first_kept)
            position = 0
            continue
        if (rules.keep_head or state.keeps) and system.running == 0:
            if clear_queue(e, r, rules):  # else caches kept in the queue could block it for ever
                position = 0
                continue
        # For the present, if it was not for want of what others took in this iteration alone.
        if state.admitted == 0 and conduct.admission == FITS and not (conduct.displaces or conduct.skips):
            state.blocked = 1
            if rules.caching and (not rules.reserve_known or may_appear(e, r, i, rules.block_size)):
                state.blocked = 0  # what the cache forgets may change the chunk, and what it learns the room
        break
