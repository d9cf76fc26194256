"""The queue of batches that go on until something changes, and what those who wait in it will take; see `block_pass`.

It has two entries for a request, row i for its prompt and ~i for the rest of its tokens. It is a list that is searched
by bisection for the key (times passed over, arrival) although keys grow where they stand: whoever comes later often
gets ahead of who was passed over. `rank` counts the times.

Source: Mutinifni/splitwise-sim 8f99e7d (Patel et al., Splitwise, ISCA 2024).
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.pool import blocks_for
from llmqueue_gym.engines.batching.queue import is_read
from llmqueue_gym.requests import WAITING


@inner_kernel
def row_of(entry):
    """Return the row of the request that an entry of the queue is of."""
    return entry if entry >= 0 else ~entry


@part_kernel
def entry_at(e, r, position):
    """Return the entry at a position of the queue."""
    return r.waiting[e, (r.state[e].head + position) & (r.waiting.shape[1] - 1)]


@part_kernel
def is_next(r, entry):
    """Whether an entry is the next thing to do of its request: not the tokens of a prompt that is yet to be read."""
    return entry >= 0 or is_read(r.requests[~entry])


@part_kernel
def passed_over(r, entry):
    """Return how often an entry was passed over."""
    return r.requests[row_of(entry)].rank if is_next(r, entry) else 0.0


@part_kernel
def insert(e, r, entry):
    """Put an entry in its place in the queue: behind the equal ones that bisection finds."""
    waiting, ring, head, n = r.waiting, r.waiting.shape[1] - 1, r.state[e].head, r.system[e].waiting
    times, row = passed_over(r, entry), row_of(entry)  # rows are in order of arrival
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        other = waiting[e, (head + middle) & ring]
        others = passed_over(r, other)
        if times < others or (times == others and row < row_of(other)):
            high = middle
        else:
            low = middle + 1
    for k in range(n, low, -1):
        waiting[e, (head + k) & ring] = waiting[e, (head + k - 1) & ring]
    waiting[e, (head + low) & ring] = entry
    r.system[e].waiting = n + 1


@part_kernel
def remove(e, r, entry):
    """Take an entry out of the queue."""
    waiting, ring, head = r.waiting, r.waiting.shape[1] - 1, r.state[e].head
    k = 0
    while waiting[e, (head + k) & ring] != entry:
        k += 1
    n = r.system[e].waiting - 1
    for j in range(k, n):
        waiting[e, (head + j) & ring] = waiting[e, (head + j + 1) & ring]
    r.system[e].waiting = n


@part_kernel
def batched(e, r):
    """Return the requests in the batch: those at the head of the running list that do not wait."""
    k = 0
    while k < r.system[e].running and r.requests[r.running[e, k]].status != WAITING:
        k += 1
    return k


@part_kernel
def tokens_to_hold(r, rules, i, decodes):
    """Return the tokens that a request has room for once its prompt has begun, or its decodes have."""
    request = r.requests[i]
    return min(request.prompt + (r.truth[i].output if decodes else request.generated + 1), rules.max_model_len)


@part_kernel
def missing_blocks(r, rules, i, decodes):
    """Return the blocks that a request takes when it runs next, 0 where it has them."""
    return max(0, blocks_for(tokens_to_hold(r, rules, i, decodes), rules.block_size) - r.requests[i].blocks)


@inner_kernel
def unread(request):
    """Return the tokens that a request computes when it is next in a batch."""
    return request.prompt + request.generated - request.computed


@inner_kernel
def stands_for_itself(r, rules, entry):
    """Whether an entry of the queue is the only place where its request is listed."""
    return entry >= 0 or (is_read(r.requests[~entry]) and missing_blocks(r, rules, ~entry, True) > 0)
