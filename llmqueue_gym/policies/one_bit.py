"""One bit of advice: a job predicted short, at most the threshold, goes to the front of the queue, a long one behind.

The versions differ in what the front means, and in the order of the jobs that are predicted short.

Sources: Mitzenmacher, "Queues with Small Advice", ACDA 2021; Dong, Ibrahim, "Shortest-Job-First Scheduling in
Many-Server Queues with Impatient Customers and Noisy Service-Time Estimates", Operations Research 2024.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy

_SOURCE = "Mitzenmacher, Queues with Small Advice, ACDA 2021"
SHORT = 0.0


def short_first(job, params):
    return 0.0 if job.predicted <= params[0] else 1.0


def _threshold(name, threshold, preemptive, ties=-np.inf, formula=None, source=_SOURCE) -> Policy:
    if not threshold > 0:
        raise BadInput(f"{name}: threshold={threshold:g} must be positive, as in {name}:threshold=1")
    traits = {"preemptive": preemptive, "shape": "constant", "lcfs_up_to": ties, "formula": formula}
    return Policy(name, short_first, (threshold,), source=source, **traits)


def one_bit(threshold: float = 1.0) -> Policy:
    """Predicted short to the front of the queue, long to the back, without preemption."""
    return _threshold("one-bit", threshold, False, SHORT, "one-bit")


def one_bit_lcfs(threshold: float = 1.0) -> Policy:
    """A job predicted short preempts every running job, another short one included."""
    return _threshold("one-bit-lcfs", threshold, True, SHORT, "one-bit-lcfs")


def one_bit_fcfs(threshold: float = 1.0) -> Policy:
    """A job predicted short preempts long ones only; shorts are served in order of arrival."""
    return _threshold("one-bit-fcfs", threshold, True, formula="one-bit-fcfs")


def two_class(threshold: float = 1.0) -> Policy:
    """Estimates of at most `threshold` s first.

    Each class is first come first served, without preemption. In overload, with impatient jobs, it serves as many as
    `spjf`, in the limit of many servers.
    """
    return _threshold("two-class", threshold, False, source="Dong, Ibrahim, Operations Research 2024")
