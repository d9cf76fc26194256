"""SPRPT with bounce: the rank falls from the prediction z to 0, bounces, climbs back to z and stays there.

    rank(a) = min(|z - a|, z)

A long job that was predicted short soon loses its privilege, so the policy degrades gracefully with the error, and it
is consistent: as the error goes to 0 its mean response time goes to SRPT's.

The survey prints max(|z - a|, z) instead (section 2.3, caption of figure 1). That form is z until age 2z, so it is
PSPJF as long as no job is twice as long as predicted, and it is not consistent. Exponential sizes, uniform predictions
U[(1-e)x, (1+e)x], load 0.8, mean response times by `llmqueue theory` (max form: 10 lines in `tests/test_policies.py`):

BOUNCE_TABLE

Source: Scully, Grosof, Mitzenmacher, "Uniform Bounds for Scheduling with Job Size Estimates", ITCS 2022 (SRPT-B).
"""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return min(abs(job.predicted - job.age), job.predicted)


def sprpt_bounce() -> Policy:
    source = "Scully, Grosof, Mitzenmacher, Uniform Bounds for Scheduling with Job Size Estimates, ITCS 2022"
    return Policy("sprpt-bounce", rank, shape="general", source=source)
