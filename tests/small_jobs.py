"""A few jobs for hypothesis: their times are quarters of a second, so that they tie often and sums are exact."""

import numpy as np
from hypothesis import strategies as st

from llmqueue_gym.jobs import job_table
from llmqueue_gym.systems import Drawn

POSITIVE = st.integers(1, 12).map(lambda q: q / 4)
SPEEDS = st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=4).map(sorted)


@st.composite
def small_jobs(draw, predicted=POSITIVE, **more):
    """Up to 12 jobs; of further columns of the table, or of the truth, a strategy of one value."""
    job = st.tuples(st.integers(0, 12).map(lambda q: q / 4), POSITIVE, predicted, *more.values())
    rows = draw(st.lists(job, min_size=1, max_size=12))
    arrivals, sizes, told, *others = map(np.array, zip(*sorted(rows, key=lambda row: row[0]), strict=True))
    jobs, truth = job_table(arrivals, told), {"sizes": sizes}
    for name, values in zip(more, others, strict=True):
        if name in jobs.dtype.names:
            jobs[name] = values
        else:
            truth[name] = values
    return Drawn(jobs, truth)
