"""From stored results to a ranking: a pure function, in which nothing is played.

The score of a run is (base - x) / (base - bound), where x is the cost, base that of first come first served (for
dispatchers that of a queue drawn at random) and bound what no policy undercuts, all on the same jobs: 0 is the base and
1 cannot be beaten. One run counts -1 at worst. A policy's score is the interquartile mean over all scenarios and seeds,
with the interval of a bootstrap that draws seeds anew within each scenario. `better` is the probability of improvement
over the best policy that was made by hand and is told no more than predictions: how often it has the less cost on the
very same jobs, ties counting half.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import across_seeds, interquartile_mean, stratified_bootstrap
from llmqueue_gym.leaderboard.boards import Board
from llmqueue_gym.leaderboard.entries import TRUTH
from llmqueue_gym.leaderboard.run import BOUND

Row = dict[str, Any]
WORST = -1.0


def table(on: Board, results: Mapping[str, Row]) -> list[Row]:
    """Return a row for each policy, best first, those that are told the truth last.

    Args:
        on: the board.
        results: stored results by policy, the base and the bound among them.

    Raises:
        BadInput: one of these is missing, or a result is not of this version's scenarios.
    """
    for needed in (BOUND, on.base):
        if needed not in results:
            raise BadInput(f"board {on.name!r} has no result of {needed!r}; play it with: llmqueue leaderboard run")
    cost = {name: costs(on, row) for name, row in results.items()}
    score = {name: scores(on, cost, name) for name in cost if name != BOUND}
    honest = {name: interquartile_mean(score[name]) for name in score if results[name]["sees"] != TRUTH}
    by_hand = {name: value for name, value in honest.items() if not results[name]["learned"]}
    best = max(by_hand, key=lambda name: (by_hand[name], name))
    rows = [_row(on, results, cost, score, name, best) for name in score]
    return sorted(rows, key=lambda row: (row["sees"] == TRUTH, -row["score"]["mean"], row["policy"]))


def costs(on: Board, result: Row, metric: str = "cost") -> np.ndarray:
    """Return a metric of a result `(seeds, arenas)`.

    Raises:
        BadInput: it is not of this version's scenarios.
    """
    try:
        columns = [result["arenas"][arena.name][metric] for arena in on.arenas]
        found = np.array(columns, float).T
    except (KeyError, ValueError):
        found = np.zeros((0, 0))
    if found.shape != (len(on.seeds), len(on.arenas)):
        raise BadInput(f"the result of {result['policy']!r} is not of the scenarios of board {on.name!r}; run it again")
    return found


def scores(on: Board, cost: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Return the scores of a policy `(seeds, arenas)`."""
    gain = (cost[on.base] - cost[name]) / (cost[on.base] - cost[BOUND])
    return np.maximum(gain, WORST)


def _row(
    on: Board,
    results: Mapping[str, Row],
    cost: Mapping[str, np.ndarray],
    score: Mapping[str, np.ndarray],
    name: str,
    best: str,
) -> Row:
    result, estimate = results[name], stratified_bootstrap(score[name])
    p99 = costs(on, result, "p99") / costs(on, results[on.base], "p99")
    return {
        "policy": name,
        "sees": result["sees"],
        "learned": result["learned"],
        "description": result["description"],
        "command": result["command"],
        "score": {"mean": estimate.mean, "low": estimate.low, "high": estimate.high},
        "p99_ratio": interquartile_mean(p99),
        "best_by_hand": best,
        "better": float((np.sign(cost[best] - cost[name]) + 1).mean() / 2),
        "arenas": [_arena(on, cost, score, p99, name, best, k) for k in range(len(on.arenas))],
    }


def _arena(
    on: Board,
    cost: Mapping[str, np.ndarray],
    score: Mapping[str, np.ndarray],
    p99: np.ndarray,
    name: str,
    best: str,
    k: int,
) -> Row:
    """Return the numbers of a policy in one arena, with 95 % intervals over seeds."""
    with np.errstate(invalid="ignore"):  # who is never done has an infinite cost, and no interval
        own = across_seeds(cost[name][:, k])
        lead = across_seeds(1 - cost[name][:, k] / cost[best][:, k])  # on the same jobs: tighter than the means
    return {
        "arena": on.arenas[k].name,
        "cost": {"mean": own.mean, "low": own.low, "high": own.high},
        "score": float(score[name][:, k].mean()),
        "p99_ratio": float(p99[:, k].mean()),
        "ahead_of_best": {"mean": lead.mean, "low": lead.low, "high": lead.high},
    }


def markdown(on: Board, rows: list[Row], most: int = 8) -> str:
    """Return the head of a ranking in Markdown, with every learned policy and those that are told the truth."""
    shown = [row for place, row in enumerate(rows) if place < most or row["learned"] or row["sees"] == TRUTH]
    lines = [
        f"| {on.title} | told | score | 95 % | p99 / {on.base} | better than {rows[0]['best_by_hand']} |",
        "|---|---|---|---|---|---|",
    ]
    for row in shown:
        score, name = row["score"], f"**{row['policy']}**" if row["learned"] else row["policy"]
        interval = f"{score['low']:.3f} to {score['high']:.3f}"
        better = "" if row["policy"] == row["best_by_hand"] else f"{row['better']:.2f}"
        lines.append(
            f"| {name} | {row['sees']} | {score['mean']:.3f} | {interval} | {row['p99_ratio']:.2f} | {better} |"
        )
    return "\n".join(lines)
