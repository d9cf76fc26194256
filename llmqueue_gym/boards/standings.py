"""From results to a ranking: a pure function of numbers, in which nothing is played.

There is one score. That of a run is (base - x) / (base - bound), where x is the cost, base that of who has score 0
(first come first served; for dispatchers a queue drawn at random) and bound what no policy undercuts, all on the same
jobs. Its reasons:

* nobody comes above 1, not even who is told everything, so what is left to gain can be read off;
* it is a share of what there is to gain, so that scenarios with costs of milliseconds and of minutes count alike;
* a run counts -1 at worst, and a ranking shows the interquartile mean over all scenarios and seeds, so that one run or
  scenario that goes wrong does not decide it. Its interval is that of a bootstrap which draws seeds anew within each
  scenario (Agarwal et al., NeurIPS 2021).

`better` is the probability of improvement over the best policy that was made by hand and is told no more than
predictions: how often it has the less cost on the very same jobs, ties counting half.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.measured import shown
from llmqueue_gym.boards.play import BOUND
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import Estimate, across_seeds, interquartile_mean, stratified_bootstrap
from llmqueue_gym.policies import TRUTH

Row = dict[str, Any]
Results = Mapping[str, Row]  # by name of the policy, the bound among them
WORST = -1.0


def ranking(on: Board, results: Results) -> list[Row]:
    """Return a row for each policy, best first, those that are told the truth last.

    Args:
        on: the board.
        results: by policy, the base and the bound among them.

    Raises:
        BadInput: one of these is missing, or a result is not of this version's scenarios.
    """
    for needed in (BOUND, on.base):
        if needed not in results:
            raise BadInput(f"board {on.name!r} has no result of {needed!r}; play it with: llmqueue leaderboard run")
    cost = {name: numbers(on, row) for name, row in results.items()}
    score = {name: scores(cost[on.base], cost[name], cost[BOUND]) for name in cost if name != BOUND}
    best = best_by_hand(results, score)
    p99 = {name: numbers(on, results[name], "p99") / numbers(on, results[on.base], "p99") for name in score}
    rows = [_row(on, results[name], cost, score, p99[name], best, shown(on, results, name)) for name in score]
    return sorted(rows, key=lambda row: (row["told"] == TRUTH, -row["score"]["mean"], row["policy"]))


def numbers(on: Board, result: Row, metric: str = "cost") -> np.ndarray:
    """Return a metric of a result `(seeds, scenarios)`.

    Raises:
        BadInput: it is not of this version's scenarios.
    """
    try:
        found = np.array([result["scenarios"][name][metric] for name in on.fields], float).T
    except (KeyError, ValueError):
        found = np.zeros((0, 0))
    if found.shape != (len(on.seeds), len(on.fields)):
        raise BadInput(f"the result of {result['policy']!r} is not of the scenarios of board {on.name!r}; run it again")
    return found


def scores(base: np.ndarray, cost: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Return the scores of runs, all of one shape; where base and bound meet, who is worse than them has the worst."""
    room, gain = base - bound, base - cost
    found = np.divide(gain, room, out=np.where(gain < 0, WORST, 0.0), where=room > 0)
    return np.maximum(found, WORST)


def best_by_hand(results: Results, score: Mapping[str, np.ndarray]) -> str:
    """Return who has the best score of those that were made by hand and are not told the truth."""
    middle = {name: interquartile_mean(score[name]) for name in score if results[name]["told"] != TRUTH}
    by_hand = {name: value for name, value in middle.items() if not results[name]["learned"]} or middle
    return max(by_hand, key=lambda name: (by_hand[name], name))


def lead(on: Board, results: Results, ahead: str, behind: str) -> Estimate:
    """Return by what share the cost of one policy is less than another's on the same jobs, with a 95 % interval.

    It is the interquartile mean over all scenarios and seeds, with the interval of the bootstrap within scenarios.
    """
    a, b = numbers(on, results[ahead]), numbers(on, results[behind])
    share = np.divide(a, b, out=np.ones_like(a), where=(a != b) & np.isfinite(b) & (b != 0))
    return stratified_bootstrap(np.maximum(1 - share, -1.0))


