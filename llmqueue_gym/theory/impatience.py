"""Queues whose jobs give up: Erlang-A exactly, and the fluid limit of overloaded M/GI/s+GI queues with predictions.

The fluid limit: s servers and lambda = load s / E[S] arrivals grow together. Assumptions: a job gives up when its wait
exceeds its patience, and never in service; patience is finite, and independent of size and prediction; policies are not
preemptive and leave no server idle while a job waits. Then a class of jobs that gets all it asks for does not wait, one
that gets nothing gives up, and one that is served in part by FCFS is served whatever its sizes.

Sources: Palm 1957 and Garnett, Mandelbaum, Reiman 2002 (Erlang-A); Whitt, "Fluid Models for Multiserver Queues with
Abandonments", Operations Research 54, 2006; Dong and Ibrahim, "Shortest-Job-First Scheduling in Many-Server Queues with
Impatient Customers and Noisy Service-Time Estimates", Operations Research 2024.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.erlang import server_count
from llmqueue_gym.theory.joint import JointLaw


@dataclass(frozen=True)
class ErlangA:
    """The M/M/s+M in steady state.

    Attributes:
        delay_probability: P(an arrival finds all servers busy).
        abandoned: share of the jobs that give up.
        mean_waiting: E[jobs in queue].
        mean_wait: E[time in queue], s, of all jobs, served or not.
        throughput: completions, 1/s.
        busy: share of the servers' time that is used.
    """

    delay_probability: float
    abandoned: float
    mean_waiting: float
    mean_wait: float
    throughput: float
    busy: float


def erlang_a(servers: int, load: float, mean: float = 1.0, patience: float = 1.0) -> ErlangA:
    """Return the exact M/M/s+M: exponential sizes and patience, FCFS; stable at every load.

    Args:
        servers: s.
        load: lambda E[S] / s, any positive number.
        mean: E[S], s.
        patience: mean patience, s.

    Raises:
        BadInput: a number is out of range, or queues would be longer than ten million jobs.
    """
    s = server_count(servers)
    for name, value in (("load", load), ("mean", mean), ("patience", patience)):
        if not 0 < value < np.inf:
            raise BadInput(f"{name}={value!r} must be a positive number")
    lam, mu, theta = load * s / mean, 1 / mean, 1 / patience
    # Beyond the length where arrivals and exits balance the shares fall at least like those of a Poisson law.
    middle = max(0.0, (lam - s * mu) / theta)
    longest = middle + 12 * np.sqrt(lam / theta) + 100
    if load < 1:
        longest = min(longest, 100 - 40 / np.log(load))
    if longest > 1e7:
        raise BadInput(f"patience={patience:g} makes queues of about {longest:.0e} jobs; use a shorter one")
    n = np.arange(1, s + int(longest) + 1)
    exits = np.minimum(n, s) * mu + np.maximum(n - s, 0) * theta
    logs = np.concatenate([[0.0], np.cumsum(np.log(lam / exits))])
    p = np.exp(logs - logs.max())
    p /= p.sum()
    queue = np.maximum(np.arange(len(p)) - s, 0)
    waiting = float(p @ queue)
    throughput = float(mu * (p @ np.minimum(np.arange(len(p)), s)))
    return ErlangA(float(p[s:].sum()), theta * waiting / lam, waiting, waiting / lam, throughput, throughput / (s * mu))


@dataclass(frozen=True)
class Fluid:
    """What a policy serves in the fluid limit.

    Attributes:
        served: share of the jobs that complete.
        throughput: completions per server and per mean size: served * load; FCFS has 1 in overload.
        threshold: prediction below which jobs are preferred, s; nan where the policy has none.
    """

    served: float
    throughput: float
    threshold: float = float("nan")


def fluid_fcfs(load: float) -> Fluid:
    """Return what FCFS serves: 1 / load of the jobs in overload, whatever the laws of size and patience."""
    _check(load)
    return Fluid(min(1.0, 1 / load), min(load, 1.0))


def fluid_fcfs_wait(load: float, patience: Any) -> float:
    """Return the wait of the jobs that FCFS serves in the fluid limit, s: P(patience > w) = 1 / load.

    At a load of 1 or less nobody waits.
    """
    _check(load)
    return float(patience.isf(1 / load)) if load > 1 else 0.0


class NoisyOverload:
    """An overloaded M/GI/s+GI with predictions, in the fluid limit.

    Args:
        size: law of S, s.
        predictor: prediction model; it is bound to the size law here.
        load: lambda E[S] / s, positive; at 1 or less all jobs are served by every policy.

    Raises:
        NotApplicable: no informative predictor.
    """

    def __init__(self, size: Any, predictor: Any, load: float):
        _check(load)
        if predictor is None or not predictor.informative:
            raise NotApplicable("without predictions there is nothing to order by; use fluid_fcfs")
        self.load, self.mean = load, size.mean
        self.budget = size.mean / load  # E[S] per arrival that can be served
        bound = predictor.bind(size)
        self._joint = JointLaw(size, bound)
        atoms = None if self._joint.exact else bound.atoms()
        self._levels = self._joint.levels if atoms is None else np.asarray(atoms, float)

    def noisy_sjf(self) -> Fluid:
        """Return non-preemptive least prediction first: all jobs up to the y* with lambda E[S; Y <= y*] = s.

        Source: Dong and Ibrahim 2024: it maximises the throughput among non-preemptive rules with this information.
        That needs larger predictions to mean larger sizes on average; `best` does without.
        """
        if self.load <= 1:
            return Fluid(1.0, self.load, float("inf"))
        low, high = self._edge()
        (p_low, p_high), (work_low, work_high) = self._below(np.array([low, high]))
        part = np.clip((self.budget - work_low) / (work_high - work_low), 0.0, 1.0) if work_high > work_low else 0.0
        served = float(p_low + part * (p_high - p_low))
        return Fluid(served, served * self.load, high)

    def best(self) -> Fluid:
        """Return the largest throughput of any non-preemptive rule that knows predictions: least E[S | Y] first.

        A rule is a share served of each prediction; the work served is limited, so this is a fractional knapsack. Right
        to about 1e-3, as predictions are cut into cells.
        """
        p = np.array([row.p.sum() for row in self._joint.rows])
        work = np.array([row.p @ row.x for row in self._joint.rows])
        order = np.argsort(work / p, kind="stable")
        used, share = (np.append(0.0, np.cumsum(a[order])) for a in (work / work.sum() * self.mean, p / p.sum()))
        served = float(min(1.0, np.interp(self.budget, used, share)))
        return Fluid(served, served * self.load)

    def two_class(self, threshold: float) -> Fluid:
        """Return the two-class rule: jobs predicted at most the threshold first, the others if none of them waits.

        Args:
            threshold: s. FCFS within each class.
        """
        served = float(self._served(np.array([threshold], float))[0])
        return Fluid(served, served * self.load, float(threshold))

    def best_two_class(self) -> Fluid:
        """Return the two-class rule with the threshold that serves most."""
        y = self._levels if self.load <= 1 else np.append(self._levels, self._edge())
        return self.two_class(float(y[np.argmax(self._served(y))]))

    def _below(self, y: np.ndarray) -> np.ndarray:
        """Return P(Y <= y) and E[S; Y <= y] `(2, m)`."""
        return self._joint.parted((0, 1), y)[0]

    def _served(self, y: np.ndarray) -> np.ndarray:
        """Return the share of the jobs that is served if those predicted at most y are preferred `(m,)`."""
        p, work = np.maximum(self._below(y), 0.0)
        rest = np.maximum(self.mean - work, 0.0)
        left = np.maximum(self.budget - work, 0.0)
        short = np.minimum(1.0, np.divide(self.budget, work, out=np.ones_like(work), where=work > 0))
        long = np.minimum(1.0, np.divide(left, rest, out=np.ones_like(work), where=rest > 1e-12 * self.mean))
        return p * short + (1 - p) * long

    def _edge(self) -> tuple[float, float]:
        """Return predictions next to each other whose E[S; Y <= y] are below the budget, and at least it."""
        low, high = 0.0, float(self._levels[-1])
        for _ in range(80):
            middle = 0.5 * (low + high)
            if self._below(np.array([middle]))[1, 0] < self.budget:
                low = middle
            else:
                high = middle
        return low, high


def _check(load: float) -> None:
    if not 0 < load < np.inf:
        raise BadInput(f"load={load!r} must be a positive number; above 1 is overload")
