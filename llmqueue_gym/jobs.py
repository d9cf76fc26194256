"""The job table: what a scheduler may know of each job, and what engines write down about it.

Two tables and one array share their row numbers; rows are in order of arrival.

* `JOB`: what a policy can read. It has no column for the true size, on purpose.
* `sizes`: float64 `(n_jobs,)`, the true sizes. Only engines hold it.
* `OUTCOME`: what happened to the job; only reports need it, so it lies apart from the columns of the hot loop.
"""

from typing import NamedTuple

import numpy as np

# 64 bytes a row: one cache line.
JOB = np.dtype(
    [
        ("arrival", "f8"),  # s
        ("predicted", "f8"),  # s of service; 0 where the predictor says nothing
        ("weight", "f8"),  # cost per second in system, 1 unless told otherwise
        ("age", "f8"),  # s of service received so far
        ("rank", "f8"),  # as of the last time it was ranked; lower is served first
        ("klass", "i4"),  # job class, 0 unless told otherwise
        ("status", "i4"),  # one of the codes below
        ("deadline", "f8"),  # s, until when it is of use; inf where there is none
        ("need", "i4"),  # servers that it occupies at once, 1 unless told otherwise
        ("site", "i4"),  # queue that it was sent to, -1 where there is one for all
    ],
    align=True,
)

OUTCOME = np.dtype(
    [
        ("start", "f8"),  # s, first service
        ("completion", "f8"),  # s; NaN until done
        ("preemptions", "i8"),  # times it lost the server before it was done
    ],
    align=True,
)

# Status: not arrived, in queue, in service, left; and left without its service, out of patience.
PENDING, WAITING, RUNNING, DONE, LOST = 0, 1, 2, 3, 4

# What a dispatcher can read of one queue and its server when a job arrives.
QUEUE = np.dtype(
    [
        ("jobs", "i8"),  # in it, the one in service included
        ("work", "f8"),  # sum of their predicted sizes, s
        ("left", "f8"),  # the same, less what they have received; a job that outlives its prediction counts 0
        ("alike", "i8"),  # waiting jobs whose prediction is on the same side of the policy's split as the arrival's
        ("speed", "f8"),
        ("index", "i8"),
    ],
    align=True,
)

# What a policy that watches its predictor keeps, and can read beside a job.
MEMORY = np.dtype(
    [
        ("state", "f8"),  # what its function `learn` returned last, 0 at first
        ("seen", "i8"),  # jobs that have left: pairs of prediction and size
    ],
    align=True,
)

# What a policy of moldable jobs can read of one way to start a waiting job: on so many servers.
OFFER = np.dtype(
    [
        ("servers", "i8"),  # that the job would be given
        ("time", "f8"),  # s of service on them, predicted; on one server it is the job's `predicted`
        ("wait", "f8"),  # s until so many are free, predicted; who outlives a prediction is taken to end now
        ("clock", "f8"),  # s, now
        ("free", "i8"),  # servers, now
        ("total", "i8"),  # servers
        ("waiting", "i8"),  # jobs, this one included
        ("running", "i8"),  # jobs
    ],
    align=True,
)

# What a job is in, where predictions cost: its service, a prediction of it, or service at a lower speed that tells.
SERVE, CHEAP, EXPENSIVE, PROFILE = 0, 1, 2, 3
CHEAP_KNOWN, SIZE_KNOWN = 1, 2  # bits of what is known of it

# What a policy that pays for predictions can read of a job beside its row above.
STAGE = np.dtype(
    [
        ("kind", "i4"),  # what it is in now, one of the codes above
        ("known", "i4"),  # bits as above
        ("done", "f8"),  # s of that stage so far; of service in SERVE and PROFILE
        ("in_system", "i4"),  # jobs, this one included, when it was asked or ranked last
        ("predicting", "i4"),  # those of them whose stage is a prediction, waiting or not, likewise
        ("coin", "f8"),  # in [0, 1), drawn beforehand, for policies that leave something to chance
    ],
    align=True,
)


class Instance(NamedTuple):
    """One sampled run: a job table and its hidden truth.

    Attributes:
        jobs: `JOB` rows `(n_jobs,)`, sorted by arrival.
        sizes: true sizes `(n_jobs,)`, s of service.
    """

    jobs: np.ndarray
    sizes: np.ndarray


def job_table(
    arrivals: np.ndarray, predicted: np.ndarray | float = 0.0, weight: np.ndarray | float = 1.0
) -> np.ndarray:
    """Return a fresh `JOB` table `(n_jobs,)` for sorted arrival times (s)."""
    jobs = np.zeros(len(arrivals), JOB)
    jobs["arrival"], jobs["predicted"], jobs["weight"] = arrivals, predicted, weight
    jobs["deadline"], jobs["need"], jobs["site"] = np.inf, 1, -1
    return jobs


def outcome_table(n_jobs: int) -> np.ndarray:
    """Return an `OUTCOME` table `(n_jobs,)` in which nothing has happened yet."""
    outcome = np.zeros(n_jobs, OUTCOME)
    outcome["start"] = outcome["completion"] = np.nan
    return outcome
