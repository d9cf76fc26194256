"""Records of the kernels: the state of a queue, an entry of its heap, and what a step of an environment gives."""

import numpy as np

QUEUE_STATE = np.dtype(
    [
        ("clock", "f8"),  # s
        ("integral", "f8"),  # cost accumulated since time 0: integral of the cost rate
        ("cost_rate", "f8"),  # sum of the costs of the jobs in system, per s
        ("arrived", "i8"),  # rows of the job table that have arrived
        ("done", "i8"),  # jobs that have left
        ("running", "i8"),  # row in service, or -1
        ("in_system", "i8"),  # length of the live list
    ],
    align=True,
)

# The tie key is the row, or minus the row where equal ranks are served last come first served.
HEAP = np.dtype([("rank", "f8"), ("tie", "i8")], align=True)

START, SKIP = -1, -2  # actions that are no choice: go to the first decision, leave the run alone

# What a `step_batch` reports of the last step of a run.
STEP = np.dtype(
    [
        ("reward", "f8"),  # minus the cost since the last decision
        ("dt", "f8"),  # s since the last decision
        ("clock", "f8"),  # s
        ("in_system", "i8"),
        ("illegal", "?"),  # the action named an empty slot
        ("terminated", "?"),  # every job has left
        ("truncated", "?"),  # the horizon came first
    ],
    align=True,
)


def fresh_state(n: int = 1) -> np.ndarray:
    """Return `n` states of runs that have not begun."""
    state = np.zeros(n, QUEUE_STATE)
    state["running"] = -1
    return state
