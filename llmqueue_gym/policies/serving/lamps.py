"""LAMPS' rank, or MARS': least memory over a call's whole life first, by what will happen to its context meanwhile.

Memory-time of reading and writing k blocks is `area(k)`, as InferCept reckons a context that is computed in chunks of
what the budget leaves. A call is ranked by what it holds until its program goes away, while that is away, and after it
is back, where as many tokens are thought to be written again. Constants, block and units are those of the code: the
block is 64 tokens whatever the engine's is, and a swap counts in blocks squared.

The columns that it reads besides `prompt` and `predicted` are those of programs: of the request `gap` (s, predicted),
`returned` (tokens that the tool brings back, predicted), `calls_left` (after this one, predicted) and `strategy`
(DISCARD, PRESERVE or SWAP of `requests`, as `lamps` fixed it), and of the replica `scheduled` (tokens of this iteration
of those who run). Those who run keep their order of arrival.

Source: Shahout et al., "Fast Inference for Augmented Large Language Models" (LAMPS, MARS), NeurIPS 2025;
mars-repository/mars-codebase 4cedd10, policy.py.
"""

from llmqueue_gym.requests import DISCARD, PRESERVE

BLOCK, BUDGET = 64, 384  # tokens
_SECONDS = (0.1 * BUDGET + 10) / 1000  # s, a full iteration
_AWAY = 0.1  # of a second away, where the context is at the host


def area(blocks, scheduled):
    """Return the memory-time of so many blocks that are computed beside so many tokens of others."""
    chunk = max(BUDGET - scheduled, 1)
    m = max((BLOCK * blocks + chunk - 1) // chunk, 1)
    return _SECONDS * (1 + m) * m / 2 * chunk


def memory_time(prompt, predicted, returned, gap, calls_left, strategy, scheduled):
    """Return the memory-time of a call and of what comes after it.

    Args:
        prompt: tokens.
        predicted: output tokens.
        returned: tokens that the tool brings back.
        gap: s for which the program is away.
        calls_left: calls after this one.
        strategy: DISCARD, PRESERVE or SWAP.
        scheduled: tokens of this iteration of those who run.
    """
    before = (prompt + predicted + BLOCK - 1) // BLOCK
    after = (predicted + returned + BLOCK - 1) // BLOCK
    if strategy == PRESERVE:
        return area(before, scheduled) + before * BLOCK * gap + area(after, scheduled)
    if strategy == DISCARD:
        again = area(before + after, scheduled)
        return area(before, scheduled) + again if calls_left > 0 else again
    moved = before * (before / 2) / 2
    if calls_left > 0:
        return area(before, scheduled) + moved + gap * _AWAY + moved + area(after, scheduled)
    return moved + area(after, scheduled)


def rank(request, system, params):
    return memory_time(
        request.prompt,
        request.predicted,
        request.returned,
        request.gap,
        request.calls_left,
        request.strategy,
        system.scheduled,
    )
