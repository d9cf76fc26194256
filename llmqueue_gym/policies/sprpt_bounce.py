"""SPRPT with bounce: the rank falls from the prediction z to 0, bounces, climbs back to z and stays there.

    rank(a) = min(|z - a|, z)

A long job that was predicted short soon loses its privilege, so the policy degrades gracefully with the error, and it
is consistent: as the error goes to 0 its mean response time goes to SRPT's.

The survey prints max(|z - a|, z) instead (section 2.3, caption of figure 1). That form is z until age 2z, so it is
PSPJF as long as no job is twice as long as predicted, and it is not consistent. Exact mean response times for
exponential sizes, predictions uniform on [(1-e)x, (1+e)x] and load 0.8 (SRPT has 2.353):

    e       sprpt   min form   max form   pspjf
    0       2.353   2.353      2.659      2.659
    0.01    2.353   2.353      2.659      2.659
    0.1     2.360   2.360      2.663      2.663
    0.2     2.381   2.382      2.674      2.674
    0.5     2.509   2.524      2.747      2.747

`llmqueue theory --policy sprpt-bounce --predictor uniform:alpha=0.1 --load 0.8` prints the min form's entries; the max
form is the three lines of `printed_bounce` in `tests/test_theory.py`.

Source: Scully, Grosof, Mitzenmacher, "Uniform Bounds for Scheduling with Job Size Estimates", ITCS 2022 (SRPT-B).
"""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return min(abs(job.predicted - job.age), job.predicted)


def sprpt_bounce() -> Policy:
    source = "Scully, Grosof, Mitzenmacher, Uniform Bounds for Scheduling with Job Size Estimates, ITCS 2022"
    return Policy("sprpt-bounce", rank, shape="general", source=source)
