"""A slow, obvious simulator of one server whose policy learns. Plain Python: a list, and all ranks at every step."""

import math
from types import SimpleNamespace

from reference_servers import COLUMNS

from llmqueue_gym.jobs import outcome_table


def monitored_schedule(drawn, policy, params, resolution):
    """Play one server, preemptively, and let the policy learn of every job that leaves.

    At every arrival, completion and, for ranks of general shape, after every slice: whoever has the least rank runs,
    the earliest of several. The rank of a waiting job is taken when it comes, stops, or a pair is learnt.

    Returns:
        the outcome table, and the state after each pair.
    """
    n, found = len(drawn.sizes), outcome_table(len(drawn.sizes))
    rows = zip(*(drawn.work[name].tolist() for name in COLUMNS), strict=True)
    jobs = [SimpleNamespace(age=0.0, **dict(zip(COLUMNS, row, strict=True))) for row in rows]
    memory, sizes, states = SimpleNamespace(state=0.0, seen=0), drawn.sizes.tolist(), []
    coming, here, clock, last = list(range(n)), {}, 0.0, None
    scale = float(drawn.sizes.mean())
    while coming or here:
        if not here:
            clock = max(clock, jobs[coming[0]].arrival)
        while coming and jobs[coming[0]].arrival <= clock:
            here[coming[0]] = policy.rank(jobs[coming[0]], memory, params)
            coming.pop(0)
        i = min(here, key=lambda j: (here[j], j))
        if last is not None and last != i:
            found["preemptions"][last] += 1
        last, job = i, jobs[i]
        if math.isnan(found["start"][i]):
            found["start"][i] = clock
        stop = jobs[coming[0]].arrival if coming else math.inf
        if policy.shape == "general" and len(here) > 1:
            stop = min(stop, clock + resolution * (job.age + scale))
        done = clock + (sizes[i] - job.age)
        if stop < done:
            job.age, clock = job.age + (stop - clock), stop
            here[i] = policy.rank(job, memory, params)
            continue
        clock, job.age, last = done, sizes[i], None
        found["completion"][i] = clock
        del here[i]
        memory.seen += 1
        memory.state = policy.learn(job, memory, params) if policy.learn else 0.0
        states.append(memory.state)
        here = {j: policy.rank(jobs[j], memory, params) for j in here}
    return found, states
