"""LAMPS' rank, or MARS': least memory over a call's whole life first, by what will happen to its context meanwhile.

Memory-time of reading and writing k blocks is `area(k)`, as InferCept reckons a context that is computed in chunks of
what the budget leaves. A call is ranked by what it holds until its program goes away, while that is away, and after it
is back, where as many tokens are thought to be written again. Constants, block and units are those of the code: the
block is 64 tokens whatever the engine's is, and a swap counts in blocks squared.

What happens to contexts is fixed by the retention policy that goes with it, `retention=lamps`; without one they are
dropped.

"-like": LAMPS counts the tokens that those who run compute in this iteration, here one for each who runs; its ranks are
those of the moment, here those of when a call comes; and it lifts a call that has not been served for 100 iterations.

Source: Shahout et al., "Fast Inference for Augmented Large Language Models" (LAMPS, MARS), NeurIPS 2025;
mars-repository/mars-codebase 4cedd10, policy.py.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy
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
        max(float(request.gap), 0.0),
        1.0 if request.gap >= 0 else 0.0,
        request.strategy,
        system.running,
    )


def lamps_like() -> ServingPolicy:
    """Least memory over the whole life first, by predicted output, time away and tokens that the tool returns."""
    source = "Shahout et al., LAMPS (MARS), NeurIPS 2025; mars-repository/mars-codebase"
    return ServingPolicy("lamps-like", rank, source=source)
