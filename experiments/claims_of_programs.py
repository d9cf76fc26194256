"""Which claims on tools, drafts and reasoning does this simulator give: LAMPS, InferCept, Parrot, drafts, Dynasor?

A factor is the better system's number over the other's on the very same programs; its 95 % interval is Student's t on
the logarithms over seeds. The word is that of the rule in `survey_headlines_llm.py`, which is older than any of these
runs: reproduced, where an interval above 1 meets the claim, or the loads of one set-up pass through it; same direction,
smaller or larger; not reproduced. Set-ups, and what they lack, are in `program_claims.py`; nothing is tuned to a claim.
Where accuracy is to be kept, the level of a rule is chosen on seeds of its own.

What was changed after a first run: programs of tools are away for most of a minute, so that 260 of them ended before
any queue was there; their runs are four times as long now, with 1,029. Parrot got routing by outstanding requests, as
routing by prefixes sent all of an application to one replica, at .14 to .82 of the other's speed. InferCept's rate is
told at two limits of s a token, fewer than at first, and a row on objectives 4.7 times as tight, which is not in the
survey, is gone.

The survey names no number for Continuum, ThunderAgent and Autellix, whose rows claim nothing here. What Rebase and
RouteLLM claim is of answers, not of queues: RouteLLM's is counted on its own answers elsewhere.

Writes `claims_of_programs.json`, `.svg` and `.png` into `results`; some minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from claims_figure import draw_claims, table_of
from program_claims import CLAIMS
from rich.console import Console
from study import study
from survey_headlines_llm import settle, span

OUT = Path(__file__).parent / "results" / "claims_of_programs"
CALLS, SEEDS = 1600, 3


def play(task: tuple[int, int, int]) -> dict[str, Any]:
    """Settle a claim."""
    row, calls, seeds = task
    return settle(CLAIMS[row], calls, seeds)


def findings(claims: list[dict[str, Any]]) -> list[str]:
    """Say of each claim what came out, and the word."""
    words = []
    for claim in claims:
        for_all = "" if claim["with_overload"] == claim["verdict"] else f"; overload included, {claim['with_overload']}"
        words.append(f"{claim['words']}: {claim['verdict']}{for_all}; here {span(claim['rows'])}.")
    return words


def tasks(options: Any) -> list[Any]:
    """Return the claims."""
    return [(k, options.calls, options.seeds) for k in range(len(CLAIMS))]


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    return {"calls": options.calls, "claims": played, "finding": findings(played)}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a row for each set-up, what is claimed in grey."""
    return draw_claims(found["claims"], "Claims on tools, drafts and reasoning")


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each set-up, and the findings."""
    console.print(table_of(found["claims"]))
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Settle, store, draw and print."""
    usual = {"work": "calls", "calls": CALLS, "seeds": SEEDS, "width": 150}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
