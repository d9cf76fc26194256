"""SPRPT by what a job may be expected to last, given its prediction and how wrong predictions have been of late.

Log sizes have mean m and variance t; `state` is a running mean square v of the log errors. Were both normal, a job of
prediction y would have the mean size

    exp(w log y + (1 - w) m + w v / 2),   w = t / (t + v),

which is y itself as long as nothing is wrong, and the same for every job, and so first come first served, where nothing
is right.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.monitored.base import MonitoredPolicy, log_errors


def rank(job, memory, params):
    if job.predicted == params[3]:  # nothing was predicted
        return job.predicted - job.age
    trust = params[1] / (params[1] + memory.state)
    size = trust * np.log(max(job.predicted, 1e-300)) + (1 - trust) * params[0] + 0.5 * trust * memory.state
    return np.exp(size) - job.age


def learn(job, memory, params):
    if job.predicted == params[3]:
        return memory.state
    error = np.log(max(job.predicted, 1e-300) / job.age)
    return memory.state + (error**2 - memory.state) / min(memory.seen, params[2])


@dataclass(frozen=True)
class _Prepare:
    """Numbers of the two functions: mean and variance of log sizes, the window, and who is not predicted."""

    window: float

    def __call__(self, size: Any, predictor: Any) -> np.ndarray:
        log_errors(size, predictor)  # refuses predictors that predict nothing
        x = np.log(size.ppf((np.arange(10_000) + 0.5) / 10_000))
        return np.array([x.mean(), max(x.var(), 1e-12), self.window, size.mean])


def blend(window: float = 1000) -> MonitoredPolicy:
    """SPRPT by the mean size given the prediction and the running error of predictions.

    Args:
        window: pairs over which the error is averaged, at least 1.
    """
    if not 1 <= window < np.inf:
        raise BadInput(f"blend: window={window:g} must be at least 1 and finite")
    source = "posterior mean of a log-normal size; Efron and Morris 1973 for the shrinkage"
    return MonitoredPolicy("blend", rank, learn, prepare=_Prepare(window), shape="falling", source=source)
