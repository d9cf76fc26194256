"""Which headline factors of the survey's sections 3 and 4.1 on LLM serving does this simulator give, and which not?

Every claim (Mitzenmacher and Shahout, "Queueing, Predictions, and LLMs"; two figures of LTR's own paper) is set up as
nearly as the profiles, lengths and rule sets here allow, as a sweep. A factor is the old system's number over the new
one's on the very same requests; its 95 % interval is Student's t on the logarithms over seeds. The rule for the verdict
was written down before the first run:

* reproduced: an interval that lies above 1 meets the claimed range, or along the loads of one set-up the factor passes
  through it; for a claim without a number, some interval lies above 1 and none below;
* same direction, smaller: no interval reaches the claim, but one lies above 1;
* same direction, larger: all set-ups lie above the claim; or on either side of it, none meeting it;
* not reproduced: no interval lies above 1, or, for a claim without a number, some lie above and some below.

"up to x" claims the number x. Verdicts are given twice: for the sweep up to load 0.95, where the old system keeps up,
and for all of it. Beyond capacity a longer run gives larger factors, so the second says what overload alone can do. The
first tenth of the requests of a run is left out of latencies.

What was changed after trials with 2 seeds: wide intervals met anything, so one has to lie above 1 to count, and a
factor passes through a claim along the loads of one set-up only; levels of 0.1 s a token gave way to 1; FastServe's
transfers run beside iterations, and it got the heavy-tailed lengths; LTR got the short ShareGPT. After the full run,
which had ties such as 1.00001: "above" means from 1.005 on, "below" up to 1 / 1.005, which took the word "smaller" from
LTR at loads where no queue forms; and Trail without preemption was put beside Trail. The full size was cut from 3000
to 2000 requests of a run, for time. Claims and set-ups are in `survey_claims_llm.py`. Writes
`results/survey_headlines_llm.json`; some minutes.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from survey_claims_llm import CLAIMS, Claim
from survey_factors_llm import interval

from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.results import plain

OUT = Path(__file__).parent / "results" / "survey_headlines_llm.json"
SEEDS, REQUESTS = 8, 2000
LEAST = 0.005  # by which a factor has to differ from 1
STABLE = 0.95  # load up to which the old system keeps up


def verdict(claimed: tuple[float, float] | None, rows: list[dict[str, Any]]) -> str:
    """Return the word that the rule gives for the intervals of a sweep."""
    rows = [row for row in rows if np.isfinite(row["low"])]
    above = [row for row in rows if row["low"] >= 1 + LEAST]
    if not rows:
        return "no setting"
    if not above or claimed is None:
        return "reproduced" if above and all(row["high"] > 1 / (1 + LEAST) for row in rows) else "not reproduced"
    for group in {row["group"] for row in above}:
        least = min(row["low"] if row in above else row["factor"] for row in rows if row["group"] == group)
        if least <= claimed[1] and max(row["high"] for row in above if row["group"] == group) >= claimed[0]:
            return "reproduced"
    if max(row["high"] for row in above) < claimed[0]:
        return "same direction, smaller"
    larger = all(row["low"] > claimed[1] for row in rows)
    return "same direction, larger" if larger else "same direction, on either side"


def settle(claim: Claim, n: int, seeds: int) -> dict[str, Any]:
    """Return the factors of a claim's sweep and the verdicts."""
    rows = []
    for setting, (load, factors) in claim.run(n, seeds).items():
        factor, low, high = interval(factors)
        group = setting if np.isnan(load) else setting.rpartition(", ")[0]  # a set-up, over its loads
        rows.append({"setting": setting, "group": group, "load": load, "factor": factor, "low": low, "high": high})
    stable = [row for row in rows if not row["load"] > STABLE]
    told = {key: getattr(claim, key) for key in ("key", "words", "claimed", "setup", "missing")}
    if not claim.is_claim:
        return {**told, "verdict": "not a claim", "with_overload": "not a claim", "rows": rows}
    return {
        **told,
        "verdict": verdict(claim.claimed, stable),
        "with_overload": verdict(claim.claimed, rows),
        "rows": rows,
    }


def settle_row(job: tuple[int, int, int]) -> dict[str, Any]:
    """Settle the claim of a row; this much can be sent to another process."""
    row, n, seeds = job
    return settle(CLAIMS[row], n, seeds)


def span(rows: list[dict[str, Any]]) -> str:
    """Return the least and the largest factor of a sweep in words, the largest with its interval."""
    rows = [row for row in rows if np.isfinite(row["factor"])]
    if not rows:
        return "-"
    low, top = min(row["factor"] for row in rows), max(rows, key=lambda row: row["factor"])
    most = f"{top['factor']:.3g} ({top['low']:.3g}-{top['high']:.3g})"
    return most if len(rows) == 1 else f"{low:.3g} to {most}"


def report(found: dict[str, Any], console: Console) -> None:
    """Print a line for each claim."""
    title = f"factors, old system over new; {found['requests']} requests, {found['seeds']} seeds"
    table = Table(
        "claim", f"load up to {STABLE:g}", "verdict", "all loads", "verdict", title=title, title_justify="left"
    )
    for row in found["claims"]:
        stable = [r for r in row["rows"] if not r["load"] > STABLE]
        more = len(stable) < len(row["rows"])
        rest = (span(row["rows"]), row["with_overload"]) if more else ("", "")
        table.add_row(row["words"], span(stable), row["verdict"], *rest)
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Run every claim, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of a run")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args(arguments)
    jobs = [(row, options.requests, options.seeds) for row in range(len(CLAIMS))]
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        console = Console(stderr=True)
        rows = list(track(pool.map(settle_row, jobs), "claims", len(jobs), console=console))
    values = {"requests": options.requests, "seeds": options.seeds, "rule": __doc__, "claims": rows}
    found = result(values, seeds=range(options.seeds))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())


if __name__ == "__main__":
    main()
