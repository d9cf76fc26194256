"""Where contestants stand in one case: ratios to FCFS with intervals, scores, the winners. Pure functions of numbers.

Everything is a ratio within a run, because what makes one run slower than another is common to all. Intervals are
Student's t over runs.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from llmqueue_gym.evaluation.bench.llm.play import Played
from llmqueue_gym.evaluation.bench.ranking import BASE, Row, interval, scores
from llmqueue_gym.evaluation.statistics import across_seeds

KINDS = ("mean", "p99")


def case_rows(played: Mapping[str, Played], floor: np.ndarray) -> list[Row]:
    """Return a row for each contestant in one case.

    Args:
        played: name -> its numbers; `fcfs` among them.
        floor: of the mean latency, by run `(runs,)`, s.
    """
    base, rows = played[BASE], []
    for name, numbers in played.items():
        rows.append(
            {
                "policy": name,
                "mean": float(numbers.mean.mean()),
                "mean_over_fcfs": interval(across_seeds(numbers.mean / base.mean)),
                "p99": float(numbers.p99.mean()),
                "p99_over_fcfs": interval(across_seeds(numbers.p99 / base.p99)),
                "score": float(scores(base.mean, numbers.mean, floor).mean()),
                "ttft": float(numbers.ttft.mean()),
                "ttft_over_fcfs": float((numbers.ttft / base.ttft).mean()),
                "longest_over_fcfs": float((numbers.longest / base.longest).mean()),
                "preemptions_per_100": float(numbers.preemptions.mean()),
                "undone": float(numbers.undone.mean()),
            }
        )
    return rows


def winner(kind: str, played: Mapping[str, Played], contenders: Sequence[str]) -> Row:
    """Return the contender of least mean or p99, relative to FCFS, and whether it is ahead of all others.

    Contenders that did the very same are named beside it, not after it. It is clearly ahead where the paired interval
    of its lead over each of the others lies above 0; those where it does not are its ties.

    Args:
        kind: one of `KINDS`.
        played: name -> its numbers.
        contenders: names that may win; those that left requests undone do not.
    """
    values = {name: getattr(played[name], kind) for name in contenders if not played[name].undone.any()}
    base = getattr(played[BASE], kind)
    order = sorted(values, key=lambda name: float((values[name] / base).mean()))
    first = order[0]
    same = [name for name in order[1:] if np.allclose(values[name], values[first], rtol=1e-9)]
    others = [name for name in order[1:] if name not in same]
    leads = {name: interval(across_seeds(1 - values[first] / values[name])) for name in others}
    ties = [name for name in others if not leads[name]["low"] > 0]
    return {
        "policy": first,
        "same": same,
        "second": others[0] if others else None,
        "lead": leads[others[0]] if others else None,
        "ties": ties,
        "clear": bool(others) and not ties,
    }
