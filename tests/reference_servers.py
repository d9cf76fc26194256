"""Slow, obvious simulators of servers: one queue, or one each. Plain Python, no heaps, no tricks."""

import math
from types import SimpleNamespace

import numpy as np

from llmqueue_gym.jobs import outcome_table

COLUMNS = ("arrival", "predicted", "weight", "klass", "deadline", "need")


class Order:
    """Who is served before whom: least rank, then the earlier arrival, or the later where the rank is at most a bound.

    Attributes:
        jobs: what a rank function sees of each job, as plain objects; the age is kept up to date by the simulator.
    """

    def __init__(self, jobs, policy, params=None):
        rows = zip(*(jobs[name].tolist() for name in COLUMNS), strict=True)
        self.jobs = [SimpleNamespace(age=0.0, **dict(zip(COLUMNS, row, strict=True))) for row in rows]
        self.rank, self.params = policy.rank, policy.params if params is None else params
        self.lcfs_up_to = policy.lcfs_up_to

    def __call__(self, i):
        value = self.rank(self.jobs[i], self.params)
        return value, -i if value <= self.lcfs_up_to else i


def same_outcome(found, expected, exactly=True, label=""):
    """Assert that two outcome tables agree, to the last bit or but for rounding."""
    for name in ("start", "completion"):
        if exactly:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=label)
        else:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-6, err_msg=label)
    np.testing.assert_array_equal(found["preemptions"], expected["preemptions"], err_msg=label)


def central_schedule(drawn, policy, speeds=(1.0,)):
    """Play one queue for all servers, for ranks that are constant or falling in age.

    At every arrival and completion: what is done leaves; what arrives waits; who has waited longer than its patience
    and never ran leaves for good; free servers, the fastest first, take the first of those who wait; and, if
    preemptive, as long as the first of those who wait is before the last of those who run, the two change places.

    Returns:
        start and completion of each job, NaN where there is none, and how often it was preempted.
    """
    n, order, found = len(drawn.sizes), Order(drawn.work, policy), outcome_table(len(drawn.sizes))
    arrivals, sizes = drawn.work["arrival"].tolist(), drawn.sizes.tolist()
    patience = drawn.truth.get("patience", [math.inf] * n)
    start, done = found["start"], found["completion"]
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
        while policy.preemptive and waiting:
            s = max(range(len(on)), key=lambda s: (on[s] is not None, order(on[s]) if on[s] is not None else ()))
            if None in on or order(on[s]) < order(min(waiting, key=order)):
                break
            out = on[s]
            found["preemptions"][out] += 1
            begin(s, min(waiting, key=order), clock)
            waiting.append(out)
    return found


def stepwise_schedule(drawn, policy, step, after=0.0):
    """Play one server preemptively, for ranks that change at ages which are whole multiples of `step` alone.

    What counts is the rank from there on: that `after` later.

    Returns:
        completion times, one per job.
    """
    n, order = len(drawn.sizes), Order(drawn.work, policy)
    arrivals, sizes, jobs = drawn.work["arrival"].tolist(), drawn.sizes.tolist(), order.jobs
    age, done, clock = [0.0] * n, [None] * n, 0.0

    def first(i):
        jobs[i].age = age[i] + after * (age[i] > 0)
        return order(i)

    while None in done:
        present = [i for i in range(n) if done[i] is None and arrivals[i] <= clock]
        coming = [t for t in arrivals if t > clock]
        if not present:
            clock = min(coming)
            continue
        i = min(present, key=first)
        ahead = min(sizes[i], (age[i] // step + 1) * step) - age[i]
        ahead = min([ahead] + [t - clock for t in coming[:1]])
        clock, age[i] = clock + ahead, age[i] + ahead
        if age[i] == sizes[i]:
            done[i] = clock
    return done


def las_schedule(drawn):
    """Play least attained service on one server exactly: the youngest jobs share it equally.

    Returns:
        completion times, one per job.
    """
    arrivals, sizes = drawn.work["arrival"].tolist(), drawn.sizes.tolist()
    n = len(sizes)
    age, done = [0.0] * n, [None] * n
    clock = 0.0
    while any(d is None for d in done):
        present = [i for i in range(n) if done[i] is None and arrivals[i] <= clock]
        coming = [t for t in arrivals if t > clock]
        if not present:
            clock = min(coming)
            continue
        least = min(age[i] for i in present)
        sharing = [i for i in present if age[i] == least]
        older = [age[i] for i in present if age[i] > least]
        level = min([sizes[i] for i in sharing] + older)  # at which age one finishes, or the next older job joins in
        until = clock + (level - least) * len(sharing)
        if coming and min(coming) < until:
            level = least + (min(coming) - clock) / len(sharing)
            until = min(coming)
        for i in sharing:
            age[i] = level
            if level >= sizes[i]:  # equal but for rounding
                done[i] = until
        clock = until
    return done


def dispatch_schedule(drawn, sender, numbers, policy, speeds):
    """Play a queue for each server, for ranks that are constant or falling in age.

    Jobs come one after another, in the order of their rows even at equal times. What is due by then is done in every
    queue; the job joins the queue of least score among those it looks at, the first of them where they are equal; where
    it looks at none in particular it sees all, and `ties` chooses among equals.

    Args:
        drawn: jobs, with "choices" and "ties" in their truth.
        sender: dispatch policy.
        numbers: its parameters.
        policy: order in the queues.
        speeds: of the servers, the fastest first.

    Returns:
        the server of each job, and its start, completion and preemptions.
    """
    order, found = Order(drawn.work, policy), outcome_table(len(drawn.sizes))
    jobs, sizes, choices, ties = order.jobs, drawn.sizes.tolist(), drawn.truth["choices"], drawn.truth["ties"]
    start, done, sent = found["start"], found["completion"], []
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
        kind = jobs[i].predicted <= sender.split
        return SimpleNamespace(
            jobs=len(present),
            work=sum(jobs[k].predicted for k in present),
            left=sum(max(jobs[k].predicted - jobs[k].age, 0.0) for k in present),
            alike=sum((jobs[k].predicted <= sender.split) == kind for k in queue.waiting),
            speed=queue.speed,
            index=index,
        )

    for i, job in enumerate(jobs):
        for queue in queues:
            bring(queue, job.arrival)
        looked = choices[i].tolist() or list(range(len(queues)))
        scores = [sender.score(job, seen(queues[s], s, i), numbers) for s in looked]
        best = [s for s, value in zip(looked, scores, strict=True) if value == min(scores)]
        sent.append(best[0] if len(choices[i]) else best[int(ties[i] * len(best))])
        queue = queues[sent[i]]
        queue.waiting.append(i)
        last = queue.running
        if last is None:
            begin(queue, i)
        elif policy.preemptive and order(i) < order(last):
            found["preemptions"][last] += 1
            begin(queue, i)
            queue.waiting.append(last)
    for queue in queues:
        bring(queue, math.inf)
    return sent, found
