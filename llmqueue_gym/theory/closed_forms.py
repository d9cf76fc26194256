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

from llmqueue_gym.distributions.integration import panel_nodes
from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.theory import classes
from llmqueue_gym.theory.joint import JointLaw, Row


def pollaczek_khinchine(joint: JointLaw, load: float) -> float:
    """FCFS: E[S] + lambda E[S^2] / (2 (1 - rho))."""
    return joint.size.mean + _work(joint, load) / (1 - load)


def lcfs(joint: JointLaw, load: float) -> float:
    """Preemptive LCFS: E[S] / (1 - rho), whatever the law."""
    return joint.size.mean / (1 - load)


def spjf(joint: JointLaw, load: float) -> float:
    """E[S] + E over Y of lambda E[S^2] / (2 (1 - rho_Y)^2)."""
    law = _Levels(joint, load)
    return joint.size.mean + law.expectation(_work(joint, load) / law.idle**2)


def pspjf(joint: JointLaw, load: float) -> float:
    """E[T(x, y)] = (lambda / 2) E[S^2; Y <= y] / (1 - rho_y)^2 + x / (1 - rho_y)."""
    law = _Levels(joint, load)
    wait = law.expectation(0.5 * law.lam * law.second / law.idle**2)
    return wait + law.expectation(1 / law.idle, 1)


def limited_preemption(joint: JointLaw, load: float, c: float) -> float:
    """Waiting by rank at arrival, with the old work that unfinished jobs recycle, then residence.

    E[T(x, y)] = (lambda / 2) {E[S^2; Y <= y] + E[((S - min(Y - y, c Y))^+)^2; Y > y]} / (1 - rho_y)^2
                 + int_0^min(x, c y) dt / (1 - rho_(y - t)) + (x - c y)^+
    """
    law = _Levels(joint, load)
    recycled, residence = (_limited_exactly if joint.exact else _limited)(joint, law, load, c)
    return law.expectation(0.5 * law.lam * (law.second + recycled) / law.idle**2) + residence


def _limited(joint: JointLaw, law: "_Levels", load: float, c: float) -> tuple[np.ndarray, float]:
    """Return the recycled part at each level `(m,)`, and the mean residence."""
    from scipy.interpolate import PchipInterpolator  # which takes a while to import

    levels, rows = joint.levels, joint.rows
    edges = joint.y_edges  # between the edges a row, which stands for a cell, would count as a whole or not at all
    recycled = np.zeros(len(edges))
    for row in rows:
        i = np.searchsorted(edges, row.y)
        recycled[:i] += _excess2(row, np.minimum(row.y - edges[:i], c * row.y))
    slowness = 1 / law.idle
    residence = 0.0
    for row in rows:
        ages = np.unique(np.concatenate([row.ages, row.y * np.linspace(0, c, 65)]))
        service = np.interp(ages, row.ages, row.served)
        at = np.where(ages < c * row.y, np.interp(row.y - ages, levels, slowness, left=1.0), 1.0)
        before = np.where(ages <= c * row.y, np.interp(row.y - ages, levels, slowness, left=1.0), 1.0)
        residence += float(np.sum(np.diff(service) * 0.5 * (at[:-1] + before[1:])))
    return PchipInterpolator(edges, recycled)(levels), residence


def _limited_exactly(joint: JointLaw, law: "_Levels", load: float, c: float) -> tuple[np.ndarray, float]:
    """Return the same where Y = S, in moments of S alone: E[max(y, (1 - c) S)^2; S > y], and so on."""
    size, y = joint.size, joint.levels
    z, dz = panel_nodes(joint.y_edges, 4)
    far = 1 / (1 - c) if c < 1 else np.inf  # times y: sizes above it are past preemption when y is left of them
    with np.errstate(invalid="ignore"):
        y_far, z_far = np.nan_to_num(y * far, posinf=np.inf), z * far
    recycled = y**2 * size.between(y, y_far) + (1 - c) ** 2 * size.tail_moment(2, y_far)
    idle = 1 - load + law.lam * size.tail_moment(1, z)
    return recycled, float(np.sum(dz * size.between(z, z_far) / idle)) + (1 - c) * size.mean


