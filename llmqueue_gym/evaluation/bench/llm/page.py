"""The track's part of the page."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.evaluation.bench import drawing
from llmqueue_gym.evaluation.bench.blocks import numbers, ranking
from llmqueue_gym.evaluation.bench.information import TRUTH
from llmqueue_gym.evaluation.bench.llm.cases import BLOCKS
from llmqueue_gym.evaluation.bench.llm.play import LATE
from llmqueue_gym.evaluation.bench.llm.report import ORDERS, RESERVES, at_top, best_order, place, row_of
from llmqueue_gym.evaluation.bench.parts import number, tr, word
from llmqueue_gym.evaluation.bench.ranking import BASE

Row = Mapping[str, Any]
TICKS, UP = (0.25, 0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 2.0, 4.0, 8.0)  # of the planes: means, and 99th percentiles
SIZES = ((100.0, 8.0), (10.0, 6.0), (1.0, 4.5), (0.0, 3.0))  # preemptions per 100 requests, radius in px
_RANKED = (*BLOCKS, "noisy", "exact")
_FLOOR = "The floor is a lower bound that no policy may reach, so a score of 1 need not be possible."
_UNITS = "Times in seconds are means over runs; ratios are means of the ratios within runs."


def section(found: Row) -> str:
    """Return the sections of a result."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    top, words = at_top(found), found["sentences"]
    loads = sorted({case["load"] for case in found["cases"]})
    kinds = {kind: kind for kind in (*(f"load {load:g}" for load in loads), *_RANKED)}
    rows = [_all_row(case, row) for case in found["cases"] for row in case["policies"]]
    return template.substitute(
        lede=escape(_lede(found)),
        load=f"{top[0]['load']:g}",
        predictor=escape(top[0]["predictor"]),
        winner_words=escape(words["winner"]),
        three_words="".join(f"<p>{escape(words[key])}</p>" for key in ("tail", "orders", "reserve") if key in words),
        planes="".join(_plane(case) for case in top),
        keys="".join(_size_key()),
        three_rows="".join(_three_row(case) for case in _all_top(found)),
        order_heads="".join(f'<th class="n">{escape(name)}<br>{escape(what)}</th>' for name, what in ORDERS.items()),
        load_words=escape(words.get("load", "")),
        load_heads="".join(f"<th>load {load:g}</th>" for load in loads),
        load_rows="".join(_load_rows(found, loads)),
        ranking=ranking(found["ranking"], kinds, "the floor", _FLOOR),
        part_words=escape(_parts(found)),
        numbers=numbers(_ALL, rows, _UNITS, "azure-code 70b sjf"),
        place_rows="".join(_place_row(found, known) for known in found["places"]),
        runs=found["seeds"],
        late=f"{LATE:g}",
    )


def _lede(found: Row) -> str:
    rules = sum("," in row["policy"] for row in found["ranking"])
    n, places = len(found["ranking"]) - rules, found["places"]
    blocks, profiles = (len({known[key] for known in places}) for key in ("block", "profile"))
    return (
        f"{n} serving policies under the rules of vLLM v1, and FCFS under those of {rules} other engines, on {blocks} "
        f"workloads and {profiles} GPU profiles, up to the load that FCFS just sustains; "
        f"{found['requests_played'] / 1e6:.1f} million requests."
    )


def _all_top(found: Row) -> list[Row]:
    """Return the cases at the highest load, those with predictions that are wrong at times first."""
    first = at_top(found)
    return [*first, *(case for case in at_top(found, noisy=False) if case not in first)]


# Mean against 99th percentile.


def _plane(case: Row) -> str:
    won = [case["winner"][kind]["policy"] for kind in ("mean", "p99")]
    wanted = [won[0], BASE, won[1], *ORDERS, "mc-fcfs", "mc-sf", "slai-like", "sprpt", "s3-like", "ltr", "fastserve"]
    rows = [row for row in case["policies"] if not row["undone"]]
    rows.sort(key=lambda row: wanted.index(row["policy"]) if row["policy"] in wanted else len(wanted))
    spots, beyond = [], []
    for row in rows:
        x, y, often = row["mean_over_fcfs"]["mean"], row["p99_over_fcfs"]["mean"], row["preemptions_per_100"]
        if x > TICKS[-1] or y > UP[-1]:
            beyond.append(f"{row['policy']} ({x:.3g}, {y:.3g})")
            continue
        look = "rules" if "," in row["policy"] else row["sees"]
        title = f"{row['policy']}: mean {x:.2f}, p99 {y:.2f} of FCFS, {often:.1f} preemptions per 100 requests"
        radius = next(size for least, size in SIZES if often >= least)
        best = " best" if row["policy"] == won[0] else ""
        label = row["policy"] if row["policy"] in wanted else ""
        spots.append(drawing.Spot(x, y, f"{look}{best}", radius, title, label))
    left = [row["policy"] for row in case["policies"] if row["undone"]]
    notes = [f"Ringed: {won[0]}."]
    notes += [f"Beyond the edge (mean, p99): {', '.join(beyond)}."] if beyond else []
    notes += [f"Cut off, as they take over {LATE:g} times as long as FCFS: {', '.join(left)}."] if left else []
    heading = f'<h3>{escape(BLOCKS[case["block"]])}<br><span class="caption">{escape(case["profile"])}</span></h3>'
    drawn = drawing.plane(spots, TICKS, UP, f"Mean against 99th percentile over those of FCFS; {place(case)}")
    return f'<div>{heading}{drawn}<p class="note">{escape(" ".join(notes))}</p></div>'


