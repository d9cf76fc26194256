"""The records that kernels of the queue engine share: the state of a run and an entry of the waiting heap."""

import numpy as np

STATE = np.dtype(
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


def fresh_state(n: int = 1) -> np.ndarray:
    """Return `n` states of runs that have not begun."""
    state = np.zeros(n, STATE)
    state["running"] = -1
    return state
