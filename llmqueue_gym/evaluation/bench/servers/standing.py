"""Where contestants stand in one case: ratios to the base with intervals, scores, the winner.

Pure functions of numbers.

Comparisons are ratios within a run, because what makes one run slower than another is common to all. Intervals are
Student's t over runs.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.ranking import Row, interval, scores
from llmqueue_gym.evaluation.bench.servers.play import Played
from llmqueue_gym.evaluation.statistics import across_seeds

LEFT, MANY = 0.025, 100  # share of the jobs, and number of them, in system at the last arrival under overload


def overloaded(left: float, jobs: int) -> bool:
    """Return whether so many jobs are left at the last arrival that the queue grows without end.

    Args:
        left: share of the jobs of a run.
        jobs: of a run.
    """
    return left > LEFT and left * jobs > MANY


def case_rows(played: Mapping[str, Played], bound: np.ndarray, base: str, sign: int) -> list[Row]:
    """Return a row for each contestant in one case.

    Args:
        played: name -> its numbers; the base among them.
        bound: of `Played.value`, by run `(runs,)`.
        base: who has score 0.
        sign: 1 where less is better, -1 where more is.
    """
    zero, rows = played[base], []
    for name, numbers in played.items():
        others = {other: better(played[other].value, numbers.value, sign) for other in played if other != name}
        rows.append(
            {
                "policy": name,
                "value": interval(across_seeds(numbers.value)),
                "over_base": interval(across_seeds(numbers.value / zero.value)),
                "score": float(scores(zero.value, numbers.value, bound).mean()),
                "p99": float(numbers.p99.mean()),
                "p99_over_base": interval(across_seeds(numbers.p99 / zero.p99)),
                "preemptions_per_job": float(numbers.preemptions.mean()),
                "left": float(numbers.left.mean()),
                "beaten_by": sorted(other for other, lead in others.items() if interval(across_seeds(lead))["low"] > 0),
            }
        )
    return rows


def better(first: np.ndarray, second: np.ndarray, sign: int) -> np.ndarray:
    """Return by what share of the second the first is better, run by run."""
    return sign * (1 - first / second)


def winner(played: Mapping[str, Played], contenders: Sequence[str], sign: int) -> Row:
    """Return the best contender, the next one, and how far it is ahead.

    Contenders that did the very same are named beside it, not after it. It is clearly ahead where the paired interval
    of its lead over each of the others lies above 0; those where it does not are its ties.

    Args:
        played: name -> its numbers.
        contenders: names that may win.
        sign: 1 where less is better, -1 where more is.

    Raises:
        BadInput: there are not two contenders that differ.
    """
    value = {name: played[name].value for name in contenders}
    order = sorted(value, key=lambda name: sign * float(value[name].mean()))
    first, rest = order[0], order[1:]
    same = [name for name in rest if np.allclose(value[name], value[first], rtol=1e-9)]
    others = [name for name in rest if name not in same]
    if not others:
        raise BadInput("a winner needs two contenders that differ")
    leads = {name: interval(across_seeds(better(value[first], value[name], sign))) for name in others}
    ties = [name for name in others if not leads[name]["low"] > 0]
    return {
        "policy": first,
        "same": same,
        "second": others[0],
        "lead": leads[others[0]],
        "ties": ties,
        "clear": not ties,
    }
