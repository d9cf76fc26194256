"""One bit of advice: a job predicted short goes to the front of the queue, a long one to the back.

A prediction of at most `threshold` is short. Three versions differ in what the front means:

* `one-bit`: front of the queue, behind the running job (no preemption);
* `one-bit-lcfs`: a short job preempts every running job, another short one included, as the closed form of the
  paper needs;
* `one-bit-fcfs`: a short job preempts long ones only, and shorts are served in order of arrival.

Source: Mitzenmacher, "Queues with Small Advice", ACDA 2021.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy

_SOURCE = "Mitzenmacher, Queues with Small Advice, ACDA 2021"
SHORT = 0.0


def rank(job, params):
    return 0.0 if job.predicted <= params[0] else 1.0


def _one_bit(name: str, threshold: float, preemptive: bool, lcfs: bool) -> Policy:
    if not threshold > 0:
        raise BadInput(f"{name}: threshold={threshold:g} must be positive, as in {name}:threshold=1")
    ties = SHORT if lcfs else -np.inf
    return Policy(
        name, rank, (threshold,), preemptive=preemptive, shape="constant", formula=name, source=_SOURCE, lcfs_up_to=ties
    )


def one_bit(threshold: float = 1.0) -> Policy:
    """Predicted short to the front of the queue, long to the back, without preemption."""
    return _one_bit("one-bit", threshold, preemptive=False, lcfs=True)


def one_bit_lcfs(threshold: float = 1.0) -> Policy:
    """A job predicted short preempts every running job, another short one included."""
    return _one_bit("one-bit-lcfs", threshold, preemptive=True, lcfs=True)


def one_bit_fcfs(threshold: float = 1.0) -> Policy:
    """A job predicted short preempts long ones only; shorts are served in order of arrival."""
    return _one_bit("one-bit-fcfs", threshold, preemptive=True, lcfs=False)
