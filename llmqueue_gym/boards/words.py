"""What was found, in sentences and tables of text: pure functions of results."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.standings import lead
from llmqueue_gym.evaluation.statistics import Estimate
from llmqueue_gym.policies import NOTHING, TRUTH

Row = Mapping[str, Any]
MUCH = 0.2  # share of the base's cost that a policy saves, from which its tail is looked at


def headline(on: Board, rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    """Return who leads and by how much, in a sentence; who is told the truth does not count."""
    honest = [row for row in rows if row["told"] != TRUTH]
    first, hand = honest[0]["policy"], honest[0]["best_by_hand"]
    if first != hand:
        return _leads(on, lead(on, results, first, hand), first, hand, "the best made by hand")
    if len(honest) == 1:
        return f"{first} is alone so far."
    return _leads(on, lead(on, results, first, honest[1]["policy"]), first, honest[1]["policy"], "the next")


def sentences(on: Board, rows: Sequence[Row], won: Sequence[Row], checks: Sequence[Row] = ()) -> list[str]:
    """Return who wins where, what predictions and training are worth, where the tail is long, and what theory says."""
    said = (_winners(on, won), _worth(on, rows), _tail(on, rows, won), _trained(rows), _theory(checks))
    return [words for words in said if words]


def markdown(on: Board, rows: Sequence[Row], most: int = 8) -> str:
    """Return the head of a ranking in Markdown, with every learned policy and those that are told the truth."""
    shown = [row for place, row in enumerate(rows) if place < most or row["learned"] or row["told"] == TRUTH]
    heads = [on.title, "told", "score", "95 %", f"p99 / {on.base}", *rows[0]["shown"]]
    heads.append(f"better than {rows[0]['best_by_hand']}")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in shown:
        score, name = row["score"], f"**{row['policy']}**" if row["learned"] else row["policy"]
        interval = f"{score['low']:.3f} to {score['high']:.3f}"
        better = "" if row["policy"] == row["best_by_hand"] else f"{row['better']:.2f}"
        cells = [name, row["told"], f"{score['mean']:.3f}", interval, f"{row['p99_ratio']:.2f}"]
        cells += ["late" if value == np.inf else f"{value:.2f}".replace("nan", "") for value in row["shown"].values()]
        lines.append(f"| {' | '.join([*cells, better])} |")
    return "\n".join(lines)


def percent(share: float) -> str:
    """Return a share in percent, with a true minus sign."""
    return f"{100 * share:.1f} %".replace("-0.0 ", "0.0 ").replace("-", "\N{MINUS SIGN}")


def ahead(won: Row) -> str:
    """Return whom a winner is ahead of and by how much, and with how many it ties."""
    if won["lead"] is None:
        return ""
    low, mean, high = (percent(won["lead"][end]) for end in ("low", "mean", "high"))
    ties = f", ties with {len(won['ties'])}" if won["ties"] else ""
    return f"{won['second']} by {mean} ({low} to {high}){ties}"


def measure(on: Board) -> str:
    """Return what is scored, without its unit."""
    return on.cost.partition(",")[0]


def _leads(on: Board, by: Estimate, first: str, other: str, who: str) -> str:
    interval = f"95 % interval {percent(by.low)} to {percent(by.high)}"
    if by.low <= 0 <= by.high:
        return f"{first} and {other}, {who}, are tied: the lead is {percent(by.mean)} ({interval})."
    more = "less" if by.mean > 0 else "more"
    return (
        f"{first} leads: its {measure(on)} is {percent(abs(by.mean))} {more} than that of {other}, {who} ({interval})."
    )


def _winners(on: Board, won: Sequence[Row]) -> str:
    wins = Counter(row["policy"] for row in won)
    best, count = wins.most_common(1)[0]
    where = [row for row in won if row["policy"] == best]
    rest = ", ".join(f"{name} in {times}" for name, times in wins.most_common()[1:])
    words = f"{best} has the least {measure(on)} in {count} of {len(won)} scenarios{f' ({rest})' if rest else ''}"
    leads = [(row["lead"]["mean"], row) for row in where if row["lead"] is not None]
    if leads:
        most, top = max(leads, key=lambda pair: pair[0])
        clear = sum(not row["ties"] for row in where)
        words += (
            f"; it leads the next by {percent(float(np.median([by for by, _ in leads])))} in the median and at most "
            f"{percent(most)} ({top['scenario']}, next {top['second']}), clearly ahead of all in {clear} of {count}"
        )
    change = ": the winner changes with the scenario" if len(wins) > 1 else ""
    return f"{words}{change}."


def _worth(on: Board, rows: Sequence[Row]) -> str:
    """Say what the best gains, and the best without predictions."""
    best = next(row for row in rows if row["told"] != TRUTH)
    blind = next((row for row in rows if row["told"] == NOTHING), None)
    gained = f"{best['policy']} gains {best['score']['mean']:.0%} of what there is to gain over {on.base}"
    if blind is None or best["score"]["mean"] <= 0:
        return ""
    if blind["policy"] == best["policy"]:
        return f"By score {gained}, without predictions."
    if blind["policy"] == on.base or blind["score"]["mean"] < 0.005:
        return f"By score {gained}; without predictions nobody is better than {on.base}."
    return f"By score {gained}; without predictions {blind['policy']} is the best, with {blind['score']['mean']:.0%}."


def _tail(on: Board, rows: Sequence[Row], won: Sequence[Row]) -> str:
    """Say where the mean and the 99th percentile pull apart."""
    base = {
        scenario["scenario"]: scenario["cost"]["mean"]
        for row in rows
        if row["policy"] == on.base
        for scenario in row["scenarios"]
    }
    pairs = [(row, at) for row in rows if row["told"] != TRUTH for at in row["scenarios"]]
    saved = [(row, at) for row, at in pairs if at["cost"]["mean"] <= (1 - MUCH) * base[at["scenario"]]]
    worse = [(row, at) for row, at in saved if at["p99_ratio"] > 1.2]
    if not worse:
        return ""
    row, at = max(worse, key=lambda pair: pair[1]["p99_ratio"])
    above = sum(one["p99_over_base"] > 1 for one in won)
    return (
        f"Mean and 99th percentile pull apart: in {at['scenario']!r} {row['policy']} has a mean "
        f"{percent(1 - at['cost']['mean'] / base[at['scenario']])} below that of {on.base} and a p99 "
        f"{at['p99_ratio']:.1f} times as high; in {above} of {len(won)} scenarios the winner's p99 is above that of "
        f"{on.base}."
    )


def _trained(rows: Sequence[Row]) -> str:
    """Say where the best trained policy stands among those that are not told the truth; nothing where there is none."""
    honest = [row for row in rows if row["told"] != TRUTH]
    trained = next((row for row in honest if row["learned"]), None)
    by_hand = next((row for row in honest if not row["learned"]), None)
    if trained is None or by_hand is None:
        return ""
    scores = [
        f"{row['score']['mean']:.3f} ({row['score']['low']:.3f} to {row['score']['high']:.3f})"
        for row in (trained, by_hand)
    ]
    return (
        f"The best trained policy, {trained['policy']}, is number {honest.index(trained) + 1} of {len(honest)} with a "
        f"score of {scores[0]}; the best by hand, {by_hand['policy']}, has {scores[1]}."
    )


def _theory(checks: Sequence[Row]) -> str:
    """Say how many exact values lie inside the interval of their simulation."""
    exact = [row for row in checks if "inside" in row]
    if not exact:
        return ""
    inside = sum(row["inside"] for row in exact)
    return (
        f"{inside} of {len(exact)} exact values lie inside the 95 % interval of their simulation (about "
        f"{0.95 * len(exact):.0f} expected; runs share random numbers, so misses come together)."
    )
