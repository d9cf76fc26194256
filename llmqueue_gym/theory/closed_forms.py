"""Closed forms of the mean response time in the M/G/1, with and without predictions.

Each function takes the joint law of size S and prediction Y, the arrival rate and the policy's parameters. rho_y is
the load of the jobs predicted at most y. Sources: Kleinrock 1975; Harchol-Balter, "Performance Modeling", 2013;
Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020, and "Queues with Small Advice",
ACDA 2021; Shahout et al. (Trail), ICLR 2025.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import kv

from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.theory.joint import JointLaw, Row


def pollaczek_khinchine(joint: JointLaw, lam: float) -> float:
    """FCFS: E[S] + lambda E[S^2] / (2 (1 - rho))."""
    mean = joint.size.mean
    return mean + lam * joint.size.moment(2) / (2 * (1 - lam * mean))


def lcfs(joint: JointLaw, lam: float) -> float:
    """Preemptive LCFS: E[S] / (1 - rho), whatever the law."""
    return joint.size.mean / (1 - lam * joint.size.mean)


def spjf(joint: JointLaw, lam: float) -> float:
    """E[S] + E over Y of lambda E[S^2] / (2 (1 - rho_Y)^2)."""
    share, load, _ = _by_level(joint, lam)
    wait = lam * joint.size.moment(2) / (2 * (1 - load) ** 2)
    return joint.size.mean + _expectation(wait, share)


def pspjf(joint: JointLaw, lam: float) -> float:
    """E[T(x, y)] = (lambda / 2) E[S^2; Y <= y] / (1 - rho_y)^2 + x / (1 - rho_y)."""
    share, load, second = _by_level(joint, lam)
    wait = _expectation(0.5 * lam * second / (1 - load) ** 2, share)
    return wait + _stieltjes(1 / (1 - load), load / lam, joint.size.mean)


def limited_preemption(joint: JointLaw, lam: float, c: float) -> float:
    """Waiting by rank at arrival, with the old work that unfinished jobs recycle, then residence.

    E[T(x, y)] = (lambda / 2) {E[S^2; Y <= y] + E[((S - min(Y - y, c Y))^+)^2; Y > y]} / (1 - rho_y)^2
                 + int_0^min(x, c y) dt / (1 - rho_(y - t)) + (x - c y)^+
    """
    from scipy.interpolate import PchipInterpolator  # which takes a while to import

    share, load, second = _by_level(joint, lam)
    levels, rows = joint.levels, joint.rows
    edges = joint.y_edges  # between the edges a row, which stands for a cell, would count as a whole or not at all
    recycled = np.zeros(len(edges))
    for row in rows:
        i = np.searchsorted(edges, row.y)
        recycled[:i] += _excess2(row, np.minimum(row.y - edges[:i], c * row.y))
    recycled = PchipInterpolator(edges, recycled)(levels)
    wait = _expectation(0.5 * lam * (second + recycled) / (1 - load) ** 2, share)
    slowness = 1 / (1 - load)
    residence = 0.0
    for row in rows:
        ages = np.unique(np.concatenate([row.ages, row.y * np.linspace(0, c, 65)]))
        service = np.interp(ages, row.ages, row.served)
        at = np.where(ages < c * row.y, np.interp(row.y - ages, levels, slowness, left=1.0), 1.0)
        before = np.where(ages <= c * row.y, np.interp(row.y - ages, levels, slowness, left=1.0), 1.0)
        residence += float(np.sum(np.diff(service) * 0.5 * (at[:-1] + before[1:])))
    return wait + residence


def one_bit(joint: JointLaw, lam: float, threshold: float) -> float:
    """Without preemption: E[S] + lambda E[S^2] / 2 / (1 - rho_s) (p_s + p_l / (1 - rho))."""
    short, load, _ = _shorts(joint, lam, threshold)
    rho = lam * joint.size.mean
    wait = lam * joint.size.moment(2) / 2 / (1 - load)
    return joint.size.mean + wait * (short + (1 - short) / (1 - rho))


def one_bit_lcfs(joint: JointLaw, lam: float, threshold: float) -> float:
    """Every arriving short job preempts: (E[S] + P(long) lambda E[S^2] / (2 (1 - rho))) / (1 - rho_s)."""
    short, load, _ = _shorts(joint, lam, threshold)
    rho = lam * joint.size.mean
    return (joint.size.mean + (1 - short) * lam * joint.size.moment(2) / (2 * (1 - rho))) / (1 - load)


def one_bit_fcfs(joint: JointLaw, lam: float, threshold: float) -> float:
    """Two preemptive priority classes, FCFS within each."""
    short, load, second = _shorts(joint, lam, threshold)
    rho, mean = lam * joint.size.mean, joint.size.mean
    shorts = short * 0.5 * lam * second / (1 - load) + load / lam
    longs = (1 - short) * 0.5 * lam * joint.size.moment(2) / ((1 - rho) * (1 - load)) + (mean - load / lam) / (1 - load)
    return shorts + longs


def one_bit_exponential(lam: float, threshold: float) -> tuple[float, float]:
    """Return t1 (no preemption) and t2 (preemption) of the survey, for exponential sizes and predictions."""
    root = 2 * np.sqrt(threshold)
    short = 1 - root * kv(1, root)
    load = lam * (1 - 2 * threshold * kv(2, root))
    t2 = (1 - lam * short) / ((1 - lam) * (1 - load))
    return float(lam * t2 + 1), float(t2)


FORMULAS: dict[str, Callable[..., float]] = {
    "pollaczek-khinchine": pollaczek_khinchine,
    "lcfs": lcfs,
    "spjf": spjf,
    "pspjf": pspjf,
    "sprpt": partial(limited_preemption, c=1.0),
    "limited-preemption": limited_preemption,
    "one-bit": one_bit,
    "one-bit-lcfs": one_bit_lcfs,
    "one-bit-fcfs": one_bit_fcfs,
}


def _by_level(joint: JointLaw, lam: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P(Y <= y), rho_y and E[S^2; Y <= y] at each level y, each by its complement, which is exact at the top."""
    if not joint.continuous:
        raise NotApplicable("the closed form needs predictions without ties; method 'soap' has no such need")
    tail = joint.level_tails
    return 1 - tail[0], lam * (joint.size.mean - tail[1]), joint.size.moment(2) - tail[2]


