"""Whether windows show that a fleet keeps its objective, does not, or that more of them are needed.

Windows are played one after another, and looked at when there are 10, 20, 40 and so on. A fleet keeps the objective
where the lower end of an interval does, and fails where the upper end does not; where neither is so after the last look
it counts as one that does not keep it. The intervals are of the share of windows that hold (Clopper and Pearson,
Biometrika 26, 1934), or of the mean share over windows (Student's t). Each is so wide that an end is on the wrong side
at any look with probability `DOUBT` at most, all looks together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import across_seeds
from llmqueue_gym.planning.objective import Objective

LOOKS = (10, 20, 40, 80, 160, 320)  # windows
DOUBT = 0.05
_TAIL = DOUBT / len(LOOKS)

KEEPS, FAILS, OPEN = "keeps", "fails", "open"


class Verdict(NamedTuple):
    """What windows show.

    Attributes:
        word: `KEEPS`, `FAILS` or `OPEN`.
        windows: how many were played.
        held: how many of them have the share of requests that is wanted.
        low: lower end of the share of windows that hold, or of the mean share in the long run.
        high: upper end.
        share: mean share of requests within the limits.
        worst: least share of a window.
    """

    word: str
    windows: int
    held: int
    low: float
    high: float
    share: float
    worst: float


def verdict(shares: Sequence[float], objective: Objective) -> Verdict:
    """Return what windows show.

    Args:
        shares: of the requests within the limits, one for each window, one or more.
        objective: what is to be kept.
    """
    values = np.asarray(shares, float)
    held = int((values >= objective.share).sum())
    if objective.windows is None:
        wanted, (low, high) = objective.share, _mean(values)
    else:
        wanted, (low, high) = objective.windows, clopper_pearson(held, len(values))
    word = KEEPS if low >= wanted else FAILS if high < wanted else OPEN
    return Verdict(word, len(values), held, low, high, float(values.mean()), float(values.min()))


def clopper_pearson(held: int, n: int, tail: float = _TAIL) -> tuple[float, float]:
    """Return the exact interval of a share of which `held` of n were seen, each end wrong with probability `tail`."""
    low = float(betaincinv(held, n - held + 1, tail)) if held else 0.0
    high = float(betaincinv(held + 1, n - held, 1 - tail)) if held < n else 1.0
    return low, high


def check_can_be_shown(objective: Objective) -> None:
    """Refuse a share of windows that even the last look could not show, all windows held."""
    most = clopper_pearson(LOOKS[-1], LOOKS[-1])[0]
    if objective.windows is not None and objective.windows > most:
        raise BadInput(
            f"slo: windows={objective.windows:g} is more than {LOOKS[-1]} windows can show, all of them held; "
            f"at most {np.floor(1e4 * most) / 1e4:g}"
        )


def lost(shares: Sequence[float], objective: Objective) -> bool:
    """Tell whether the next look can only say that a fleet fails, so that the windows until then need no playing."""
    if objective.windows is None or len(shares) >= LOOKS[-1]:
        return False
    look = next(count for count in LOOKS if count > len(shares))
    misses = int((np.asarray(shares) < objective.share).sum())
    return clopper_pearson(look - misses, look)[1] < objective.windows


def _mean(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return 0.0, 1.0
    found = across_seeds(values, 1 - 2 * _TAIL)
    return max(found.low, 0.0), min(found.high, 1.0)
