"""Batches that go on until something changes, as Splitwise's machines have them.

A batch of decodes is kept until one of it ends, or until somebody comes who would fit beside it; then a batch is put
together anew. Whole prompts go first, then decodes, within one budget of tokens; a prompt above the budget runs alone.
Whoever runs for the first time takes all the memory that it needs, so nobody ever loses its cache; a decode that is
left out keeps it and waits. Who was passed over `overdue` times goes before all prompts, as far as it is found at the
head of the queue.

The queue is that of `block_queue`. The running list holds all who have their memory: first the batch, then those who
wait, which have the status WAITING, in order of preemption. Whoever has just been read leaves it, but where the blocks
of its prompt hold all its tokens: then it decodes on.

Source: Mutinifni/splitwise-sim 8f99e7d (Patel et al., Splitwise, ISCA 2024).
"""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.batch import count
from llmqueue_gym.engines.batching.block_queue import (
    batched,
    entry_at,
    insert,
    is_next,
    missing_blocks,
    passed_over,
    remove,
    row_of,
    tokens_to_hold,
    unread,
)
from llmqueue_gym.engines.batching.pool import take
from llmqueue_gym.engines.batching.queue import is_read
from llmqueue_gym.engines.batching.tables import BY_BLOCKS
from llmqueue_gym.requests import DECODING, PREFILLING, WAITING


@part_kernel
def line_up(e, r, rules, i, stays):
    """Let a request into the queue that comes with its prompt to read, or with its prompt read elsewhere.

    The batch goes on unless there is room for what came.

    Args:
        e: row of the replica.
        r: `ReplicaTables`.
        rules: `RULES` record.
        i: row of the request.
        stays: whether its tokens follow here after its prompt.
    """
    system, state, request = r.system[e], r.state[e], r.requests[i]
    request.status, request.rank = WAITING, 0.0
    read = is_read(request)
    in_batch = batched(e, r)
    if in_batch == 0:
        later = missing_blocks(r, rules, i, True) - missing_blocks(r, rules, i, False) if stays else system.blocks
        if min(missing_blocks(r, rules, i, read), later) <= system.free:
            state.blocked = 0
    elif in_batch < rules.max_seqs:
        tokens = unread(request)
        if ((read or stays) and in_batch < rules.token_budget) or tokens <= rules.token_budget:
            state.blocked = 0
    if not read:
        insert(e, r, i)
    elif missing_blocks(r, rules, i, True) == 0:  # it came with all its memory
        r.running[e, system.running] = i
        system.running += 1
    if read or stays:
        insert(e, r, ~i)


@part_kernel
def gains(e, r, rules):
    """Whether somebody who waits at replica e gains by memory that came free: where nobody runs, the first does."""
    system, state = r.system[e], r.state[e]
    if rules.batching == BY_BLOCKS and batched(e, r) == 0 and system.waiting > 0:
        first = entry_at(e, r, 0)
        return missing_blocks(r, rules, row_of(first), first < 0) <= system.free
    return system.waiting + state.n > state.arrived


@part_kernel
def next_by_arrival(e, r, after, only_prompts):
    """Return the first row after another of whom something waits to be done here, -1 where there is none."""
    found = -1
    for k in range(r.system[e].waiting):
        entry = entry_at(e, r, k)
        i = row_of(entry)
        if i > after and (i < found or found < 0):
            if entry >= 0 or (not only_prompts and is_next(r, entry)):
                found = i
    return found


@part_kernel
def choose(e, r, rules, i, chosen, tokens, blocks):
    """Choose a request for the batch; return how many are chosen, and their tokens and the blocks they take."""
    request = r.requests[i]
    decodes = is_read(request)
    request.scheduled = unread(request)
    r.notes[e, chosen].admitted = i
    return chosen + 1, tokens + request.scheduled, blocks + missing_blocks(r, rules, i, decodes)


