"""Greedy first come first served that keeps a share `alpha` of the memory free on admission.

"-like": where memory runs out all the same, the paper clears the whole batch; here the rule set preempts one at a time.

Source: the alpha-protection benchmark of Jaillet et al., arXiv 2502.07115, with alpha from 0.1 to 0.3.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy


def alpha_protect_like(alpha: float = 0.2) -> ServingPolicy:
    """First come first served with a watermark of `alpha`.

    Args:
        alpha: share of the blocks that stays free on admission, in [0, 1).
    """
    if not 0 <= alpha < 1:
        raise BadInput(f"alpha-protect-like: alpha={alpha:g} must lie in [0, 1)")
    rules = {"watermark": alpha, "no_watermark": False}
    return ServingPolicy("alpha-protect-like", rules=rules, source="Jaillet et al., arXiv 2502.07115 (benchmark)")
