"""Erlang's formulas and the M/M/k queue: k equal servers, Poisson arrivals, exponential sizes, FCFS.

Load is offered in Erlangs, lambda E[S]; the load of a server is that over k.

Sources: Erlang 1917; Cooper, "Introduction to Queueing Theory", 1981, chapter 3; Harchol-Balter, "Performance
Modeling", 2013, chapter 14.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.optimize import brentq

from llmqueue_gym.errors import BadInput, Unstable

MAX_SERVERS = 1_000_000


def erlang_b(servers: int, offered: float) -> float:
    """Return the probability that an arrival finds all servers busy where nobody waits (M/G/k/k, any size law).

    Any number of Erlangs can be offered, and there may be no server.
    """
    count = server_count(servers, least=0)
    if not 0 <= offered < np.inf:
        raise BadInput(f"offered={offered!r} must be a finite number of Erlangs, 0 or more")
    blocked = 1.0
    for k in range(1, count + 1):  # each step shrinks the relative error of the one before
        blocked = offered * blocked / (k + offered * blocked)
    return float(blocked)


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that an arrival waits in the M/M/k."""
    count = server_count(servers)
    if offered >= count:
        raise Unstable(f"offered={offered:g} Erlangs need more than {count} servers: take at least {int(offered) + 1}")
    blocked = erlang_b(count, offered)
    return count * blocked / (count - offered * (1 - blocked))


def servers_for(offered: float, delayed: float) -> int:
    """Return the least k for which at most a share `delayed` of the arrivals waits in the M/M/k."""
    if not 0 < delayed < 1:
        raise BadInput(f"delayed={delayed!r} must lie between 0 and 1, for example 0.1")
    if not 0 <= offered < MAX_SERVERS / 2:
        raise BadInput(f"offered={offered!r} must be a number of Erlangs from 0 to {MAX_SERVERS // 2}")
    blocked, k = 1.0, 0
    while True:
        k += 1
        blocked = offered * blocked / (k + offered * blocked)
        if k > offered and k * blocked <= delayed * (k - offered * (1 - blocked)):
            return k


@dataclass(frozen=True)
class MMk:
    """The M/M/k under FCFS, exactly.

    Attributes:
        servers: k.
        load: lambda E[S] / k, in (0, 1).
        mean: E[S], s, the same on every server.
    """

    servers: int
    load: float
    mean: float = 1.0

    def __post_init__(self) -> None:
        server_count(self.servers)
        stable_load(self.load)
        if not 0 < self.mean < np.inf:
            raise BadInput(f"mean={self.mean!r} must be a positive number of seconds")

    @property
    def rate(self) -> float:
        """Arrivals lambda, 1/s."""
        return self.load * self.servers / self.mean

    @property
    def delay_probability(self) -> float:
        """P(wait > 0)."""
        return erlang_c(self.servers, self.load * self.servers)

    @property
    def mean_wait(self) -> float:
        """E[W], s, until service begins."""
        return self.delay_probability / self._drain

    @property
    def mean_response_time(self) -> float:
        """E[T] = E[W] + E[S], s."""
        return self.mean_wait + self.mean

    @property
    def mean_jobs(self) -> float:
        """E[N], jobs waiting or served."""
        return self.rate * self.mean_response_time

    @property
    def _drain(self) -> float:
        """k mu - lambda, 1/s: who waits at all waits an exponential time of this rate."""
        return self.servers * (1 - self.load) / self.mean

    def wait_tail(self, t: float) -> float:
        """Return P(W > t), t >= 0 in s."""
        return self.delay_probability * float(np.exp(-self._drain * t))

    def response_tail(self, t: float) -> float:
        """Return P(T > t), t >= 0 in s: the wait is zero or exponential, and independent of the size."""
        waits, drain, mu = self.delay_probability, self._drain, 1 / self.mean
        if abs(drain - mu) < 1e-9 * mu:  # two equal exponential phases
            return float(np.exp(-mu * t) * (1 + waits * mu * t))
        # P(Exp(drain) + Exp(mu) > t) = e^{-mu t} + mu e^{-mu t} (1 - e^{-(drain - mu) t}) / (drain - mu)
        longer = -mu * np.exp(-mu * t) * np.expm1(-(drain - mu) * t) / (drain - mu)
        return float(np.exp(-mu * t) + waits * longer)

    def wait_quantile(self, q: float) -> float:
        """Return the least t with P(W <= t) >= q, s; q in [0, 1)."""
        waits = self.delay_probability
        return max(0.0, float(np.log(waits / (1 - _level(q)))) / self._drain) if waits > 0 else 0.0

    def response_quantile(self, q: float) -> float:
        """Return the t with P(T <= t) = q, s; q in [0, 1)."""
        tail = 1 - _level(q)
        if tail == 1:
            return 0.0
        high = self.mean
        while self.response_tail(high) > tail:
            high *= 2
        return float(brentq(lambda t: self.response_tail(t) - tail, 0.0, high, xtol=1e-12 * high))


def stable_load(load: float) -> float:
    """Return a load per server that is in (0, 1)."""
    if not isinstance(load, Real) or not load > 0:
        raise BadInput(f"load={load!r} must be positive and below 1, for example 0.8")
    if load >= 1:
        raise Unstable(f"load={load:g} is unstable: there is no mean response time at load 1 or more; try 0.95")
    return load


def server_count(servers: int, least: int = 1) -> int:
    """Return a number of servers as an int.

    Raises:
        BadInput: it is no whole number, below `least`, or too large to be meant.
    """
    if not (np.isfinite(servers) and int(servers) == servers and least <= servers <= MAX_SERVERS):
        raise BadInput(f"servers={servers!r} must be a whole number from {least} to {MAX_SERVERS}")
    return int(servers)


def _level(q: float) -> float:
    if not 0 <= q < 1:
        raise BadInput(f"quantile q={q!r} must be at least 0 and below 1, for example 0.99")
    return q
