"""SPRPT in which a job can be preempted only while its age is below c times its prediction (Trail's theory model).

c=0 is SPJF, c=1 is SPRPT.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.predicted - job.age if job.age < params[0] * job.predicted or job.age == 0.0 else -np.inf


def limited_preemption(c: float = 0.8) -> Policy:
    if not 0 <= c <= 1:
        raise BadInput(f"limited-preemption: c={c:g} must lie in [0, 1]")
    source = "Shahout et al., Don't Stop Me Now: Embedding Based Scheduling for LLMs (Trail), ICLR 2025"
    return Policy("limited-preemption", rank, (c,), shape="falling", formula="limited-preemption", source=source)
