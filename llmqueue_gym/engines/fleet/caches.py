"""What a request that moves leaves behind until it has gone, and what it finds and takes where it goes.

While a request moves it holds its memory twice, as in vLLM with its NIXL connector and in llm-d: the replica that it
leaves keeps its blocks until the last of them is copied, so that nobody else gets them, and then frees them into its
cache, where they can be found again. The replica that it goes to looks its tokens up as it does those of any request;
blocks that are found there are shared, and only the others are taken and filled over the link. They can be found by
others once the request is there. Replicas that go on with each other's requests may so wait for each other's memory
for ever: nobody takes it from them, and the run ends as stuck, or, where transfers are tried again, at its horizon.

That is so at every replica that caches. SGLang's servers that decode keep no tree, so all tokens go over: that is a
group of replicas of role decode whose rules have `caching=none`. Dynamo could also copy what the replica that decodes
has to the one that reads, which nobody does here.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.cache import AT, HELD, LEFT, NOTHING, OFFSET, PAGES, PATH, PREFIX, TREE
from llmqueue_gym.engines.batching.pool import blocks_for, take
from llmqueue_gym.engines.batching.radix_tables import INSERTED, LOCKED, NONE, SHARED
from llmqueue_gym.engines.batching.sharing import hold_tokens, keep_tokens, look_up, unused_after, use_hits


@part_kernel
def leave_behind(r, g, i, flow):
    """Let what request i holds at replica g belong to its flow, so that it can take room elsewhere."""
    request = r.requests[i]
    flow.blocks, request.blocks = request.blocks, 0
    if r.state[g].caching:
        part(r.cells, r.state[g], r.truth[i].path, flow.blocks)


@part_kernel
def part(cells, state, path, blocks):
    """Let so many blocks of a path belong to what is left behind, and the path have none."""
    if cells is not None:
        left = path + cells[path + LEFT]
        for cell in range(PAGES):
            cells[left + cell] = cells[path + cell]
        if state.caching == TREE:
            cells[path + LOCKED], cells[path + SHARED], cells[path + INSERTED] = NONE, 0, 0
            return
        for k in range(blocks):
            cells[left + PATH + k] = cells[path + cells[path + PAGES] + k]
        cells[path + PREFIX], cells[path + HELD], cells[path + AT], cells[path + OFFSET] = NOTHING, 0, PATH, 0


@part_kernel
def free_behind(r, g, i, flow):
    """Free what request i left behind at replica g; where that caches, it can be found there."""
    freed = flow.blocks
    if r.state[g].caching:
        freed = freed_of(r.cells, r.state[g], flow, r.truth[i].path)
    r.system[g].free += freed
    flow.blocks = 0


@inner_kernel
def freed_of(cells, state, flow, path):
    """Return how many blocks are free when a flow uses those no more that were left behind of a path."""
    if cells is None:
        return 0
    else:
        return unused_after(cells, state, flow, path + cells[path + LEFT])


@part_kernel
def has_room(r, g, i, size):
    """Whether replica g has room for request i, which is to move there, and for a token more."""
    state, need = r.state[g], blocks_for(r.requests[i].computed + 1, size)
    if state.caching:
        look_up(g, r, i, size)
        need -= state.hits - state.idle_hits
    return need <= r.system[g].free


@part_kernel
def claim(r, g, i, size):
    """Let request i, which is to move to replica g, take its room there, and a token's more.

    Args:
        r: `ReplicaTables`.
        g: the replica.
        i: row of the request.
        size: tokens a block there.

    Returns:
        how many of its tokens are there already; -1 where there is no room.
    """
    request, state, system, found = r.requests[i], r.state[g], r.system[g], 0
    if not has_room(r, g, i, size):
        return -1
    if state.caching:
        found = state.hits * size
        use_hits(r.cells, state, system, request, r.truth[i])
    take(g, r, i, request.computed + 1, size)
    return found


@part_kernel
def settle(r, g, i, size):
    """Let others find the tokens of request i, which has come to replica g with them."""
    if r.state[g].caching == TREE:
        keep_tokens(g, r, i)
    elif r.state[g].caching:
        hold_tokens(g, r, i, r.requests[i].computed, size)