def winners(on: Board, results: Results) -> list[Row]:
    """Return for each scenario who has the least cost, and how far it is ahead, and who has the least 99th percentile.

    Costs and percentiles are taken over those of the base on the same jobs, and the mean over seeds is the least. Those
    that are told the truth win nothing. Who did the very same as the winner is named beside it, not after it. It is
    clearly ahead where the paired interval of its lead over each of the others lies above 0; those where it does not
    are its ties. The interval is not corrected for having picked the best from the same runs.
    """
    names = [name for name, row in results.items() if name != BOUND and row["told"] != TRUTH]
    cost, p99 = ({name: numbers(on, results[name], metric) for name in results if name != BOUND} for metric in _TWO)
    rows = []
    for k, scenario in enumerate(on.fields):
        share = {name: _over(cost[name], cost[on.base], k) for name in names}  # on the same jobs
        first, *rest = sorted(names, key=lambda name: (share[name], name))
        same = [name for name in rest if np.allclose(cost[name][:, k], cost[first][:, k], rtol=1e-9)]
        others = [name for name in rest if name not in same]
        leads = {name: interval(across_seeds(_ahead(cost[first][:, k], cost[name][:, k]))) for name in others}
        tail = min(names, key=lambda name: _over(p99[name], p99[on.base], k))
        rows.append(
            {
                "scenario": scenario,
                "policy": first,
                "same": same,
                "second": others[0] if others else None,
                "lead": leads[others[0]] if others else None,
                "ties": [name for name in others if not leads[name]["low"] > 0],
                "cost_over_base": share[first],
                "p99_over_base": _over(p99[first], p99[on.base], k),
                "least_p99": tail,
                "least_p99_over_base": _over(p99[tail], p99[on.base], k),
            }
        )
    return rows


def interval(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as it is stored."""
    return {"mean": float(estimate.mean), "low": float(estimate.low), "high": float(estimate.high)}


_TWO = ("cost", "p99")


def _mean(values: list[float]) -> float:
    """Return the mean over the scenarios in which there is anything; NaN where there is nothing."""
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else np.nan


def _over(values: np.ndarray, base: np.ndarray, k: int) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((values[:, k] / base[:, k]).mean())


def _ahead(cost: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return by what share costs are less than others; who is never done has an infinite one."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(cost == other, 0.0, 1 - cost / other)


def _row(
    on: Board,
    result: Row,
    cost: Mapping[str, np.ndarray],
    score: Mapping[str, np.ndarray],
    p99: np.ndarray,
    best: str,
    beside: Mapping[str, list[float]],
) -> Row:
    name = result["policy"]
    return {
        "policy": name,
        **{key: result[key] for key in ("told", "learned", "description", "command")},
        "score": interval(stratified_bootstrap(score[name])),
        "p99_ratio": interquartile_mean(p99),
        "best_by_hand": best,
        "better": float((np.sign(cost[best] - cost[name]) + 1).mean() / 2),
        "shown": {head: _mean(values) for head, values in beside.items()},
        "scenarios": [
            {
                **_scenario(on, cost, score[name], p99, name, best, k),
                "shown": {head: values[k] for head, values in beside.items()},
            }
            for k in range(len(on.fields))
        ],
    }


def _scenario(
    on: Board, cost: Mapping[str, np.ndarray], score: np.ndarray, p99: np.ndarray, name: str, best: str, k: int
) -> Row:
    """Return the numbers of a policy in one scenario, with 95 % intervals over seeds."""
    with np.errstate(invalid="ignore"):  # who is never done has an infinite cost, and no interval
        own = across_seeds(cost[name][:, k])
        by = across_seeds(1 - cost[name][:, k] / cost[best][:, k])  # on the same jobs: tighter than the means
    return {
        "scenario": list(on.fields)[k],
        "cost": interval(own),
        "score": float(score[:, k].mean()),
        "p99_ratio": float(p99[:, k].mean()),
        "ahead_of_best": interval(by),
    }
