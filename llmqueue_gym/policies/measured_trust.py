"""Reports are believed until service shows them wrong: the class of a job is that of its report or, if worse, its age.

So a lie that is too short gains little: the job falls back, class by class, as it outlives them. With some probability
it is punished as well, and goes behind all others. It brings the predictor `reports` along, which draws what users
report and who will be punished.

Source: Grosof, Mitzenmacher, "Incentive Compatible Queues Without Money", 2022 (arXiv 2202.05747), MeasuredTrust; the
form of its classes is this project's.
"""

from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.blind_trust import SOURCE, limits, reports


def rank(job, params):
    report = int(job.predicted)
    late = report < len(params) and job.age >= params[report - 1]
    if late and job.predicted > report:
        return 1.0 + len(params)
    while report < len(params) and job.age >= params[report - 1]:
        report += 1
    return float(report)


def measured_trust(k: int = 3, punished: float = 0.5, noise: str = "lognormal:sigma=0.5", say: str = "") -> Policy:
    """Classes by report, and by age where that says more; who outlives his report may be sent behind all others."""
    return Policy("measured-trust", rank, predictor=reports(k, punished, noise, say), prepare=limits, source=SOURCE)
