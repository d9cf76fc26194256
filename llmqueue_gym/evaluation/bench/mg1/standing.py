"""Where policies stand in one case: estimates with intervals, scores, the winner. Pure functions of numbers.

Where the exact mean of FCFS is known it corrects the simulated means.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.mg1.play import Played
from llmqueue_gym.evaluation.bench.ranking import BASE, Row, interval, scores
from llmqueue_gym.evaluation.statistics import Estimate, across_seeds, control_variate

BOUND = "srpt"


def case_rows(
    played: Mapping[str, Played], exact: Mapping[str, float], sees: Mapping[str, str], order: Sequence[str]
) -> list[Row]:
    """Return a row for each policy in one case.

    Args:
        played: policy -> its numbers; `fcfs` and `srpt` among them.
        exact: policy -> exact mean response time; empty where there is none.
        sees: policy -> what it is told.
        order: what can be told, from the least to the most.
    """
    base = played[BASE]
    means = {name: mean_of(numbers.units, base.units, exact.get(BASE)) for name, numbers in played.items()}
    rows = []
    for name, numbers in played.items():
        # A policy that is FCFS in effect would be its own control, so it is shown as it was simulated.
        is_base = np.allclose(numbers.means, base.means, rtol=1e-9)
        estimate = across_seeds(numbers.units) if is_base else means[name]
        equals = [other for other in played if order.index(sees[other]) <= order.index(sees[name])]
        best = min(equals, key=lambda other: means[other].mean)
        behind = mean_of(numbers.units - played[best].units, base.units, exact.get(BASE))
        score = scores(base.means.mean(axis=1), numbers.means.mean(axis=1), played[BOUND].means.mean(axis=1))
        row = {
            "policy": name,
            "sees": sees[name],
            "mean_response_time": interval(estimate),
            "relative_to_fcfs": means[name].mean / means[BASE].mean,
            "score": float(score.mean()),
            "p99": float(numbers.p99.mean()),
            "p99_ratio": float((numbers.p99 / base.p99).mean()),
            "preemptions_per_job": numbers.preemptions,
            "best_with_same_information": best,
            "behind_best": interval(behind),
        }
        if name in exact:
            row["exact"] = exact[name]
            row["exact_inside"] = bool(estimate.low <= exact[name] <= estimate.high)
        rows.append(row)
    return rows


def mean_of(units: np.ndarray, control: np.ndarray, exact: float | None) -> Estimate:
    """Return the mean of batches with its interval, corrected by FCFS where the exact mean of FCFS is known."""
    if exact is None or len(units) < 3:
        return across_seeds(units)
    return control_variate(units, control, exact)


def winner(rows: Sequence[Row], played: Mapping[str, Played], exact: Mapping[str, float], truth: str) -> Row:
    """Return the best policy that is not told true sizes, the next one, and how far it is ahead.

    Policies that made the very same decisions as the winner are named beside it, not after it.

    Args:
        rows: of `case_rows`.
        played: policy -> its numbers.
        exact: policy -> exact mean response time; empty where there is none.
        truth: what a policy sees that is left out here.

    Raises:
        BadInput: there are not two policies that differ.
    """
    honest = [row for row in rows if row["sees"] != truth]
    honest.sort(key=lambda row: row["mean_response_time"]["mean"])
    first = honest[0]["policy"]
    rest = [row["policy"] for row in honest[1:]]
    same = [name for name in rest if np.allclose(played[name].means, played[first].means, rtol=1e-9)]
    others = [name for name in rest if name not in same]
    if not others:
        raise BadInput("a winner needs two policies that differ")
    second = others[0]
    ahead = mean_of(played[second].units - played[first].units, played[BASE].units, exact.get(BASE))
    base = mean_of(played[second].units, played[BASE].units, exact.get(BASE)).mean
    return {
        "policy": first,
        "same": same,
        "second": second,
        "lead": {"mean": ahead.mean / base, "low": ahead.low / base, "high": ahead.high / base},
        "clear": bool(ahead.low > 0),
    }