def _size_key() -> list[str]:
    words = ["fewer than 1 preemption per 100 requests", "1 to 10", "10 to 100", "100 and more"]
    shapes = [f'<svg><circle class="truth" cx="6" cy="6" r="{min(size, 6):g}"/></svg>' for _, size in reversed(SIZES)]
    shapes[-1] = '<svg class="large"><circle class="truth" cx="8" cy="8" r="8"/></svg>'
    return [f"<li>{shape}{text}</li>" for shape, text in zip(shapes, words, strict=True)]


# Tables.


def _three_row(case: Row) -> str:
    won = case["winner"]["mean"]
    best, tail = row_of(case, won["policy"]), row_of(case, case["winner"]["p99"]["policy"])
    if best is None or tail is None:
        return ""
    lead = won["lead"]
    ahead = f"{lead['mean']:+.1%} ({lead['low']:+.1%} to {lead['high']:+.1%})" if lead else ""
    cells = [word(BLOCKS[case["block"]]), word(case["profile"]), word(case["predictor"])]
    cells += [word(_named(won)), *_ratios(best), word(ahead)]
    cells += [word(_named(case["winner"]["p99"])), *_ratios(tail)]
    order = best_order(case)
    for name in ORDERS:
        row = row_of(case, name)
        value = row["mean_over_fcfs"]["mean"] if row else None
        cells.append(number(value, ".2f").replace('class="n"', 'class="n strong"' if name == order else 'class="n"'))
    for name in (policy for pair in RESERVES for policy in pair):
        row = row_of(case, name)
        cells.append(number(row["preemptions_per_100"] if row else None, ".1f"))
    return tr(cells)


def _named(won: Row) -> str:
    if won["clear"]:
        return won["policy"]
    return f"{won['policy']} (ties with {len(won['ties'])})" if won["ties"] else won["policy"]


def _ratios(row: Row) -> list[str]:
    return [number(row[f"{kind}_over_fcfs"]["mean"], ".2f") for kind in ("mean", "p99")]


def _load_rows(found: Row, loads: Sequence[float]) -> list[str]:
    groups: dict[tuple[str, str, str], dict[float, Row]] = {}
    for case in found["cases"]:
        groups.setdefault((case["block"], case["profile"], case["predictor"]), {})[case["load"]] = case
    rows = []
    for (block, profile, predictor), cases in groups.items():
        if len(cases) < len(loads):  # played at the highest load alone
            continue
        cells = [word(BLOCKS[block]), word(profile), word(predictor)]
        for load in loads:
            won = cases[load]["winner"]["mean"] if load in cases else None
            row = won and row_of(cases[load], won["policy"])
            cells.append(word(f"{_named(won)}, {row['mean_over_fcfs']['mean']:.2f}" if row and won else ""))
        rows.append(tr(cells))
    return rows


def _parts(found: Row) -> str:
    counts = {row["policy"]: row["cases"] for row in found["ranking"]}
    fewer = [f"{name} in {count}" for name, count in counts.items() if count < max(counts.values())]
    return f"All play in {max(counts.values())} cases, but {', '.join(fewer)}." if fewer else ""


_ALL = (
    "workload", "profile", "predictions", "policy", "told", "load", "mean, s", "/ FCFS", "95%", "p99, s", "/ FCFS",
    "95%", "score", "TTFT, s", "/ FCFS", "longest / FCFS", "preemptions / 100", "undone",
)  # fmt: skip


def _all_row(case: Row, row: Row) -> str:
    cells = [word(text) for text in (case["block"], case["profile"], case["predictor"], row["policy"], row["sees"])]
    cells.append(number(case["load"], "g"))
    for kind in ("mean", "p99"):
        ratio = row[f"{kind}_over_fcfs"]
        at_least = "\u2265 " if row["undone"] else ""
        cells.append(number(row[kind], ".4g", f"{at_least}{row[kind]:.4g}"))
        cells.append(number(ratio["mean"], ".3f", f"{at_least}{ratio['mean']:.3f}"))
        cells.append(number(ratio["low"], ".3f", f"{ratio['low']:.3f} to {ratio['high']:.3f}"))
    cells += [number(row["score"], ".3f"), number(row["ttft"], ".4g"), number(row["ttft_over_fcfs"], ".3f")]
    cells += [number(row["longest_over_fcfs"], ".2f"), number(row["preemptions_per_100"], ".1f")]
    cells.append(number(row["undone"], ".1%"))
    return tr(cells, "truth" if row["sees"] == TRUTH else "")


def _place_row(found: Row, known: Row) -> str:
    case = next(c for c in found["cases"] if (c["block"], c["profile"]) == (known["block"], known["profile"]))
    arrivals = "recorded" if case["replayed"] else "Poisson"
    cells = [word(BLOCKS[known["block"]]), word(known["profile"]), word(arrivals)]
    cells += [number(case["requests_per_run"], ","), number(known["longest"], ","), number(known["left_out"], ".1%")]
    cells.append(number(known["capacity"], ".4g"))
    return tr([*cells, word("stored" if known["capacity_stored"] else "found in this run")])
