"""How likely a job takes longer than t in the M/G/1: transforms of the response time, inverted numerically.

A job that arrives finds relevant work W, which is stretched to a busy period by all who overtake the job later, as is
its own service where it can be preempted. With sigma(s) = s + lambda (1 - Theta(s)), where lambda and the busy period
Theta are those of the jobs that overtake,

    E[e^(-s T)] = E[e^(-sigma W)] times E[e^(-sigma S)], or e^(-s S) without preemption, or, where the rank falls,
                  e^(-int sigma) over the ranks on the way down,

and W is that of an M/G/1 with the jobs that come first, and whatever is left of others when they come to count: the job
in service (SPJF), or one that has fallen to the rank (SPRPT). Predictions are cut into cells, and a job that lies in
the same cell comes first with probability one half.

What is found is right to about .5 % of P(T > t), down to 1e-7.

Sources: Kleinrock 1975 (Pollaczek-Khinchine, busy periods); Schrage 1967; Scully, Harchol-Balter, Scheller-Wolf,
"SOAP", SIGMETRICS 2018, section 5 (transforms); Abate, Whitt, "Numerical inversion of Laplace transforms of probability
distributions", ORSA J. Computing 1995 (the method EULER).
"""

from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.erlang import stable_load
from llmqueue_gym.theory.joint import JointLaw

FCFS, SPJF, PSPJF, SPRPT = range(4)
KINDS = {"pollaczek-khinchine": FCFS, "spjf": SPJF, "pspjf": PSPJF, "sprpt": SPRPT}  # by the closed form of the mean
CELLS = {FCFS: (1200, 1), SPJF: (240, 180), PSPJF: (240, 180), SPRPT: (200, 160)}  # of sizes and of predictions
DAMPING, TERMS, AVERAGED = 18.4, 16, 11  # of EULER: an error of e^-18.4, and a sum of which the last are averaged
NEWTON, CLOSE = 60, 1e-13
LARGE = 600.0  # exponent


@kernel
def exchanged(sigma, x, rates):
    """Return int (1 - e^(-sigma x)) over rates `(n,)`, and its derivative."""
    value, slope = 0.0j, 0.0j
    for i in range(len(x)):
        if rates[i] > 0.0:
            gone = np.exp(-sigma * x[i])
            value += rates[i] * (1.0 - gone)
            slope += rates[i] * x[i] * gone
    return value, slope


@kernel
def busy(s, x, below, out):
    """Write sigma(s) of each row `(m,)`: the root of sigma = s + int (1 - e^(-sigma x)) over the rates below it."""
    sigma = s
    for k in range(len(out)):
        for _ in range(NEWTON):
            value, slope = exchanged(sigma, x, below[k])
            step = (s + value - sigma) / (slope - 1.0)
            sigma -= step
            if abs(step) <= CLOSE * abs(sigma):
                break
        out[k] = sigma


@kernel
def spread(z):
    """Return the mean of e^u for u uniform on (-z, z)."""
    return 1.0 + z * z / 6.0 if abs(z) < 1e-3 else (np.exp(z) - np.exp(-z)) / (2.0 * z)


@kernel
def transform(kind, s, x, wide, y, rows, own, below, upto, lam, load):
    """Return E[e^(-s T)].

    Args:
        kind: FCFS, SPJF, PSPJF or SPRPT.
        s: complex.
        x: sizes `(n,)`.
        wide: what each stands for `(n,)`, over which jobs are spread evenly; 0 where it is the size of all of them.
        y: predictions `(m,)`, ascending.
        rows: rates of the jobs of each prediction and size `(m, n)`; they sum to lambda.
        own: share of a row's jobs that fall to its rank after the job has come.
        below: rates of those that overtake a job of each row `(m, n)`.
        upto: rates of those that come first if they are there `(m, n)`.
        lam: arrival rate, 1/s.
        load: of all jobs.
    """
    m, n = rows.shape
    sigma, fallen, gone = np.empty(m, np.complex128), np.empty(m, np.complex128), np.empty(n, np.complex128)
    everybody = np.zeros(n)
    for k in range(m):
        everybody += rows[k]
    busy(s, x, below, sigma)
    last, before, total = 0.0, s, 0.0j
    for k in range(m):  # int of sigma over ranks from 0 to y
        total += (y[k] - last) * 0.5 * (before + sigma[k])
        fallen[k], last, before = total, y[k], sigma[k]
    found = 0.0j
    for k in range(m):
        z = s if kind == FCFS else sigma[k]
        first, _ = exchanged(z, x, everybody if kind == FCFS else upto[k])
        idle, others = 1.0 - load, 0.0j
        if kind == SPJF:
            others, _ = exchanged(z, x, everybody - upto[k])
        elif kind != FCFS:
            idle = 1.0 - (x * upto[k]).sum()
        if kind == SPRPT:
            # e^(-z (x - gap)) is a product of two, which are recurring, unless one of them is too large a number.
            small = z.real * x[n - 1] < LARGE
            for i in range(n):
                gone[i] = np.exp(-z * x[i]) if small else 0.0j
            for j in range(k, m):
                share, gap = own if j == k else 1.0, y[j] - y[k]
                if gap >= x[n - 1]:
                    break
                back = np.exp(z * gap) if small else 0.0j
                for i in range(np.searchsorted(x, gap), n):
                    rate = share * rows[j, i]
                    if rate > 0.0:
                        others += rate * (1.0 - (gone[i] * back if small else np.exp(-z * (x[i] - gap))))
                        idle -= rate * (x[i] - gap)
        work = (idle * z + others) / (z - first)
        for i in range(n):
            if rows[k, i] > 0.0:
                rate = z if kind == PSPJF else s  # of time, at the end of the job
                spent = rate * x[i]
                if kind == SPRPT:
                    spent = fallen[k] + (x[i] - y[k]) * s
                    if x[i] < y[k]:
                        spent = fallen[k] - rank_time(y[k] - x[i], s, y, sigma, fallen)
                        rate = sigma[min(np.searchsorted(y, y[k] - x[i]), m - 1)]
                found += rows[k, i] / lam * work * np.exp(-spent) * spread(0.5 * rate * wide[i])
    return found


