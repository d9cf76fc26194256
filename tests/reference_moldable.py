"""Plays a policy of moldable jobs; all offers are listed and sorted anew at every turn. Plain Python, for tests."""

from types import SimpleNamespace

import numpy as np


class Slow:
    """One run.

    Attributes:
        start: of each job, s.
        completion: likewise.
        given: servers of each job.
    """

    def __init__(self, drawn, servers, discipline):
        n = len(drawn.work)
        self.arrivals, self.servers, self.discipline = drawn.work["arrival"].tolist(), servers, discipline
        times, self.predicted = (drawn.truth[name].tolist() for name in ("times", "predicted"))
        self.start, self.completion, self.given, self.clock = [None] * n, [np.inf] * n, [0] * n, -1.0
        while (clock := min(t for t in [*self.arrivals, *self.completion, np.inf] if t > self.clock)) < np.inf:
            self.clock = clock
            while (choice := self._choose()) is not None:
                job, j = choice
                self.start[job], self.given[job], self.completion[job] = clock, j, clock + times[job][j - 1]

    def _choose(self):
        """Return a job and a number of servers, or None where nothing starts now."""
        waiting = [i for i, t in enumerate(self.arrivals) if t <= self.clock and self.start[i] is None]
        running = [i for i, t in enumerate(self.start) if t is not None and self.completion[i] > self.clock]
        free = self.servers - sum(self.given[i] for i in running)
        if free == 0 or not waiting:
            return None
        due = {i: max(0.0, self.start[i] + self.predicted[i][self.given[i] - 1] - self.clock) for i in running}

        def wait(j):
            """Return the least time by which, as predicted, j servers are free."""
            return min(t for t in (0.0, *due.values()) if free + sum(self.given[i] for i in due if due[i] <= t) >= j)

        offers = []
        for i in waiting[: self.discipline.window or None]:
            job = SimpleNamespace(arrival=self.arrivals[i], predicted=self.predicted[i][0], weight=1.0, klass=0)
            for j in range(1, self.servers + 1):
                offer = SimpleNamespace(servers=j, time=self.predicted[i][j - 1], wait=wait(j), clock=self.clock)
                offer.free, offer.total, offer.waiting, offer.running = free, self.servers, len(waiting), len(running)
                offers.append((self.discipline.score(job, offer, self.discipline.params), i, -j))
        score, i, minus_j = min(offers)
        return (i, -minus_j) if score < np.inf and -minus_j <= free else None
