"""Slow, obvious simulators of several servers: one queue, or one each. Plain Python, no heaps, no tricks."""

import math
from types import SimpleNamespace


class Order:
    """Who is served before whom: least rank, then the earlier arrival, or the later where the rank is at most a bound.

    Attributes:
        jobs: what a rank function sees of each job, as plain objects; the age is kept up to date by the simulator.
    """

    def __init__(self, arrivals, predicted, deadlines, rank, params, lcfs_up_to):
        self.jobs = [
            SimpleNamespace(arrival=a, predicted=p, deadline=d, age=0.0, weight=1.0, klass=0, need=1)
            for a, p, d in zip(arrivals, predicted, deadlines, strict=True)
        ]
        self.rank, self.params, self.lcfs_up_to = rank, params, lcfs_up_to

    def __call__(self, i):
        value = self.rank(self.jobs[i], self.params)
        return value, -i if value <= self.lcfs_up_to else i


def central_schedule(
    arrivals, sizes, predicted, deadlines, patience, speeds, rank, params, preemptive, lcfs_up_to=-math.inf
):
    """Play one queue for all servers, for ranks that are constant or falling in age.

    At every arrival and completion: what is done leaves; what arrives waits; who has waited longer than its patience
    and never ran leaves for good; free servers, the fastest first, take the first of those who wait; and, if
    preemptive, as long as the first of those who wait is before the last of those who run, the two change places.

    Returns:
        start and completion of each job, NaN where there is none, and how often it was preempted.
    """
    n, order = len(arrivals), Order(arrivals, predicted, deadlines, rank, params, lcfs_up_to)
    start, done, preempted = [math.nan] * n, [math.nan] * n, [0] * n
    speeds = sorted(speeds, reverse=True)
    on, since = [None] * len(speeds), [0.0] * len(speeds)
    coming, waiting = list(range(n)), []

    def end(s):
        return since[s] + (sizes[on[s]] - order.jobs[on[s]].age) / speeds[s]

    def begin(s, i, clock):
        waiting.remove(i)
        on[s], since[s] = i, clock
        if math.isnan(start[i]):
            start[i] = clock

    while coming or any(i is not None for i in on):
        busy = [s for s in range(len(on)) if on[s] is not None]
        clock = min([end(s) for s in busy] + [arrivals[i] for i in coming])
        for s in busy:
            if end(s) == clock:
                done[on[s]], on[s] = clock, None
            else:
                order.jobs[on[s]].age += (clock - since[s]) * speeds[s]
                since[s] = clock
        waiting += [i for i in coming if arrivals[i] == clock]
        coming = [i for i in coming if arrivals[i] > clock]
        waiting = [i for i in waiting if not math.isnan(start[i]) or arrivals[i] + patience[i] >= clock]
        for s in range(len(on)):
            if on[s] is None and waiting:
                begin(s, min(waiting, key=order), clock)
        while preemptive and waiting:
            s = max(range(len(on)), key=lambda s: (on[s] is not None, order(on[s]) if on[s] is not None else ()))
            if None in on or order(on[s]) < order(min(waiting, key=order)):
                break
            out = on[s]
            preempted[out] += 1
            begin(s, min(waiting, key=order), clock)
            waiting.append(out)
    return start, done, preempted


def dispatch_schedule(
    arrivals, sizes, predicted, speeds, choices, ties, score, numbers, split, rank, params, preemptive, lcfs_up_to
):
    """Play a queue for each server, for ranks that are constant or falling in age.

    Jobs come one after another, in the order of their rows even at equal times. What is due by then is done in every
    queue; the job joins the queue of least score among those it looks at, the first of them where they are equal; where
    it looks at none in particular it sees all, and `ties` chooses among equals.

    Returns:
        server, start and completion of each job, and how often it was preempted.
    """
    n, order = len(arrivals), Order(arrivals, predicted, [math.inf] * len(arrivals), rank, params, lcfs_up_to)
    jobs = order.jobs
    sent, start, done, preempted = [None] * n, [math.nan] * n, [math.nan] * n, [0] * n
    queues = [SimpleNamespace(speed=v, waiting=[], running=None, clock=0.0) for v in speeds]

    def begin(queue, i):
        queue.waiting.remove(i)
        queue.running = i
        if math.isnan(start[i]):
            start[i] = queue.clock

    def bring(queue, until):
        while queue.running is not None:
            i = queue.running
            end = queue.clock + (sizes[i] - jobs[i].age) / queue.speed
            if end > until:
                jobs[i].age += (until - queue.clock) * queue.speed
                break
            queue.clock, done[i], queue.running = end, end, None
            if queue.waiting:
                begin(queue, min(queue.waiting, key=order))
        queue.clock = until

    def seen(queue, index, i):
        present = queue.waiting + [queue.running] * (queue.running is not None)
        kind = jobs[i].predicted <= split
        return SimpleNamespace(
            jobs=len(present),
            work=sum(jobs[k].predicted for k in present),
            left=sum(max(jobs[k].predicted - jobs[k].age, 0.0) for k in present),
            alike=sum((jobs[k].predicted <= split) == kind for k in queue.waiting),
            speed=queue.speed,
            index=index,
        )

    for i in range(n):
        for queue in queues:
            bring(queue, arrivals[i])
        looked = list(choices[i]) or list(range(len(queues)))
        scores = [score(jobs[i], seen(queues[s], s, i), numbers) for s in looked]
        best = [s for s, value in zip(looked, scores, strict=True) if value == min(scores)]
        sent[i] = best[0] if len(choices[i]) else best[int(ties[i] * len(best))]
        queue = queues[sent[i]]
        queue.waiting.append(i)
        last = queue.running
        if last is None:
            begin(queue, i)
        elif preemptive and order(i) < order(last):
            preempted[last] += 1
            begin(queue, i)
            queue.waiting.append(last)
    for queue in queues:
        bring(queue, math.inf)
    return sent, start, done, preempted
