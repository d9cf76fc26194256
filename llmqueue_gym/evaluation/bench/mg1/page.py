"""The track's part of the page."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.evaluation.bench import drawing
from llmqueue_gym.evaluation.bench.blocks import numbers, ranking
from llmqueue_gym.evaluation.bench.information import NOTHING, TRUTH
from llmqueue_gym.evaluation.bench.mg1.cases import BLOCKS
from llmqueue_gym.evaluation.bench.mg1.report import outside, title
from llmqueue_gym.evaluation.bench.parts import number, tr, word

Row = Mapping[str, Any]
_KINDS = {"synthetic": "synthetic", "azure": "Azure", "ssjf": "SSJF", "noisy": "noisy", "exact": "exact"}  # of cases


def section(found: Row) -> str:
    """Return the sections of a result."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    loads = sorted({case["load"] for case in found["cases"]})
    rows = [_all_row(case, row) for case in found["cases"] for row in case["policies"]]
    return template.substitute(
        lede=escape(_lede(found)),
        ranking_words=escape(found["sentences"].get("synthetic", "")),
        ranking=ranking(found["ranking"], _KINDS, "SRPT"),
        loads=f"{loads[0]:g} to {loads[-1]:g}",
        panels="".join(_panels(found)),
        measured_words="".join(
            f"<p>{escape(words)}</p>" for b, words in found["sentences"].items() if b in found["data"]
        ),
        winner_rows="".join(_winner_row(case) for case in found["cases"] if case["block"] != "synthetic"),
        check_words=escape(found["sentences"].get("check", "No case of this run has exact values.")),
        check_figure=_check_figure(found),
        missed=_missed(found),
        numbers=numbers(_ALL, rows, "Times are in mean sizes.", "ssjf 0.8"),
        units=f"{found['seeds']} seeds",
        seeds=found["seeds"],
    )


# Words.


def headline(found: Row) -> str:
    """Return what came out, in a line."""
    best = next(row for row in found["ranking"] if row["sees"] != TRUTH)
    blind = next(row for row in found["ranking"] if row["sees"] == NOTHING)
    return (
        f"{best['policy'].capitalize()} gains {best['score']['mean']:.0%} of what there is to gain over first come "
        f"first served; without predictions the best gains {blind['score']['mean']:.0%}"
    )


def _lede(found: Row) -> str:
    best = next(row for row in found["ranking"] if row["sees"] != TRUTH)
    noisy, told = best["score_in"].get("noisy"), sum(row["sees"] == TRUTH for row in found["ranking"])
    alone = "" if noisy is None else f" Where predictions are wrong at times, {best['policy']} gains {noisy:.0%}."
    return (
        f"{len(found['ranking'])} scheduling policies for one server, {told} of them told the true sizes, in "
        f"{len(found['cases'])} cases: synthetic laws with exact results beside the simulation, a recorded hour of LLM "
        f"requests, and a real length predictor.{alone} {found['jobs_played'] / 1e6:.1f} million jobs."
    )


# The cases.


def _panels(found: Row) -> list[str]:
    order = [row["policy"] for row in found["ranking"]]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for case in found["cases"]:
        groups.setdefault((case["block"], case["size"], case["predictor"]), []).append(case)
    ratios = [row["relative_to_fcfs"] for case in found["cases"] for row in case["policies"]]
    low, high = min(*ratios, 0.5) / 1.05, max(*ratios, 1.0) * 1.05
    scale = drawing.logarithmic(low, high)
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if low <= tick <= high]
    return [_panel(key, cases, order, ticks, scale) for key, cases in groups.items()]


def _panel(
    key: tuple[str, ...], cases: Sequence[Row], order: Sequence[str], ticks: Sequence[float], scale: drawing.Scale
) -> str:
    block, size, predictor = key
    heading = f"{BLOCKS[block]}: {size}" if block != "synthetic" else f"{size[0].upper()}{size[1:]} sizes"
    rows = []
    for name in order:
        marks, places = [], []
        for case in cases:
            row = next(row for row in case["policies"] if row["policy"] == name)
            ratio = row["relative_to_fcfs"]
            places.append(scale(ratio))
            words = f"{name} at load {case['load']:g}: {ratio:.3f} of FCFS"
            marks.append(drawing.dot(places[-1], row["sees"], words, 2.2 + 6 * max(case["load"] - 0.5, 0), 9))
        look = row["sees"]
        marks.insert(0, drawing.bar(min(places), max(places), f"{look} thin", 9))
        rows.append(drawing.row(name, drawing.track(marks, ticks, scale, 18), "", look))
    bottom = drawing.axis([(tick, f"{tick:g}") for tick in ticks], scale)
    words = f"{predictor} predictions" if block != "ssjf" else f"the predictor's {predictor}"
    label = f"Mean response time over FCFS by policy; {heading}, {words}"
    return (
        f'<div role="img" aria-label="{escape(label)}"><h3>{escape(heading)}<br>'
        f'<span class="caption">{escape(words)}</span></h3>{"".join(rows)}{bottom}</div>'
    )


