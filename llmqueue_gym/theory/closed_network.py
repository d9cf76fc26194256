"""A fixed number of users, each of whom thinks and then waits for a server: the machine repairman.

Calls take exponential times on one of k equal servers under FCFS; what a think time is besides its mean does not
matter. A chain of calls with gaps that begins anew when it ends is such a user.

Sources: Palm 1947; Cooper, "Introduction to Queueing Theory", 1981, chapter 3; for any think times, Baskett, Chandy,
Muntz, Palacios, "Open, Closed, and Mixed Networks of Queues", JACM 1975.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.erlang import server_count


@dataclass(frozen=True)
class ClosedNetwork:
    """Users who think and are served.

    Attributes:
        users: N.
        think: mean time from the end of a call to the next, Z, s.
        mean: of a call, s.
        servers: k.
    """

    users: int
    think: float
    mean: float = 1.0
    servers: int = 1

    def __post_init__(self) -> None:
        server_count(self.servers)
        if self.users < 1 or self.users != int(self.users):
            raise BadInput(f"users={self.users} must be a whole number, 1 or more")
        if not 0 < self.think < np.inf:
            raise BadInput(f"think={self.think!r} must be a positive number of seconds")
        if not 0 < self.mean < np.inf:
            raise BadInput(f"mean={self.mean!r} must be a positive number of seconds")

    @cached_property
    def chances(self) -> np.ndarray:
        """The probability that so many users wait or are served `(N + 1,)`."""
        there = np.arange(int(self.users))
        up = (self.users - there) / self.think
        down = np.minimum(there + 1, self.servers) / self.mean
        logs = np.concatenate([[0.0], np.cumsum(np.log(up) - np.log(down))])
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    @property
    def throughput(self) -> float:
        """Calls per s, X."""
        busy = np.minimum(np.arange(self.users + 1), self.servers)
        return float(self.chances @ busy) / self.mean

    @property
    def mean_response_time(self) -> float:
        """From when a call comes until it ends, s: N / X - Z, by Little's law, computed without the difference."""
        return float(self.chances @ np.arange(self.users + 1)) / self.throughput

    @property
    def utilisation(self) -> float:
        """Share of time that a server is busy."""
        return self.throughput * self.mean / self.servers

    @property
    def saturation(self) -> float:
        """N*, the number of users at which they begin to be in each other's way: k (Z + S) / S."""
        return self.servers * (self.think + self.mean) / self.mean