def one_bit(joint: JointLaw, load: float, threshold: float) -> float:
    """Without preemption: E[S] + lambda E[S^2] / 2 / (1 - rho_s) (p_s + p_l / (1 - rho))."""
    (short, long), (_, later), _ = _bits(joint, threshold)
    idle = 1 - load + load * later / joint.size.mean
    return joint.size.mean + _work(joint, load) / idle * (short + long / (1 - load))


def one_bit_lcfs(joint: JointLaw, load: float, threshold: float) -> float:
    """Every arriving short job preempts: (E[S] + P(long) lambda E[S^2] / (2 (1 - rho))) / (1 - rho_s)."""
    (_, long), (_, later), _ = _bits(joint, threshold)
    idle = 1 - load + load * later / joint.size.mean
    return (joint.size.mean + long * _work(joint, load) / (1 - load)) / idle


def one_bit_fcfs(joint: JointLaw, load: float, threshold: float) -> float:
    """Two preemptive priority classes, FCFS within each."""
    (short, long), (first, later), (second, _) = _bits(joint, threshold)
    lam = load / joint.size.mean
    idle = 1 - load + lam * later
    return short * 0.5 * lam * second / idle + first + (long * _work(joint, load) / (1 - load) + later) / idle


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
    "classes": partial(classes.mean_response_time, preemptive=False),
    "preemptive-classes": partial(classes.mean_response_time, preemptive=True),
}


class _Levels:
    """The load and second moment of the jobs predicted at most y, at each level y of a joint law.

    Attributes:
        lam: arrival rate, 1/s.
        idle: 1 - rho_y `(m,)`.
        second: E[S^2; Y <= y] `(m,)`.

    Raises:
        NotApplicable: predictions have ties.
    """

    def __init__(self, joint: JointLaw, load: float):
        if not joint.continuous:
            raise NotApplicable("the closed form needs predictions without ties; method 'soap' has no such need")
        self._below, self._above = joint.at_levels
        self.lam = load / joint.size.mean
        self.idle = 1 - load + self.lam * self._above[1]
        self.second = self._below[2]

    def expectation(self, value: np.ndarray, order: int = 0) -> float:
        """Return E[S^order value(Y)] for values at the levels `(m,)`.

        Trapezoid rule on all levels and on every second one, extrapolated to steps of zero.
        """
        below, above = self._below[order], self._above[order]
        fine, coarse = (
            np.sum(0.5 * (v[1:] + v[:-1]) * np.where(b[1:] < a[:-1], np.diff(b), -np.diff(a)))
            for v, b, a in ((value, below, above), (value[::2], below[::2], above[::2]))
        )
        return float(fine + (fine - coarse) / 3 + value[0] * below[0] + value[-1] * above[-1])


def _work(joint: JointLaw, load: float) -> float:
    """Return lambda E[S^2] / 2, the mean work in service."""
    return 0.5 * load / joint.size.mean * joint.size.moment(2)


def _bits(joint: JointLaw, threshold: float) -> np.ndarray:
    """Return E[S^k; short] and E[S^k; long] `(3, 2)` for k = 0, 1, 2; short are those predicted at most the threshold.

    Raises:
        NotApplicable: there are no predictions.
    """
    if joint.blind:
        raise NotApplicable("one bit of advice needs a predictor")
    return joint.parted((0, 1, 2), np.array([threshold]))[:, :, 0].T


def _excess2(row: Row, b: np.ndarray) -> np.ndarray:
    """Return E[((S - b)^+)^2; row] for each b."""
    cell, above = row.reached_at(b)
    step = b - row.ages[cell]
    middle = 0.5 * (row.above[cell] + above)
    served = row.served[cell] + step * middle
    served2 = row.served2[cell] + step * (row.ages[cell] + 0.5 * step) * middle
    gain = 2 * ((row.served2[-1] - served2) - b * (row.served[-1] - served))
    return np.where(b >= row.ages[-1], 0.0, np.maximum(gain, 0.0))