def _winner_row(case: Row) -> str:
    won, lead = case["winner"], case["winner"]["lead"]
    name = won["policy"] + (f" (same: {', '.join(won['same'])})" if won["same"] else "")
    range_ = f"{lead['low']:+.1%} to {lead['high']:+.1%}" + ("" if won["clear"] else " (a tie)")
    cells = [word(case["block"]), word(case["predictor"]), number(case["load"], "g"), word(name)]
    return tr([*cells, word(won["second"]), number(lead["mean"], ".1%"), word(range_)])


# Exact and simulated.


def _check_figure(found: Row) -> str:
    points, seen = [], set()
    for case in found["cases"]:
        for row in case["policies"]:
            key = case["size"], case["load"], row["policy"], row.get("exact")
            if "exact" not in row or key in seen:
                continue
            seen.add(key)
            exact, checked = row["exact"], row["mean_response_time"]
            y, low, high = (checked[end] / exact - 1 for end in ("mean", "low", "high"))
            words = f"{row['policy']}, {title(case)}: exact {exact:.4g}, simulated {checked['mean']:.4g} ({y:+.2%})"
            points.append((exact, y, low, high, not row["exact_inside"], words))
    if not points:
        return ""
    least, most = min(point[0] for point in points) / 1.1, max(point[0] for point in points) * 1.1
    # FCFS has no control, so its intervals are wide; the edge of the figure is set by what the rest needs.
    reach = max(0.01, sorted(max(-point[2], point[3]) for point in points)[int(0.97 * (len(points) - 1))])
    scale = drawing.logarithmic(least, most)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if least <= tick <= most]
    texts = "".join(f'<text x="{scale(t):.2f}%" y="12" text-anchor="middle">{t:g}</text>' for t in ticks)
    caption = (
        f"Simulated over exact, minus 1, with 95% intervals; the box reaches from {-reach:+.1%} to {reach:+.1%}. "
        "Across: the exact mean response time in mean sizes, log scale. Stressed: the interval misses the exact value."
    )
    return (
        f'<div class="figure">{drawing.cloud(points, scale, reach, 260)}'
        f'<svg class="axis" height="16" aria-hidden="true">{texts}</svg></div><p class="note">{escape(caption)}</p>'
    )


def _missed(found: Row) -> str:
    missed = outside(found)
    if not missed:
        return ""
    lines = []
    for case, row in missed:
        checked = row["mean_response_time"]
        lines.append(
            f"{row['policy']}, {title(case)}: exact {row['exact']:.4g}, simulated {checked['mean']:.4g} "
            f"({checked['low']:.4g} to {checked['high']:.4g})"
        )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<details class="note"><summary>The {len(missed)} that lie outside</summary><ul>{items}</ul></details>'


# All numbers.

_ALL = (
    "jobs", "sizes", "predictions", "policy", "told", "load", "mean", "95%", "exact", "inside", "/ FCFS", "score",
    "p99", "p99 / FCFS", "behind best", "95%", "best",
)  # fmt: skip


def _all_row(case: Row, row: Row) -> str:
    mean, behind = row["mean_response_time"], row["behind_best"]
    half = 0.5 * (mean["high"] - mean["low"])
    inside = {None: "", True: "yes", False: "no"}[row.get("exact_inside")]
    cells = [word(text) for text in (case["block"], case["size"], case["predictor"], row["policy"], row["sees"])]
    cells += [number(case["load"], "g"), number(mean["mean"], ".4g"), number(half, ".2g", f"\u00b1 {half:.2g}")]
    cells += [number(row.get("exact"), ".4g"), word(inside, "out" if inside == "no" else "")]
    cells += [number(row["relative_to_fcfs"], ".3f"), number(row["score"], ".3f"), number(row["p99"], ".4g")]
    cells += [number(row["p99_ratio"], ".2f"), number(behind["mean"], ".3g")]
    cells.append(number(behind["low"], ".3g", f"{behind['low']:.3g} to {behind['high']:.3g}"))
    cells.append(word(row["best_with_same_information"]))
    return tr(cells, row["sees"])
