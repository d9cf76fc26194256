"""The track in words: one sentence per block, and the tables that a terminal shows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from llmqueue_gym.evaluation.bench.data import told
from llmqueue_gym.evaluation.bench.mg1.cases import BLOCKS
from llmqueue_gym.evaluation.bench.terminal import new_table, show_ranking

Row = Mapping[str, Any]


def sentences(found: Row) -> dict[str, str]:
    """Return one sentence for each block that was played, and one on the exact values."""
    words = {}
    for block in BLOCKS:
        cases = [case for case in found["cases"] if case["block"] == block]
        if cases:
            words[block] = _winners([case for case in cases if case["predictor"] != "exact"] or cases, block)
            if block in found["data"]:
                words[block] += " " + told(found["data"][block])
    check = found["check"]
    if check["of"]:
        words["check"] = (
            f"{check['inside']} of {check['of']} exact mean response times lie inside the 95% interval of their "
            f"simulation (about {0.95 * check['of']:.0f} expected; runs share random numbers, so misses come together)."
        )
        off = outside(found)
        if off:
            case, row = off[0]
            error = row["mean_response_time"]["mean"] / row["exact"] - 1
            words["check"] += f" The furthest off is {row['policy']} on {title(case)}: {error:+.1%}."
    return words


def title(case: Row) -> str:
    """Return a case in a few words."""
    predicted = "exact predictions" if case["predictor"] == "exact" else f"predictor {case['predictor']}"
    size = case["size"] if case["block"] == "synthetic" else f"{case['block']} {case['size']}"
    return f"{size}, {predicted}, load {case['load']:g}"


def outside(found: Row) -> list[tuple[Row, Row]]:
    """Return the cases and policies whose exact value lies outside the interval, the furthest off first."""
    missed, seen = [], set()
    for case in found["cases"]:
        for row in case["policies"]:
            key = case["size"], case["load"], row["policy"], row.get("exact")
            if row.get("exact_inside") is False and key not in seen:  # a blind policy stands in several cases
                seen.add(key)
                missed.append((case, row))
    return sorted(missed, key=lambda pair: -abs(pair[1]["mean_response_time"]["mean"] / pair[1]["exact"] - 1))


def _winners(cases: list[Row], block: str) -> str:
    wins = Counter(case["winner"]["policy"] for case in cases)
    best, count = wins.most_common(1)[0]
    won = [case for case in cases if case["winner"]["policy"] == best]
    clear = sum(case["winner"]["clear"] for case in won)
    leads = [case["winner"]["lead"]["mean"] for case in won]
    top = max(won, key=lambda case: case["winner"]["lead"]["mean"])
    kind = "noisy" if any(case["predictor"] != "exact" for case in cases) else "exact"
    rest = ", ".join(f"{name} in {wins[name]}" for name in wins if name != best)
    return (
        f"{BLOCKS[block]}, {len(cases)} cases with {kind} predictions: {best} has the lowest mean response time in "
        f"{count}{f' ({rest})' if rest else ''}; it leads the next policy by {np.median(leads):.1%} in the median and "
        f"at most {max(leads):.1%} ({title(top)}, next {top['winner']['second']}), clearly so in {clear} of {count}."
    )


def show(found: Row, console: Console) -> None:
    """Print the ranking, the winners on measured data and the sentences."""
    show_ranking(found, console, "One server: ranking over all cases", "noisy")
    console.print("[dim]Score: 0 is FCFS, 1 is SRPT; interquartile mean over all cases, bootstrapped.[/dim]")
    console.print("[dim]p99: over that of FCFS. Noisy: the score where predictions are wrong at times.[/dim]\n")
    measured = [case for case in found["cases"] if case["block"] != "synthetic"]
    if measured:
        table = new_table("Winners on measured jobs")
        for column in ("jobs", "predictor", "load", "winner", "next", "ahead by, 95%"):
            table.add_column(column, overflow="fold")
        for case in measured:
            won, lead = case["winner"], case["winner"]["lead"]
            name = won["policy"] + (f" (+{len(won['same'])} alike)" if won["same"] else "")
            ahead = f"{lead['mean']:.1%} ({lead['low']:.1%} to {lead['high']:.1%})" + ("" if won["clear"] else " a tie")
            table.add_row(case["block"], case["predictor"], f"{case['load']:g}", name, won["second"], ahead)
        console.print(table)
    for sentence in found["sentences"].values():
        console.print(f"\n{sentence}", highlight=False)