@kernel
def rank_time(rank, s, y, sigma, fallen):
    """Return int of sigma over ranks from 0 to a rank."""
    k = np.searchsorted(y, rank)
    if k == 0:
        return rank * (s + 0.5 * rank / y[0] * (sigma[0] - s))
    h, u = y[k] - y[k - 1], rank - y[k - 1]
    return fallen[k - 1] + u * (sigma[k - 1] + 0.5 * u / h * (sigma[k] - sigma[k - 1]))


class _Cells:
    """The law of sizes and predictions in cells, as `transform` takes it."""

    def __init__(self, kind: int, size: Any, predictor: Any, load: float, x_cells: int, y_cells: int):
        joint = JointLaw(size, predictor, x_cells, y_cells)
        self.kind, self.lam, self.x = kind, load / size.mean, joint.x
        if joint.exact:
            self.y, masses = joint.x.copy(), np.diag(joint.p)
        else:
            self.y, masses = np.array([row.y for row in joint.rows]), np.zeros((len(joint.rows), len(joint.x)))
            for mass, row in zip(masses, joint.rows, strict=True):
                mass[np.searchsorted(joint.x, row.x)] = row.p
        middle = 0.5 * (self.x[1:] + self.x[:-1])
        edges = np.concatenate([[1.5 * self.x[0] - 0.5 * middle[0]], middle, [1.5 * self.x[-1] - 0.5 * middle[-1]]])
        self.wide = np.zeros(len(self.x)) if joint.discrete else np.diff(edges)
        self.rows = self.lam * masses
        self.own = 0.5 if joint.continuous else 0.0  # of the jobs of a cell come before one of it
        before = np.cumsum(self.rows, axis=0) - self.rows
        self.below = before + self.own * self.rows
        self.upto = self.below if joint.continuous else before + self.rows
        self.load = float(self.x @ self.rows.sum(axis=0))

    def transform(self, s: complex) -> complex:
        tables = self.x, self.wide, self.y, self.rows, self.own, self.below, self.upto
        return complex(transform(self.kind, complex(s), *tables, self.lam, self.load))


class Tail:
    """The law of the response time of a policy.

    Args:
        policy: one with the closed form of `fcfs`, `spjf`, `pspjf` or `sprpt`, and those that are told the truth.
        size: law of the sizes.
        predictor: prediction model, or None.
        load: lambda E[S], in (0, 1).

    Raises:
        NotApplicable: the transform is not known for the policy.
        Unstable: the load is 1 or more.
    """

    def __init__(self, policy: Any, size: Any, predictor: Any, load: float):
        stable_load(load)
        formula = getattr(policy, "formula", None)  # policies that share the server have none
        if formula not in KINDS:
            known = "fcfs, spjf, pspjf, sprpt, sjf, psjf and srpt"
            raise NotApplicable(f"the tail of policy {policy.name!r} is not known here; it is of {known}")
        kind = KINDS[formula]
        told = None if kind == FCFS or predictor is None else predictor.bind(size)
        if kind != FCFS and (told is None or not told.informative):
            raise NotApplicable(f"policy {policy.name!r} needs predictions")
        self._mean = size.mean
        self._cells = [
            _Cells(kind, size, told, load, x // half, y // half) for half in (2, 1) for x, y in [CELLS[kind]]
        ]

    def transform(self, s: complex) -> complex:
        """Return E[e^(-s T)] for Re s > 0; the error of the cells is of second order in their width."""
        coarse, fine = (cells.transform(s) for cells in self._cells)
        return fine + (fine - coarse) / 3

    def above(self, t: float) -> float:
        """Return P(T > t).

        Args:
            t: s.
        """
        if not t > 0:
            raise BadInput(f"t={t:g} s must be positive")
        nodes = (DAMPING + 2j * np.pi * np.arange(TERMS + AVERAGED + 1)) / (2 * t)
        values = np.array([((1 - self.transform(s)) / s).real for s in nodes])
        values[1:] *= 2 * (-1.0) ** np.arange(1, len(values))
        sums = np.cumsum(values)[-(AVERAGED + 1) :]
        weights = np.array([1.0])
        for _ in range(AVERAGED):
            weights = 0.5 * (np.append(weights, 0.0) + np.append(0.0, weights))
        return float(np.clip(np.exp(DAMPING / 2) / (2 * t) * (weights @ sums), 0.0, 1.0))

    def quantile(self, q: float) -> float:
        """Return the time within which a share q of the jobs is done, s; q in (0, 0.999999]."""
        from scipy.optimize import brentq

        if not 0 < q <= 0.999999:
            raise BadInput(f"q={q:g} must lie in (0, 0.999999]")

        def excess(log_t: float) -> float:
            return float(np.log(max(self.above(np.exp(log_t)), 1e-12) / (1 - q)))

        low = high = np.log(self._mean)
        while excess(low) < 0:
            low -= 1.0
        while excess(high) > 0:
            high += 1.0
        return float(np.exp(brentq(excess, low, high, xtol=1e-6)))
