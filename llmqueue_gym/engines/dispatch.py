"""Many servers with a queue each: an arrival looks at some of them, or at all, and joins one for good.

A queue depends on the others only through the jobs that it is sent, so each is brought up to date when somebody looks
at it and not before: no list of events is kept, and a run of n servers costs no more a job than one of two.

Inside a queue jobs are served by rank, as in `single_server`; ranks of general shape are looked at again after slices,
as in `central_queue`. An arrival at an idle server starts at once, whatever else arrives at that very time.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel, prefetch
from llmqueue_gym.engines.server import CONSTANT, bring_up_to_date, run
from llmqueue_gym.engines.tree import adopt, before, child, meld, meld_all, sibling
from llmqueue_gym.jobs import DONE, WAITING

SITE = np.dtype(
    [
        ("speed", "f8"),  # s of service per s
        ("until", "f8"),  # s, end of the present stretch of service
        ("since", "f8"),  # s, its beginning
        ("work", "f8"),  # predicted sizes of the waiting jobs, s
        ("left", "f8"),  # the same, less what they have received
        ("row", "i8"),  # of the job in service, or -1
        ("head", "i8"),  # row of the waiting job that is first in rank, or -1
        ("tail", "i8"),  # and of the one that is last
        ("waiting", "i8"),
        ("low", "i8"),  # waiting jobs that are predicted to be at most the split
        ("ends", "?"),  # whether the job in service is done at the end of the stretch
    ],
    align=True,
)

AHEAD = 16  # jobs


@inner_kernel
def count(site, job, split, sign):
    """Count a waiting job in (sign 1) or out (sign -1)."""
    site.waiting += sign
    site.work += sign * job.predicted
    site.left += sign * max(job.predicted - job.age, 0.0)
    if job.predicted <= split:
        site.low += sign
    if site.waiting == 0:
        site.work = site.left = 0.0  # no rounding error survives


@inner_kernel
def wait(site, i, jobs, links, split, lcfs_up_to):
    """Put job i in its place in the queue."""
    job = jobs[i]
    job.status = WAITING
    count(site, job, split, 1)
    links[i] = 0
    if site.head < 0:
        site.head = site.tail = i
    elif before(job, i, jobs[site.tail], site.tail, lcfs_up_to):
        site.head = meld(site.head, i, jobs, links, lcfs_up_to)
    else:  # a queue in order of arrival stays a plain list
        adopt(links, site.tail, i)
        site.tail = i


@inner_kernel
def take(site, jobs, links, split, lcfs_up_to):
    """Remove the first waiting job and return its row."""
    first = site.head
    count(site, jobs[first], split, -1)
    site.head = child(links, first)
    if site.head >= 0 and sibling(links, site.head) >= 0:
        site.head = meld_all(site.head, jobs, links, lcfs_up_to)
    return first


@inner_kernel
def finish(site, jobs, sizes, outcome, links, split, shape, lcfs_up_to, resolution, scale):
    """Let the job in service leave, and whoever waits and is first in rank start."""
    i, clock = site.row, site.until
    jobs[i].age = sizes[i]
    jobs[i].status = DONE
    outcome[i].completion = clock
    site.row = -1
    if site.head >= 0:
        i = take(site, jobs, links, split, lcfs_up_to)
        run(site, clock, i, jobs, sizes, outcome, shape, resolution, scale)


@inner_kernel
def advance(site, stop, jobs, sizes, outcome, links, split, rank, params, shape, lcfs_up_to, resolution, scale):
    """Let a queue do all that it does until `stop`; what is due at that very time is done."""
    while site.row >= 0 and site.until <= stop:
        i, clock = site.row, site.until
        if site.ends:
            finish(site, jobs, sizes, outcome, links, split, shape, lcfs_up_to, resolution, scale)
            continue
        bring_up_to_date(site, clock, jobs)
        jobs[i].rank = rank(jobs[i], params)
        if site.head >= 0 and before(jobs[site.head], site.head, jobs[i], i, lcfs_up_to):
            outcome[i].preemptions += 1
            other = take(site, jobs, links, split, lcfs_up_to)
            wait(site, i, jobs, links, split, lcfs_up_to)
            i = other
        run(site, clock, i, jobs, sizes, outcome, shape, resolution, scale)


@inner_kernel
def join(
    site, i, clock, jobs, sizes, outcome, links, split, rank, params, preemptive, shape, lcfs_up_to, resolution, scale
):
    """Let job i join a queue that is up to date."""
    job = jobs[i]
    job.rank = rank(job, params)
    if site.row < 0:
        run(site, clock, i, jobs, sizes, outcome, shape, resolution, scale)
        return
    if preemptive:
        last = jobs[site.row]
        if shape != CONSTANT:
            bring_up_to_date(site, clock, jobs)
            last.rank = rank(last, params)
        if job.rank < last.rank or (job.rank == last.rank and job.rank <= lcfs_up_to):
            bring_up_to_date(site, clock, jobs)
            outcome[site.row].preemptions += 1
            wait(site, site.row, jobs, links, split, lcfs_up_to)
            run(site, clock, i, jobs, sizes, outcome, shape, resolution, scale)
            return
    wait(site, i, jobs, links, split, lcfs_up_to)


@inner_kernel
def look(queue, site, index, job, clock, jobs, split):
    """Write what the dispatcher sees of a queue that is up to date."""
    queue.jobs, queue.work, queue.left = site.waiting, site.work, site.left
    queue.alike = site.low if job.predicted <= split else site.waiting - site.low
    queue.speed, queue.index = site.speed, index
    if site.row >= 0:
        last = jobs[site.row]
        queue.jobs += 1
        queue.work += last.predicted
        queue.left += max(last.predicted - last.age - (clock - site.since) * site.speed, 0.0)


@inner_kernel
def one_of(scores, least, tie):
    """Return the place of one of the scores that are the least, which the number in [0, 1] chooses; 0 if none is."""
    equal = 0
    for s in range(scores.shape[0]):
        if scores[s] == least:
            equal += 1
    nth = min(int(tie * equal), equal - 1)
    for s in range(scores.shape[0]):
        if scores[s] == least:
            if nth == 0:
                return s
            nth -= 1
    return 0


@lean_kernel
def simulate(
    jobs,
    sizes,
    outcome,
    links,
    sites,
    queue,
    scores,
    choices,
    ties,
    score,
    numbers,
    split,
    rank,
    params,
    preemptive,
    shape,
    lcfs_up_to,
    resolution,
    scale,
):
    """Send every job of the table somewhere and run it to its end.

    Args:
        jobs: `JOB` rows `(n,)`; `site` is written.
        sizes: true sizes `(n,)`, s on a server of speed 1.
        outcome: `OUTCOME` rows `(n,)`, written.
        links: `(n,)`, scratch: the trees of the queues.
        sites: `SITE` rows `(k,)`, idle.
        queue: `QUEUE` rows `(1,)`, scratch.
        scores: `(k,)`, scratch.
        choices: the servers that each job looks at `(n, d)`; among equals the first is taken. Where d = 0 it sees all.
        ties: numbers in [0, 1) `(n,)`, which choose among equals where it sees all.
        score: compiled function of (job, queue, numbers); the least is joined.
        numbers: its parameters.
        split: s, see `QUEUE`.
        rank: compiled rank function inside a queue.
        params: its parameters.
        preemptive: whether an arrival may take the server.
        shape: CONSTANT, FALLING or GENERAL.
        lcfs_up_to: as in `single_server.simulate`.
        resolution: as in `central_queue.simulate`.
        scale: likewise.
    """
    slices = shape if preemptive else CONSTANT
    d = choices.shape[1]
    for i in range(jobs.shape[0]):
        prefetch(jobs, i + AHEAD, 0)
        job = jobs[i]
        clock, chosen, least = job.arrival, choices[i, 0] if d > 0 else 0, np.inf
        for c in range(d if d > 0 else sites.shape[0]):
            s = choices[i, c] if d > 0 else c
            site = sites[s]
            advance(
                site, clock, jobs, sizes, outcome, links, split, rank, params, slices, lcfs_up_to, resolution, scale
            )
            look(queue[0], site, s, job, clock, jobs, split)
            value = score(job, queue[0], numbers)
            if d == 0:
                scores[s] = value
            if value < least:
                chosen, least = s, value
        if d == 0:
            chosen = one_of(scores, least, ties[i])
        job.site = chosen
        site = sites[chosen]
        join(
            site, i, clock, jobs, sizes, outcome, links, split, rank, params, preemptive, slices, lcfs_up_to,
            resolution, scale,
        )  # fmt: skip
    for s in range(sites.shape[0]):
        advance(
            sites[s], np.inf, jobs, sizes, outcome, links, split, rank, params, slices, lcfs_up_to, resolution, scale
        )
