"""The track in words, computed from its numbers, and the tables that a terminal shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from llmqueue_gym.evaluation.bench.information import NOTHING, TRUTH
from llmqueue_gym.evaluation.bench.servers.cases import BLOCKS, DISPATCH
from llmqueue_gym.evaluation.bench.terminal import new_table, show_ranking

Row = Mapping[str, Any]


def sentences(found: Row) -> dict[str, str]:
    """Return a paragraph for each block that was played, and one on what theory says."""
    words = {}
    for block in found["ranking"]:
        cases = [case for case in found["cases"] if case["block"] == block]
        words[block] = f"{_winners(cases, 'winner')} {_scores(found, block)}"
        if block == DISPATCH:
            words[block] += f" Of those that look at no more than two queues, {_winners(cases, 'winner_of_two', '')}"
        full = Counter(row["policy"] for case in cases for row in case["policies"] if row["overloaded"])
        if full:
            told = ", ".join(f"{name} in {count}" for name, count in full.most_common())
            words[block] += f" Overloaded, as it packs too badly for the load: {told} of {len(cases)} cases."
    check = found["check"]
    if check["of"]:
        words["check"] = (
            f"{check['inside']} of {check['of']} exact values lie inside the 95% interval of their simulation (about "
            f"{0.95 * check['of']:.0f} expected; runs share random numbers, so misses come together)."
        )
    return words


def headline(found: Row) -> str:
    """Return what came out, in a line: the best of each block and what it gains there."""
    parts = []
    for block in found["ranking"]:
        best = best_of(found, block)
        parts.append(f"{BLOCKS[block].title.lower()}: {best['policy']} ({best['score']['mean']:.0%})")
    words = "; ".join(parts)
    return f"{words[0].upper()}{words[1:]}"


def best_of(found: Row, block: str, blind: bool = False) -> Row:
    """Return the first in the ranking of a block that is not told the truth, or is told nothing."""
    rows = found["ranking"][block]
    return next(row for row in rows if (row["sees"] == NOTHING if blind else row["sees"] != TRUTH))


def title(case: Row) -> str:
    """Return a case in a few words."""
    predicted = "exact predictions" if case["predictor"] == "exact" else f"predictor {case['predictor']}"
    return f"{case['servers']} servers, {case['size']}, {predicted}, load {case['load']:g}"


def named(won: Row) -> str:
    """Return the name of a winner with those that did the same, and how many tie."""
    same = f" (same: {', '.join(won['same'])})" if won["same"] else ""
    return f"{won['policy']}{same}"


def _winners(cases: Sequence[Row], key: str, start: str | None = None) -> str:
    block = BLOCKS[cases[0]["block"]]
    wins = Counter(case[key]["policy"] for case in cases)
    best, count = wins.most_common(1)[0]
    won = [case for case in cases if case[key]["policy"] == best]
    clear = sum(case[key]["clear"] for case in won)
    leads = [case[key]["lead"]["mean"] for case in won]
    top = max(won, key=lambda case: case[key]["lead"]["mean"])
    rest = ", ".join(f"{name} in {times}" for name, times in wins.most_common()[1:])
    what = "has the least mean response time" if block.measure == "time" else "serves the largest share of the jobs"
    return (
        f"{f'{block.title}, {len(cases)} cases: ' if start is None else start}{best} {what} in "
        f"{count}{f' ({rest})' if rest else ''}; it leads the next by {np.median(leads):.1%} in the median and at most "
        f"{max(leads):.1%} ({title(top)}, next {top[key]['second']}), clearly ahead of all in {clear} of {count}."
    )


def _scores(found: Row, block: str) -> str:
    best, blind = best_of(found, block), best_of(found, block, blind=True)
    kind = BLOCKS[block]
    words = f"By score {best['policy']} goes {best['score']['mean']:.0%} of the way from {kind.base} to {kind.bound}"
    if blind is best:
        return f"{words}, without predictions."
    return f"{words}; without predictions {blind['policy']} is the best, with {blind['score']['mean']:.0%}."


def show(found: Row, console: Console) -> None:
    """Print the ranking of each block, the winners and the sentences."""
    for block, rows in found["ranking"].items():
        kind = BLOCKS[block]
        top = max(case["load"] for case in found["cases"] if case["block"] == block)
        console.print()
        show_ranking({"ranking": rows}, console, f"{kind.title}: ranking within this block", f"load {top:g}")
        words = f"Score: 0 is {kind.base}, 1 is {kind.bound}, which nobody can beat; p99 over that of {kind.base}."
        console.print(f"[dim]{words}[/dim]")
    table = new_table("Winners")
    for column in ("block", "servers", "sizes", "predictor", "load", "winner", "next", "ahead by, 95%"):
        table.add_column(column, overflow="fold")
    for case in found["cases"]:
        won, lead = case["winner"], case["winner"]["lead"]
        name = won["policy"] + (f" (+{len(won['same'])} alike)" if won["same"] else "")
        ahead = f"{lead['mean']:.1%} ({lead['low']:.1%} to {lead['high']:.1%})"
        what = case["block"], str(case["servers"]), case["size"], case["predictor"], f"{case['load']:g}"
        table.add_row(*what, name, won["second"], ahead + (f", ties with {len(won['ties'])}" if won["ties"] else ""))
    console.print(table)
    for sentence in found["sentences"].values():
        console.print(f"\n{sentence}", highlight=False)