@part_kernel
def select(e, r, rules):
    """Choose whom the next batch has; `scheduled` of theirs is above 0, and notes hold them in order.

    Returns:
        how many there are.
    """
    system, running = r.system[e], r.running[e]
    seats, budget, free = rules.max_seqs, rules.token_budget, system.free
    chosen = tokens = blocks = 0
    for k in range(system.waiting):  # who has been passed over too often
        entry = entry_at(e, r, k)
        i = row_of(entry)
        decodes = is_read(r.requests[i])
        size = 1 if entry < 0 else unread(r.requests[i])
        if chosen == seats or passed_over(r, entry) < rules.overdue or (chosen > 0 and tokens + size > budget):
            break
        if r.requests[i].scheduled == 0 and blocks + missing_blocks(r, rules, i, decodes) <= free:
            chosen, tokens, blocks = choose(e, r, rules, i, chosen, tokens, blocks)
    i = next_by_arrival(e, r, -1, True)
    while i >= 0 and chosen < seats and (chosen == 0 or tokens + unread(r.requests[i]) <= budget):
        if r.requests[i].scheduled == 0:
            if blocks + missing_blocks(r, rules, i, False) > free:
                break
            chosen, tokens, blocks = choose(e, r, rules, i, chosen, tokens, blocks)
        i = next_by_arrival(e, r, i, True)
    first = batched(e, r)
    for k in range(system.running):  # decodes that were left out, then those of the last batch
        i = running[first + k] if first + k < system.running else running[first + k - system.running]
        if chosen == seats or (chosen > 0 and tokens + 1 > budget):
            break
        if r.requests[i].scheduled == 0:
            chosen, tokens, blocks = choose(e, r, rules, i, chosen, tokens, blocks)
    i = next_by_arrival(e, r, -1, False)
    while i >= 0 and chosen < seats:
        if r.requests[i].scheduled == 0:
            decodes = is_read(r.requests[i])
            if chosen > 0 and tokens + unread(r.requests[i]) > budget:
                break
            if blocks + missing_blocks(r, rules, i, decodes) > free:
                break
            chosen, tokens, blocks = choose(e, r, rules, i, chosen, tokens, blocks)
        i = next_by_arrival(e, r, i, False)
    return chosen


@part_kernel
def schedule_block(e, r, rules):
    """Put a batch together, or let that of decodes go on for an iteration where nothing has changed.

    Args:
        e: row of the replica.
        r: `ReplicaTables`.
        rules: `RULES` record.
    """
    state, requests, running = r.state[e], r.requests, r.running[e]
    if not state.blocked:
        form(e, r, rules, select(e, r, rules))
    for k in range(batched(e, r)):
        request = requests[running[k]]
        if request.status == DECODING:
            request.scheduled = 1
        count(state.batch, request, 1)
    state.blocked = state.batch.prefills == 0


@part_kernel
def stay_here(e, r, rules, i):
    """Let a request that was read here to go on elsewhere go on here: the rest of its tokens waits in the queue."""
    if missing_blocks(r, rules, i, True) > 0:
        insert(e, r, ~i)
        release_read(e, r, rules)


@part_kernel
def release_read(e, r, rules):
    """Let those out of the batch whose prompt was read just now; the rest of their tokens is in the queue.

    Whoever goes on elsewhere has no such entry, and leaves by itself.
    """
    stay = 0
    for k in range(r.system[e].running):
        i = r.running[e, k]
        if missing_blocks(r, rules, i, True) > 0 and not r.requests[i].goes_on:
            r.requests[i].status = WAITING
        else:
            r.running[e, stay] = i
            stay += 1
    r.system[e].running = stay


@part_kernel
def form(e, r, rules, chosen):
    """Let the batch consist of those who are chosen: others of it are preempted, and all who wait are passed over."""
    system, state, requests, notes, running = r.system[e], r.state[e], r.requests, r.notes[e], r.running[e]
    n, first, made = system.running, batched(e, r), 0
    for k in range(first):
        if requests[running[k]].scheduled > 0:
            notes[made].order = running[k]
            made += 1
        else:
            request = requests[running[k]]
            insert(e, r, ~running[k])
            request.status = WAITING
            request.preemptions += 1
            state.preemptions += 1
            notes[state.victims].victim = running[k]
            state.victims += 1
    for k in range(chosen):
        i = notes[k].admitted
        request = requests[i]
        if request.status != WAITING:
            continue
        decodes = is_read(request)
        remove(e, r, ~i if decodes else i)
        take(e, r, i, tokens_to_hold(r, rules, i, decodes), rules.block_size)
        request.status = DECODING if decodes else PREFILLING
        if not decodes:
            request.rank = 0.0  # its tokens were not passed over yet
            if not request.goes_on and missing_blocks(r, rules, i, True) == 0:
                remove(e, r, ~i)  # they follow in this batch
        notes[made].order = i
        made += 1
    for start, end in ((first, n), (0, first)):  # who waited before, then who was preempted now
        for k in range(start, end):
            if requests[running[k]].status == WAITING:
                notes[made].order = running[k]
                made += 1
    for k in range(made):
        running[k] = notes[k].order
    system.running = made
    for k in range(system.waiting):
        entry = entry_at(e, r, k)
        if is_next(r, entry):
            requests[row_of(entry)].rank += 1.0
