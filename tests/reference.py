"""Slow, obvious simulators of one server, to hold the compiled engines against. Plain Python, no heaps, no tricks."""

import math
from types import SimpleNamespace


def rank_schedule(arrivals, sizes, predicted, rank, params=(), preemptive=True, lcfs_up_to=-math.inf):
    """Play a rank that is constant or falling in age.

    Whenever something arrives (if preemptive) or finishes, every job in system is ranked anew and the least rank is
    served; ties go to the earlier arrival, or to the later one where the rank is at most `lcfs_up_to`.

    Returns:
        completion times, one per job.
    """
    n = len(arrivals)
    age, done = [0.0] * n, [None] * n
    clock, running = 0.0, None

    def order(i):
        job = SimpleNamespace(arrival=arrivals[i], predicted=predicted[i], age=age[i], weight=1.0, klass=0)
        value = rank(job, params)
        return value, -i if value <= lcfs_up_to else i

    while any(d is None for d in done):
        present = [i for i in range(n) if done[i] is None and arrivals[i] <= clock]
        coming = [t for t in arrivals if t > clock]
        if not present:
            clock = min(coming)
            continue
        if preemptive or running is None:
            running = min(present, key=order)
        finish = clock + sizes[running] - age[running]
        if preemptive and coming and min(coming) < finish:
            age[running] += min(coming) - clock
            clock = min(coming)
        else:
            age[running] = sizes[running]
            clock = done[running] = finish
            running = None
    return done


def las_schedule(arrivals, sizes):
    """Play least attained service exactly: the youngest jobs share the server equally.

    Returns:
        completion times, one per job.
    """
    n = len(arrivals)
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
