"""What a context wastes while its program is away, in token-seconds of memory, as InferCept and LAMPS reckon it.

Preserved, it holds its memory until the program is back. Discarded, it is computed again in chunks of what the token
budget leaves, holds memory as it grows, and makes those who run wait. Swapped, it goes to the host and comes back, and
they wait for that. An iteration of n tokens takes `per_token` n + `base` ms.

Plain functions of numbers, which compiled policies call, too; the order of operations is the original one, so that the
values are, to the last bit.

Source: Abhyankar et al., "InferCept: Efficient Intercept Support for Augmented Large Language Model Inference", ICML
2024, WukLab/InferCept 3a1a4da; Shahout et al., "Fast Inference for Augmented Large Language Models" (LAMPS, MARS),
NeurIPS 2025, mars-repository/mars-codebase 4cedd10.
"""

import math

BUDGET = 384  # tokens of an iteration
INFERCEPT = (0.0279, 15.4)  # ms a token and an iteration: Vicuna-13B on two GPUs
LAMPS = (0.0463, 10.0)  # GPT-J-6B
# ms a token and an iteration for a context to go and come back, and ms a token each way while those who run wait.
LAMPS_SWAP = (0.181, 22.5, 0.136)
_SLOPE, _OFFSET = 0.3297119141, 93.994140625  # of the tokens that move in an iteration, fitted by InferCept


def room(scheduled, budget):
    """Return the tokens that an iteration has left for a context that is computed again, at least 1."""
    return max(budget - scheduled, 1)


def preserve_waste(left, context):
    """Return the waste of keeping a context for the s that are left; negative where its time is over."""
    return left * context


def discard_waste(context, scheduled, held, per_token, base, budget):
    """Return the waste of computing a context again.

    Args:
        context: its tokens.
        scheduled: tokens of this iteration of those who run.
        held: tokens of their blocks.
        per_token: ms a token.
        base: ms an iteration.
        budget: tokens of an iteration.
    """
    chunk = room(scheduled, budget)
    n = max((context + chunk - 1) // chunk - 1, 0)
    full, piece = (per_token * budget + base) / 1000, (per_token * chunk) / 1000
    last = context % chunk
    waste = full * (1 + n) * n / 2 * chunk + piece * n * held
    return waste + (per_token * last) / 1000 * (held + last)


def swap_waste(context, scheduled, held, both_ways, base, one_way, budget):
    """Return the waste of moving a context to the host and back; arguments as in `discard_waste`.

    Args:
        context: its tokens.
        scheduled: tokens of this iteration of those who run.
        held: tokens of their blocks.
        both_ways: ms a token for going and coming back.
        base: ms an iteration.
        one_way: ms a token each way for which those who run wait.
        budget: tokens of an iteration.
    """
    chunk = room(scheduled, budget)
    n = max((context + chunk - 1) // chunk - 1, 1)
    full, piece = (both_ways * budget + base) / 1000, (one_way * chunk) / 1000
    return full * n * context + piece * n * held * 2


def move_waste(context, held, one_way):
    """Return the waste of moving a context to the host and back where just that is paid for, nothing in full chunks.

    Args:
        context: its tokens.
        held: tokens of the blocks of those who run and wait for it.
        one_way: ms a token each way.
    """
    return 2 * one_way * context / 1000 * (context + held)


def wastes_by(context, scheduled, held, costs):
    """Return what discarding and swapping waste.

    Args:
        context: its tokens.
        scheduled: tokens of this iteration of those who run.
        held: tokens of their blocks.
        costs: numbers of `costs.Costs`, in order.
    """
    budget = int(costs[2])
    again = discard_waste(context, scheduled, held, costs[0], costs[1], budget)
    if costs[3] > 0:
        return again, swap_waste(context, scheduled, held, costs[3], costs[4], costs[5], budget)
    return again, move_waste(context, held, costs[5])


def swap_in_blocks(free, block_size):
    """Return InferCept's blocks that may come back from the host in an iteration with so many tokens free."""
    return max(0.0, float(math.floor((-_SLOPE * BUDGET + _OFFSET + free / 2) / block_size)))


def swap_out_blocks(free, block_size):
    """Return the blocks that may go to the host; fewer where more tokens are free."""
    return max(0.0, float(math.floor(((1 - _SLOPE) * BUDGET + _OFFSET - free / 2) / block_size)))
