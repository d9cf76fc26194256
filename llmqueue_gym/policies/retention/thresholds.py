"""InferCept's fixed policies: what happens to a context goes by the predicted time away alone.

H-S swaps from 4 s on and H-D discards from 7 s on, else they preserve; H-B preserves below 4 s, swaps below 7 s, and
discards from there on.

Source: WukLab/InferCept, scheduler_v2.py, api_policy H-S, H-D and H-B.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.requests import DISCARD, PRESERVE, SWAP

_SOURCE = "WukLab/InferCept, scheduler_v2.py"


def keep(away, system, params):
    if away.predicted_gap >= params[1]:
        return DISCARD
    if away.predicted_gap >= params[0]:
        return SWAP
    return PRESERVE


def threshold_swap(seconds: float = 4.0) -> RetentionPolicy:
    """Swap what is predicted to be away for long.

    Args:
        seconds: from which on.
    """
    return _by_gap("infercept-h-s", seconds, PRESERVE)


def threshold_discard(seconds: float = 7.0) -> RetentionPolicy:
    """Discard what is predicted to be away for long.

    Args:
        seconds: from which on.
    """
    return _by_gap("infercept-h-d", seconds, seconds)


def threshold_both(swap: float = 4.0, discard: float = 7.0) -> RetentionPolicy:
    """Swap what is predicted to be away for long, and discard what is for longer.

    Args:
        swap: s from which on it is swapped.
        discard: s from which on it is discarded.
    """
    return _by_gap("infercept-h-b", swap, discard)


def _by_gap(name: str, swap: float, discard: float) -> RetentionPolicy:
    if not 0 <= swap <= discard:
        raise BadInput(f"{name}: {swap:g} s and {discard:g} s must not be negative, and swaps come before discards")
    return RetentionPolicy(name, keep, params=(swap, discard), source=_SOURCE)
