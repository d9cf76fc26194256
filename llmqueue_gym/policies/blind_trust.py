"""Whoever reports a shorter class comes first, and who outlives his report is punished with some probability.

A punished job goes behind all others as soon as it is older than it said; without that it keeps the rank of its report.
It brings the predictor `reports` along, which draws what users report and who will be punished.

Source: Grosof, Mitzenmacher, "Incentive Compatible Queues Without Money", 2022 (arXiv 2202.05747), BlindTrust; the form
of its classes is this project's.
"""

import numpy as np

from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.policies.base import Policy

SOURCE = "Grosof, Mitzenmacher, Incentive Compatible Queues Without Money, 2022"


def rank(job, params):
    report = int(job.predicted)
    late = report < len(params) and job.age >= params[report - 1]
    return 1.0 + len(params) if late and job.predicted > report else float(report)


def reports(k: int, punished: float, noise: str, say: str) -> str:
    """Return the spec of what users report; see `predictors.reports`."""
    return f"reports:k={k},punished={punished!r},noise={noise.replace(',', ';')}" + (f",say={say}" if say else "")


def limits(size, predictor) -> np.ndarray:
    """Return the limit of each report `(k,)`, s, of which the last is infinite."""
    if not hasattr(predictor, "limits"):
        raise NotApplicable(
            f"classes of reports are needed, which predictor {predictor} does not give; use --predictor reports:k=3"
        )
    return predictor.limits


def blind_trust(k: int = 3, punished: float = 0.5, noise: str = "lognormal:sigma=0.5", say: str = "") -> Policy:
    """Classes by report; who outlives it may be sent behind all others."""
    return Policy("blind-trust", rank, predictor=reports(k, punished, noise, say), prepare=limits, source=SOURCE)
