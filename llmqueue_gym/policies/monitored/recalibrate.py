"""SPRPT by predictions from which the bias of late is divided out: y exp(-b), b a running mean of log(Y / S).

The order of fresh jobs is that of SPRPT whatever the bias; what is put right is how long those that have run have
still to go beside them. A job of which nothing is predicted counts as of mean size.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.monitored.base import MonitoredPolicy, log_errors


def rank(job, memory, params):
    if job.predicted == params[1]:  # nothing was predicted
        return job.predicted - job.age
    return job.predicted * np.exp(-memory.state) - job.age


def learn(job, memory, params):
    if job.predicted == params[1]:
        return memory.state
    error = np.log(max(job.predicted, 1e-300) / job.age)
    return memory.state + (error - memory.state) / min(memory.seen, params[0])


@dataclass(frozen=True)
class _Prepare:
    """Numbers of the two functions: the window, and who is not predicted."""

    window: float

    def __call__(self, size: Any, predictor: Any) -> np.ndarray:
        log_errors(size, predictor)  # refuses predictors that predict nothing
        return np.array([self.window, size.mean])


def recalibrate(window: float = 1000) -> MonitoredPolicy:
    """SPRPT by predictions without their running bias.

    Args:
        window: pairs over which the bias is averaged, at least 1.
    """
    if not 1 <= window < np.inf:
        raise BadInput(f"recalibrate: window={window:g} must be at least 1 and finite")
    source = "exponentially weighted mean (Roberts 1959) of log errors"
    return MonitoredPolicy("recalibrate", rank, learn, prepare=_Prepare(window), shape="falling", source=source)
