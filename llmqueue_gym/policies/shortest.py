"""Shortest job first, by what is predicted, and its kin; those without a p for predicted are told the true size.

`sprpt-bounce` is the form of Scully, Grosof and Mitzenmacher. The survey prints max(|z - a|, z) instead (section 2.3,
caption of figure 1). That is z until age 2z, so it is PSPJF as long as no job is twice as long as predicted, and it is
not consistent. Exact mean response times for exponential sizes, predictions uniform on [(1-e)x, (1+e)x] and load 0.8
(SRPT has 2.353):

    e       sprpt   min form   max form   pspjf
    0       2.353   2.353      2.659      2.659
    0.01    2.353   2.353      2.659      2.659
    0.1     2.360   2.360      2.663      2.663
    0.2     2.381   2.382      2.674      2.674
    0.5     2.509   2.524      2.747      2.747

`llmqueue theory --policy sprpt-bounce --predictor uniform:alpha=0.1 --load 0.8` prints the min form's entries; the max
form is the three lines of `printed_bounce` in `tests/test_theory.py`.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy

_SOURCE = "Mitzenmacher, Scheduling with Predictions and the Price of Misprediction, ITCS 2020"


def by_prediction(job, params):
    return job.predicted


def by_remaining(job, params):
    return job.predicted - job.age


def bounce(job, params):
    return min(abs(job.predicted - job.age), job.predicted)


def limited(job, params):
    return job.predicted - job.age if job.age < params[0] * job.predicted or job.age == 0.0 else -np.inf


def spjf() -> Policy:
    """Shortest predicted job first, without preemption."""
    return Policy("spjf", by_prediction, preemptive=False, shape="constant", formula="spjf", source=_SOURCE)


def sjf() -> Policy:
    """Shortest job first: spjf that is told the true size."""
    return spjf().with_exact_sizes("sjf")


def pspjf() -> Policy:
    """Preemptive shortest predicted job first, by the original prediction."""
    return Policy("pspjf", by_prediction, shape="constant", formula="pspjf", source=_SOURCE)


def psjf() -> Policy:
    """Preemptive shortest job first: pspjf that is told the true size."""
    return pspjf().with_exact_sizes("psjf")


def sprpt() -> Policy:
    """Shortest predicted remaining processing time.

    A job that outlives its prediction has a negative rank, so nothing can preempt it.
    """
    return Policy("sprpt", by_remaining, shape="falling", formula="sprpt", source=_SOURCE)


def srpt() -> Policy:
    """Shortest remaining processing time: sprpt that is told the true size; optimal for mean response."""
    return sprpt().with_exact_sizes("srpt")


def sprpt_bounce() -> Policy:
    """SPRPT with bounce: the rank falls from the prediction z to 0, bounces, climbs back to z and stays there.

    A long job that was predicted short soon loses its privilege, so the policy degrades gracefully with the error, and
    it is consistent: as the error goes to 0 its mean response time goes to SRPT's.
    """
    source = "Scully, Grosof, Mitzenmacher, Uniform Bounds for Scheduling with Job Size Estimates, ITCS 2022"
    return Policy("sprpt-bounce", bounce, source=source)


def limited_preemption(c: float = 0.8) -> Policy:
    """SPRPT in which a job can be preempted only while its age is below c times its prediction (Trail's theory model).

    Args:
        c: in [0, 1]; 0 is SPJF, 1 is SPRPT.
    """
    if not 0 <= c <= 1:
        raise BadInput(f"limited-preemption: c={c:g} must lie in [0, 1]")
    source = "Shahout et al., Don't Stop Me Now: Embedding Based Scheduling for LLMs (Trail), ICLR 2025"
    return Policy("limited-preemption", limited, (c,), shape="falling", formula="limited-preemption", source=source)
