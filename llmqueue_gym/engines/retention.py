"""What a retention policy is asked: one pass over the contexts away at a replica, and what it fixes beforehand."""

import numpy as np

from llmqueue_gym._jit import kernel


@kernel
def decide(away, system, keep, waste, ranked, params, kept, first):
    """Ask a retention policy about each context of a replica, in order of their calls' ends.

    The wastes are those of the start of the pass: nobody's answer changes what the others are shown.

    Args:
        away: `AWAY` rows `(n,)`; their `worst` is written.
        system: `SYSTEM` record.
        keep: function of the policy.
        waste: likewise, or what stands for none.
        ranked: whether there is one.
        params: numbers for both.
        kept: what `keep` says of each, written `(n,)`.
        first: whether it stays and goes first where memory is short, written `(n,)`.
    """
    worst = -np.inf
    if ranked:
        for k in range(len(away)):
            kept[k] = waste(away[k], system, params)
            worst = max(worst, kept[k])
    for k in range(len(away)):
        mine = kept[k]
        away[k].worst = worst
        kept[k] = keep(away[k], system, params)
        first[k] = ranked and mine == worst and mine > -np.inf and kept[k] > 0.0


@kernel
def settle(away, system, fix, waste, params):
    """Fix the fate of contexts before their calls are scheduled, by the loads of that moment.

    Args:
        away: `AWAY` rows `(n,)` as they are predicted to be; their `strategy` and `stored` are written.
        system: `SYSTEM` record.
        fix: function of the policy.
        waste: likewise.
        params: numbers for both.
    """
    for k in range(len(away)):
        away[k].strategy = away[k].stored = np.nan
        strategy = fix(away[k], system, params)
        away[k].stored = waste(away[k], system, params)
        away[k].strategy = strategy