def _stieltjes(value: np.ndarray, measure: np.ndarray, total: float) -> float:
    """Return the integral of value over a cumulative measure, both given at the levels of a joint law.

    Trapezoid rule on all levels and on every second one, extrapolated to steps of zero.
    """
    coarse, fine = (
        np.sum(0.5 * (v[1:] + v[:-1]) * np.diff(m)) for v, m in ((value[::2], measure[::2]), (value, measure))
    )
    inner = fine + (fine - coarse) / 3
    return float(inner + value[0] * measure[0] + value[-1] * (total - measure[-1]))


def _expectation(value: np.ndarray, share: np.ndarray) -> float:
    return _stieltjes(value, share, 1.0)


def _shorts(joint: JointLaw, lam: float, threshold: float) -> tuple[float, float, float]:
    """Return p_s, rho_s and E[S^2; short] for the jobs predicted at most the threshold."""
    if joint.blind:
        raise NotApplicable("one bit of advice needs a predictor")
    tail = joint.tail_moments((0, 1, 2), np.array([threshold]))[:, 0]
    return 1 - tail[0], lam * (joint.size.mean - tail[1]), joint.size.moment(2) - tail[2]


def _excess2(row: Row, b: np.ndarray) -> np.ndarray:
    """Return E[((S - b)^+)^2; row] for each b."""
    cell, above = row.reached_at(b)
    step = b - row.ages[cell]
    middle = 0.5 * (row.above[cell] + above)
    served = row.served[cell] + step * middle
    served2 = row.served2[cell] + step * (row.ages[cell] + 0.5 * step) * middle
    gain = 2 * ((row.served2[-1] - served2) - b * (row.served[-1] - served))
    return np.where(b >= row.ages[-1], 0.0, np.maximum(gain, 0.0))
