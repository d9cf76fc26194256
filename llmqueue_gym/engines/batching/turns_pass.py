"""Requests that take turns, as the instances of DistServe's simulator have them.

An iteration takes prompts from the front of the queue while they fit into the budget; where there are none it takes
decodes from the front of the running list, while what they read fits into `context_budget`. Where prompts are cut,
decodes join them. Whoever was in an iteration goes to the end of its line, behind those who came meanwhile: a prompt
that is not read to its end as well as a decode. Memory is not looked at: what decodes read is bounded in its place.

Source: LLMServe/DistServe 82831f1, simdistserve (Zhong et al., DistServe, OSDI 2024).
"""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.batch import count
from llmqueue_gym.engines.batching.queue import dequeue, is_read, row_at
from llmqueue_gym.requests import DECODING, PREFILLING, WAITING


@part_kernel
def to_the_back(e, r, i):
    """Put a request at the end of the queue."""
    r.requests[i].status = WAITING
    r.waiting[e, (r.state[e].head + r.system[e].waiting) & (r.waiting.shape[1] - 1)] = i
    r.system[e].waiting += 1


@part_kernel
def take_place(e, r, i):
    """Let a request in: at the end of the queue, or, with its prompt read elsewhere, before those just served."""
    if not is_read(r.requests[i]):
        to_the_back(e, r, i)
        return
    system, running = r.system[e], r.running[e]
    k = system.running  # at the first stage of a pipeline, whose clock stands still, the end of the line
    while k > 0 and r.requests[running[k - 1]].last_scheduled == system.clock:
        running[k] = running[k - 1]
        k -= 1
    running[k] = i
    r.requests[i].status = DECODING
    system.running += 1


@part_kernel
def schedule_turns(e, r, rules):
    """Put an iteration together.

    Args:
        e: row of the replica.
        r: `ReplicaTables`.
        rules: `RULES` record.
    """
    system, state, requests, running, notes = r.system[e], r.state[e], r.requests, r.running[e], r.notes[e]
    n = 0
    for k in range(system.running):  # prompts that were cut
        i = running[k]
        if requests[i].status == PREFILLING:
            to_the_back(e, r, i)
        else:
            running[n] = i
            n += 1
    prompts = take_prompts(e, r, rules)
    decodes = 0
    if prompts == 0:
        decodes = count_turns(e, r, n, rules.max_seqs, rules.context_budget)
    elif rules.chunked:
        decodes = count_turns(e, r, n, rules.token_budget - state.batch.prefill_tokens, rules.context_budget)
    for k in range(decodes):
        request = requests[running[k]]
        request.scheduled = 1
        count(state.batch, request, 1)
    if prompts > 0 or decodes < n:
        for k in range(decodes):
            notes[k].order = running[k]
        for k in range(decodes, n):
            running[k - decodes] = running[k]
        for k in range(prompts):
            running[n - decodes + k] = notes[k].admitted
        for k in range(decodes):
            running[n - decodes + prompts + k] = notes[k].order
    system.running = n + prompts


@part_kernel
def take_prompts(e, r, rules):
    """Take prompts off the queue for this iteration, in order in the notes; return how many."""
    state, taken, prompts = r.state[e], 0, 0
    while r.system[e].waiting > 0:
        i = row_at(e, r, 0)
        request = r.requests[i]
        left, room = request.prompt + request.generated - request.computed, rules.token_budget - taken
        if rules.chunked:
            left = min(left, room - taken if rules.counted_twice else room)
        elif left > rules.token_budget and taken == 0:  # with output that is lost, else it could never be read
            left = room
        if left <= 0 or left > room:
            break
        dequeue(e, r, 0)
        request.status, request.scheduled = PREFILLING, left
        taken += left
        count(state.batch, request, 1)
        r.notes[e, prompts].admitted = i
        prompts += 1
    return prompts


@part_kernel
def count_turns(e, r, n, most, context_budget):
    """Return how many of the first n running requests decode in this iteration."""
    decodes, context = 0, 0
    while decodes < min(n, most):
        context += r.requests[r.running[e, decodes]].computed + 1
        if context > context_budget:
            break
        decodes += 1
    return decodes
