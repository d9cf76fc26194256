"""How long to keep a context whose program is away for a time G of known law: exact optimal stopping.

Kept for at most t it holds memory for min(G, t), and costs `loss` more if the program is away for longer, be it
computed again or fetched from the host, so that in s of memory, with break-even time b = loss / rate,

    cost(t) / rate = E[min(G, t)] + b P(G > t).

All that is learned while it waits is that the program is not back, so that a time fixed beforehand is optimal. For
each b it is a vertex of the lower convex hull of the points (P(G > t), E[min(G, t)]). Inside a smooth piece it solves
b h(t) = 1 where the hazard h falls; with a rising hazard it is 0 or infinity, with the exponential law 0 where b is at
most E[G] and infinity otherwise, and with two exponential phases of rates f > s it is

    t = log(p (b f - 1) / ((1 - p) (1 - b s))) / (f - s)    where 1 / h(0) < b < 1 / s.

With a gap that an adversary chooses, t = b costs at most twice what it would, were the gap known (ski rental).

Source: waiting for a time of known law, Karlin, Manasse, McGeoch and Owicki, "Competitive Randomized Algorithms for
Nonuniform Problems", Algorithmica 1994; ski rental: Karlin, Manasse, Rudolph and Sleator, "Competitive Snoopy Caching",
Algorithmica 1988. The hull is this library's.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput

# Shares of programs that are back, or still away, at the times that are looked at.
_LEVELS = np.geomspace(1e-12, 0.5, 1000)
_TAIL = np.geomspace(1e-140, 1e-12, 100)
_SOON = 1e-9  # of the mean: times below are looked at by their shares alone
_INSIDE = 1e-9  # of a piece: a density that jumps at its ends is asked that far inside


class BestTime(NamedTuple):
    """A time to live and what it costs in the mean, in the unit of rate times s."""

    seconds: float
    cost: float


def expected_cost(gap: Distribution, seconds: ArrayLike, rate: float, loss: float) -> np.ndarray:
    """Return the mean cost of times to live, of their shape.

    Args:
        gap: law of the time away, s.
        seconds: for which a context is kept; infinity keeps it until the program is back.
        rate: cost a second while it is kept.
        loss: cost of computing it again or fetching it, once.
    """
    _check(rate, loss)
    t = np.asarray(seconds, float)
    return np.asarray(rate * gap.mean + rate * _against_keeping(gap, t, loss / rate))


def best_time(gap: Distribution, rate: float, loss: float) -> BestTime:
    """Return the time to live of least mean cost; the shortest where several are as good.

    Args:
        gap: law of the time away, s.
        rate: cost a second while it is kept.
        loss: cost of computing it again or fetching it, once.
    """
    _check(rate, loss)
    times, even = candidate_times(gap), loss / rate
    if gap.atoms() is None:
        times = np.union1d(times, _stationary(gap, times, even))
    against = _against_keeping(gap, times, even)
    best = int(np.argmin(against))
    return BestTime(float(times[best]), float(rate * (gap.mean + against[best])))


def best_times(gap: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """Return break-even times `(k,)`, ascending from 0, and times to live `(k,)` that are best from each one on, s.

    Of a continuous law they are so among some thousands of times, so that costs are within 1e-4 of the least.
    """
    times = candidate_times(gap)
    above, saved = gap.sf(times), -_left(gap, times)  # P(G > t), and what is kept less than for ever
    hull: list[int] = []
    for k in range(len(times)):
        if hull and above[k] >= above[hull[-1]]:  # nobody comes back between the two times
            continue
        while len(hull) > 1 and not _turns(above, saved, hull[-2], hull[-1], k):
            hull.pop()
        hull.append(k)
    at = np.array(hull)
    even = np.diff(saved[at]) / -np.diff(above[at])
    return np.concatenate([[0.0], even]), times[at]


def candidate_times(gap: Distribution) -> np.ndarray:
    """Return times, ascending from 0 to infinity: of a discrete law one is the best, of others one is near it."""
    inner = gap.atoms()
    if inner is None:
        quantiles = np.concatenate([gap.ppf(_LEVELS), gap.isf(_LEVELS), gap.isf(_TAIL)])
        between = np.geomspace(max(quantiles[0], _SOON * gap.mean), quantiles.max(), 2 * len(_LEVELS))
        inner = np.concatenate([quantiles, between, gap.breakpoints()])
    return np.unique(np.concatenate([[0.0, np.inf], inner]))


def two_phase_time(p: float, short: float, long: float, even: float) -> float:
    """Return the best time to live where G is exponential with mean `short` with probability p, else with mean `long`.

    Args:
        p: probability of the short phase.
        short: its mean, s.
        long: mean of the other, s, no less.
        even: break-even time, s.
    """
    fast, slow = 1 / short, 1 / long
    if even * (p * fast + (1 - p) * slow) <= 1:
        return 0.0
    if even * slow >= 1:
        return np.inf
    return float(np.log(p * (even * fast - 1) / ((1 - p) * (1 - even * slow))) / (fast - slow))


def _check(rate: float, loss: float) -> None:
    if not 0 < rate < np.inf:
        raise BadInput(f"rate={rate:g} must be positive and finite, the cost of a second in memory")
    if not 0 <= loss < np.inf:
        raise BadInput(f"loss={loss:g} must be finite and not negative, the cost of coming back to a dropped context")


def _left(gap: Distribution, times: np.ndarray) -> np.ndarray:
    """Return E[(G - t)+], accurate in the tail."""
    finite = times < np.inf
    t = np.where(finite, times, 0.0)
    return np.where(finite, np.maximum(gap.tail_moment(1, t) - t * gap.sf(t), 0.0), 0.0)


def _against_keeping(gap: Distribution, times: np.ndarray, even: float) -> np.ndarray:
    """Return the cost of times to live less that of keeping for ever, in s of memory."""
    return even * gap.sf(times) - _left(gap, times)


def _turns(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b is a vertex of the lower hull of points of falling x and rising y, between a and c."""
    return bool((y[b] - y[a]) * (x[b] - x[c]) < (y[c] - y[b]) * (x[a] - x[b]))


def _stationary(gap: Distribution, times: np.ndarray, even: float) -> np.ndarray:
    """Return the times at which the cost of a continuous law is locally least, b h(t) = 1 with h falling."""
    from scipy import optimize

    low, high = times[:-1], np.minimum(times[1:], 1e300)
    inside = _INSIDE * (high - low)

    def slope(t: np.ndarray) -> np.ndarray:  # of the cost, with the other sign
        return even * gap.pdf(t) - gap.sf(t)

    falls = np.flatnonzero((slope(low + inside) > 0) & (slope(high - inside) < 0))
    brackets = [(low[k] + inside[k], high[k] - inside[k]) for k in falls]
    return np.array([optimize.brentq(slope, a, b, xtol=1e-300, rtol=1e-14) for a, b in brackets])
