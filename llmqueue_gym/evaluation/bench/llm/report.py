"""The track in words, computed from its numbers, and the tables that a terminal shows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from llmqueue_gym.evaluation.bench.data import told
from llmqueue_gym.evaluation.bench.llm.cases import BLOCKS
from llmqueue_gym.evaluation.bench.ranking import BASE
from llmqueue_gym.evaluation.bench.terminal import new_table, show_ranking

Row = Mapping[str, Any]
SECONDS = "remaining-seconds"
# Orders that differ in the rank alone: nobody is displaced, memory is asked for what is known.
ORDERS = {
    "sjf": "output",
    "sjf-total": "prompt + output",
    "memory-time": "memory x time",
    SECONDS: "seconds of the GPU",
}
RESERVES = ((BASE, "mc-fcfs"), ("sjf", "mc-sf"))  # one order without and with room kept for output to come
MUCH = 0.2  # share of the mean that a policy saves, from which its tail is looked at


def sentences(found: Row) -> dict[str, str]:
    """Return a sentence on each of the questions of the track; the last one says who won where."""
    cases = at_top(found)
    words = {"load": _load(found), "orders": _orders(cases), "tail": _tail(cases), "reserve": _reserve(found)}
    words["winner"] = _winners(cases)
    return {key: text for key, text in words.items() if text}


def headline(found: Row) -> str:
    """Return what came out, in a line."""
    wins = _wins(at_top(found))
    best, count = wins.most_common(1)[0]
    of, load = sum(wins.values()), at_top(found)[0]["load"]
    if len(wins) == 1:
        return f"{best.capitalize()} has the least mean latency wherever the load is {load:g}"
    return f"No policy wins everywhere: at load {load:g} {best} has the least mean latency in {count} of {of} cases"


def at_top(found: Row, noisy: bool = True) -> list[Row]:
    """Return the cases at the highest load, with predictions that are wrong at times where there are any."""
    load = max(case["load"] for case in found["cases"])
    cases = [case for case in found["cases"] if case["load"] == load]
    return [case for case in cases if (case["predictor"] != "exact") == noisy] or cases


def place(case: Row) -> str:
    """Return workload and profile in words."""
    return f"{BLOCKS[case['block']]} on {case['profile']}"


def row_of(case: Row, name: str) -> Row | None:
    """Return the row of a policy in a case, or None where it was not played."""
    return next((row for row in case["policies"] if row["policy"] == name), None)


def best_order(case: Row, orders: Collection[str] = tuple(ORDERS)) -> str:
    """Return the one of some `ORDERS` that has the least mean."""
    rows = [row for row in case["policies"] if row["policy"] in orders]
    return min(rows, key=lambda row: row["mean_over_fcfs"]["mean"])["policy"]


def gain(row: Row) -> str:
    """Return a ratio to FCFS in words."""
    change = row["mean"] - 1
    return f"{abs(change):.0%} {'below' if change < 0 else 'above'}"


def _wins(cases: Sequence[Row]) -> Counter[str]:
    return Counter(case["winner"]["mean"]["policy"] for case in cases)


def _winners(cases: Sequence[Row]) -> str:
    wins = _wins(cases)
    parts = []
    for name, count in wins.most_common():
        won = [case for case in cases if case["winner"]["mean"]["policy"] == name]
        gains = [1 - row_of(case, name)["mean_over_fcfs"]["mean"] for case in won]  # type: ignore[index]
        by = f"{min(gains):.0%} to {max(gains):.0%}" if count > 1 else f"{gains[0]:.0%}"
        clear = sum(case["winner"]["mean"]["clear"] for case in won)
        where = ", ".join(place(case) for case in won)
        sure = f"clearly ahead of all others in {clear}" if clear else "tied with others"
        parts.append(f"{name} in {count} (by {by} below FCFS, {sure}: {where})")
    end = "so the winner changes with the workload" if len(wins) > 1 else "so the winner is the same everywhere"
    return (
        f"At load {cases[0]['load']:g}, predictions {cases[0]['predictor']}, the least mean end-to-end time has "
        f"{'; '.join(parts)}: {end}."
    )


def _load(found: Row) -> str:
    loads = sorted({case["load"] for case in found["cases"]})
    if len(loads) < 2:
        return ""
    parts = []
    predictor = at_top(found)[0]["predictor"]
    for load in loads:
        cases = [case for case in found["cases"] if (case["load"], case["predictor"]) == (load, predictor)]
        if not cases:
            continue
        best = [row_of(case, case["winner"]["mean"]["policy"]) for case in cases]
        gains = [1 - row["mean_over_fcfs"]["mean"] for row in best if row]
        parts.append(f"{np.median(gains):.0%} at load {load:g} (at most {max(gains):.0%})")
    return f"The best policy's mean lies below that of FCFS by {', '.join(parts)}; medians over cases."


def _orders(cases: Sequence[Row]) -> str:
    plain = [name for name in ORDERS if name != SECONDS]
    wins = Counter(best_order(case, plain) for case in cases)
    parts = [f"by {ORDERS[name]} ({name}) in {count}" for name, count in wins.most_common()]
    seconds = sum(best_order(case) == SECONDS for case in cases)
    return (
        f"Of {len(plain)} orders that need no cost profile and differ in nothing but the rank, the best mean comes "
        f"{', '.join(parts)} of {len(cases)} cases; the order by {ORDERS[SECONDS]} ({SECONDS}) beats them in {seconds}."
    )


def _tail(cases: Sequence[Row]) -> str:
    rows = [(case, row) for case in cases for row in case["policies"] if row["may_win"] and not row["undone"]]
    saved = [pair for pair in rows if pair[1]["mean_over_fcfs"]["mean"] <= 1 - MUCH]
    if not saved:
        return ""
    case, row = max(saved, key=lambda pair: pair[1]["p99_over_fcfs"]["mean"])
    best = [row_of(case, case["winner"]["mean"]["policy"]) for case in cases]
    worse = sum(found["p99_over_fcfs"]["mean"] > 1 for found in best if found)
    return (
        f"Mean and p99 pull apart: {row['policy']} has a mean {gain(row['mean_over_fcfs'])} FCFS's and a p99 "
        f"{row['p99_over_fcfs']['mean']:.1f} times as high ({place(case)}). In {worse} of {len(cases)} cases the "
        "policy of least mean has a greater p99 than FCFS."
    )


def _reserve(found: Row) -> str:
    parts: list[str] = []
    for noisy in (False, True):
        cases = [case for case in at_top(found, noisy) if (case["predictor"] != "exact") == noisy]
        pairs = [(case, row_of(case, RESERVES[0][0]), row_of(case, RESERVES[0][1])) for case in cases]
        known = [(case, without, within) for case, without, within in pairs if without and within]
        if known:
            case, without, within = max(known, key=lambda found: found[1]["preemptions_per_100"])
            first = "" if parts else f"{without['preemptions_per_100']:.0f} times per 100 requests on {place(case)}, "
            kind = "wrong at times" if noisy else "exact"
            ratio = within["mean_over_fcfs"]["mean"]
            parts.append(
                f"{first}{within['preemptions_per_100']:.0f} times with room kept for predicted output "
                f"({RESERVES[0][1]}) where predictions are {kind}, at {ratio:.2f} of the mean"
            )
    return f"Admission that keeps no room for output to come has FCFS preempt {', '.join(parts)}." if parts else ""


def show(found: Row, console: Console) -> None:
    """Print the ranking, the winners at the highest load and the sentences, who won where last."""
    console.print()
    top = at_top(found)
    load = f"load {top[0]['load']:g}"
    show_ranking(found, console, "LLM batching: ranking over all cases", load)
    console.print("[dim]Score: 0 is FCFS, 1 is a floor that nobody can beat; interquartile mean over all cases.[/dim]")
    console.print(f"[dim]p99: over that of FCFS. Last column: the score at {load} of the capacity of FCFS.[/dim]\n")
    table = new_table(f"At {load}, predictions {top[0]['predictor']}")
    for column in ("workload", "profile", "least mean", "mean", "p99", "pre. / FCFS"):
        table.add_column(column, no_wrap=True)
    for case in top:
        won = case["winner"]["mean"]
        row, base = row_of(case, won["policy"]), row_of(case, BASE)
        if row and base:
            ratios = (f"{row[f'{kind}_over_fcfs']['mean']:.2f}" for kind in ("mean", "p99"))
            often = (f"{found['preemptions_per_100']:.0f}" for found in (row, base))
            name = won["policy"] + ("" if won["clear"] else "*")
            table.add_row(case["block"], case["profile"].removeprefix("a100-"), name, *ratios, " / ".join(often))
    console.print(table)
    console.print(
        "[dim]Mean and p99 over those of FCFS; preemptions (pre.) per 100 requests. * ties with others.[/dim]"
    )
    embedded = {note["used"] for note in found["data"].values() if note["embedded"]}
    for block, note in found["data"].items():
        if note["embedded"] and any(case["block"] == block for case in found["cases"]):
            console.print(f"{BLOCKS[block]}: {told(note)}", highlight=False)
    if embedded:
        console.print()
    for sentence in found["sentences"].values():
        console.print(f"\n{sentence}", highlight=False)
