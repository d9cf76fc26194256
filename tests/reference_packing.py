"""A slow, obvious simulator of jobs that need several servers, to hold the compiled engine against. Plain Python."""

import itertools
from types import SimpleNamespace

from llmqueue_gym.jobs import outcome_table


def packing_schedule(drawn, policy, servers):
    """Return start, completion and preemptions of each job."""
    played, found = _Reference(drawn, policy, servers), outcome_table(len(drawn.sizes))
    for name in found.dtype.names:
        found[name] = getattr(played, name)
    return found


class _Reference:
    """Plays a packing policy; everything is looked up anew at every event."""

    def __init__(self, drawn, policy, servers):
        self.sizes, self.servers, self.policy = drawn.sizes.tolist(), servers, policy
        self.arrivals, self.predicted, self.needs = (drawn.work[c].tolist() for c in ("arrival", "predicted", "need"))
        n = len(self.sizes)
        self.age, self.start, self.completion, self.preemptions = [0.0] * n, [None] * n, [None] * n, [0] * n
        self.clock, self.running, self.phase = 0.0, [], "light"
        while None in self.completion:
            self._advance()

    def _advance(self):
        ends = [self.clock + self.sizes[i] - self.age[i] for i in self.running]
        coming = [t for t in self.arrivals if t > self.clock]
        # At the very beginning, or where all is done and nothing runs, time goes on to the next arrival.
        fresh = [i for i in self._present() if self.clock == self.arrivals[i]] if self.clock == 0 else []
        until = self.clock if fresh and not self.running else min(ends + coming[:1])
        for i in self.running:
            self.age[i] += until - self.clock
        self.clock = until
        for i in list(self.running):
            if self.age[i] == self.sizes[i]:
                self.completion[i] = self.clock
                self.running.remove(i)
        self._pack()

    def _present(self):
        return [i for i in range(len(self.arrivals)) if self.arrivals[i] <= self.clock and self.completion[i] is None]

    def _order(self, i):
        columns = {"arrival": self.arrivals[i], "predicted": self.predicted[i], "need": self.needs[i]}
        job = SimpleNamespace(age=self.age[i], weight=1.0, klass=0, **columns)
        return self.policy.rank(job, self.policy.params), i

    def _pack(self):
        line = sorted(self._present(), key=self._order)
        if not self.policy.preemptive:
            line = [i for i in line if i not in self.running]
        named = getattr(self, self.policy.packing.replace("-", "_"))(line)
        before = self.running
        self.running = named if self.policy.preemptive else before + named
        assert sum(self.needs[i] for i in self.running) <= self.servers
        for i in before:
            self.preemptions[i] += i not in self.running
        for i in self.running:
            self.start[i] = self.clock if self.start[i] is None else self.start[i]

    def _free(self):
        taken = 0 if self.policy.preemptive else sum(self.needs[i] for i in self.running)
        return self.servers - taken

    def prefix(self, line):
        lengths = [m for m in range(len(line) + 1) if sum(self.needs[i] for i in line[:m]) <= self._free()]
        return line[: max(lengths)]

    def skip(self, line):
        named = []
        for i in line:
            if sum(self.needs[j] for j in named) + self.needs[i] <= self._free():
                named.append(i)
        return named

    def filling(self, line):
        enough = [m for m in range(len(line) + 1) if sum(self.needs[i] for i in line[:m]) >= self.servers]
        first = line[: min(enough)] if enough else line
        return self.skip(sorted(first, key=lambda i: -self.needs[i]))

    def max_weight(self, line):
        kinds = sorted({self.needs[i] for i in line}, reverse=True)
        queues = [[i for i in line if self.needs[i] == need] for need in kinds]
        packings = itertools.product(*(range(len(queue) + 1) for queue in queues))
        fitting = [p for p in packings if sum(x * need for x, need in zip(p, kinds, strict=True)) <= self.servers]
        best = max(fitting, key=lambda p: (sum(x * len(queue) for x, queue in zip(p, queues, strict=True)), p))
        return [i for x, queue in zip(best, queues, strict=True) for i in queue[:x]]

    def backfill(self, line):
        named = self.prefix(line)
        if len(named) == len(line):
            return named
        first, *rest = line[len(named) :]

        def free_at(time, others):
            jobs = self.running + others
            return self.servers - sum(self.needs[i] for i in jobs if max(self._due(i), self.clock) > time)

        times = sorted(max(self._due(i), self.clock) for i in self.running + named)
        reserved = next(t for t in times if free_at(t, named) >= self.needs[first])
        for i in rest:
            fits = sum(self.needs[j] for j in [*named, i]) <= self._free()
            if fits and free_at(reserved, [*named, i]) >= self.needs[first]:
                named.append(i)
        return named

    def _due(self, i):
        """Return when a job ends, as predicted, if it is in service or starts now."""
        planned, q = self.predicted[i], self.policy.quantum
        if q and planned > 0:
            power = 1.0
            while power < planned:
                power *= q
            while power / q >= planned:
                power /= q
            planned = power
        return (self.start[i] if self.start[i] is not None else self.clock) + planned

    def quickswap(self, line):
        light = [i for i in self._present() if self.needs[i] != self.servers]
        heavy = [i for i in self._present() if self.needs[i] == self.servers]
        if self.phase == "heavy" and not heavy:
            self.phase = "light"
        if self.phase == "light" and heavy and len(light) <= self.policy.threshold:
            self.phase = "draining"
        if self.phase == "draining" and not self.running:
            self.phase = "heavy"
        if self.phase == "draining":
            return []
        return self.skip([i for i in line if i in (light if self.phase == "light" else heavy)])
