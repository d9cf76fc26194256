"""SPRPT until an alarm says that predictions have become worse, and from then on an order that looks at none.

The alarm is CUSUM (Page 1954) for the spread of log errors Z = log(Y / S). With `good` their root mean square before
the run, or another spread that is still good, and `bad` one that is worth an alarm, both as of normal laws, each pair
adds the log likelihood ratio

    W <- max(0, W + Z^2 (1 / good^2 - 1 / bad^2) / 2 - log(bad / good)),

and the alarm goes off where W reaches `alarm`. For errors that are as they were there are at least e^alarm pairs to a
false alarm in the mean (Lorden 1971), and of all rules with so few of them CUSUM has the least mean delay in the worst
case (Moustakides 1986). `theory.cusum` has the exact numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.monitored.base import MonitoredPolicy, log_errors

LEAST = 1e-3  # rms log error that stands for none
AFTERWARDS = ("fcfs", "las")


def rank(job, memory, params):
    if memory.state < params[2]:
        return job.predicted - job.age
    return job.age if params[3] == 1.0 else 0.0


def learn(job, memory, params):
    if memory.state >= params[2]:
        return np.inf
    if job.predicted == params[4]:  # nothing was predicted
        return memory.state
    error = np.log(max(job.predicted, 1e-300) / job.age)
    return max(0.0, memory.state + params[0] * error**2 - params[1])


@dataclass(frozen=True)
class _Prepare:
    """Numbers of the two functions: factor and drift of CUSUM, alarm, what follows, and who is not predicted."""

    alarm: float
    good: float | None
    times: float
    afterwards: int

    def __call__(self, size: Any, predictor: Any) -> np.ndarray:
        own = float(np.sqrt(np.mean(log_errors(size, predictor) ** 2)))
        good = max(own, LEAST) if self.good is None else self.good
        factor = (1 - self.times**-2) / (2 * good**2)
        return np.array([factor, np.log(self.times), self.alarm, self.afterwards, size.mean])


def trust_until_alarm(
    alarm: float = 10.0, good: float | None = None, times: float = 2.0, afterwards: str = "las"
) -> MonitoredPolicy:
    """SPRPT until CUSUM finds that log errors have grown, then `afterwards`, fcfs or las.

    Args:
        alarm: threshold in nats.
        good: root mean square of log errors that is still good; none takes that of the predictor before the run.
        times: how much wider than that errors are which the alarm is made for, above 1.
        afterwards: the order after the alarm.
    """
    if not alarm > 0:
        raise BadInput(f"trust-until-alarm: alarm={alarm:g} must be positive")
    if good is not None and not 0 < good < np.inf:
        raise BadInput(f"trust-until-alarm: good={good:g} must be positive and finite")
    if not 1 < times < np.inf:
        raise BadInput(f"trust-until-alarm: times={times:g} must be above 1 and finite")
    if afterwards not in AFTERWARDS:
        raise BadInput(f"trust-until-alarm: afterwards={afterwards!r}; choose from: {', '.join(AFTERWARDS)}")
    return MonitoredPolicy(
        "trust-until-alarm",
        rank,
        learn,
        prepare=_Prepare(alarm, good, times, AFTERWARDS.index(afterwards)),
        shape="general" if afterwards == "las" else "falling",
        source="Page, Continuous Inspection Schemes, Biometrika 1954; Moustakides 1986",
    )
