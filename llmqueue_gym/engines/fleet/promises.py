"""What a replica will have to hold in the end, as whoever sends requests knows it: by what was predicted on arrival."""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.pool import blocks_for, promised_blocks


@part_kernel
def promise(e, f, r, i, q, sign):
    """Note that request i is to decode at replica q of run e (sign 1), or that it no longer is (sign -1)."""
    member = f.members[e * len(f.forms) + q]
    member.promised += sign
    member.reserved += sign * promised_blocks(r.requests[i], f.rules[q].block_size)


@part_kernel
def lend_room(e, f, r, i, q, sign):
    """Note that request i is only read at replica q of run e (sign 1), or that it has left for elsewhere (sign -1)."""
    tokens = r.requests[i].prompt + 1
    f.members[e * len(f.forms) + q].reserved += sign * blocks_for(tokens, f.rules[q].block_size)


@part_kernel
def forget_promises(e, f, r, i, q, course):
    """Take back what was promised of request i elsewhere, which loses what it had at replica q of run e."""
    if course.paired and r.requests[i].goes_on and f.flows[i].target != q:
        promise(e, f, r, i, f.flows[i].target, -1)


@part_kernel
def keep_promises_here(e, f, r, i, q, course):
    """Note that request i, if it was to go on elsewhere, decodes or has ended at replica q of run e, which read it."""
    if r.requests[i].goes_on:
        forget_promises(e, f, r, i, q, course)
        lend_room(e, f, r, i, q, -1)
        promise(e, f, r, i, q, 1)
