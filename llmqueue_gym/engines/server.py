"""One of several servers and the job that it holds: both the shared queue and the queues with a dispatcher run it."""

import numpy as np

from llmqueue_gym._jit import inner_kernel
from llmqueue_gym.jobs import RUNNING

CONSTANT, FALLING, GENERAL = 0, 1, 2  # shapes of ranks, as in `policies.base`


@inner_kernel
def run(server, clock, i, jobs, sizes, outcome, shape, resolution, scale):
    """Put job i on a server, until it ends or, under a general rank, until its rank is looked at again."""
    job = jobs[i]
    if job.age == 0.0 and np.isnan(outcome[i].start):
        outcome[i].start = clock
    job.status = RUNNING
    server.row, server.since, server.ends = i, clock, True
    left = sizes[i] - job.age
    if shape == GENERAL:
        stretch = resolution * (job.age + scale)
        if stretch < left:
            left, server.ends = stretch, False
    server.until = clock + left / server.speed


@inner_kernel
def bring_up_to_date(server, clock, jobs):
    """Let the age of a server's job be that of now."""
    jobs[server.row].age += (clock - server.since) * server.speed
    server.since = clock
