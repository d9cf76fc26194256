"""Which claims on shared prompts and split phases does this simulator give: SGLang, Preble, Splitwise, DistServe?

A factor is the better system's number over the other's on the very same requests; its 95 % interval is Student's t on
the logarithms over seeds. The word is that of the rule in `survey_headlines_llm.py`, which was written before any run:
reproduced, where an interval above 1 meets the claim, or the loads of one set-up pass through it; same direction,
smaller or larger; not reproduced. Set-ups, and what they lack, are in `fleet_claims.py`; nothing is tuned to a claim.

Beside the factors what a count says of the survey's "85 % to 97 % of tokens in a prompt may be shared with other
prompts": of each recording at hand, the share of its prompt tokens that some other prompt begins with, too, earlier or
later, and the share that repeats an earlier one, which is what a cache without end could save. These are counts of
whole files, without an interval. The word there is reproduced where the first share of a recording lies in the range.

Writes `claims_of_fleets.json`, `.svg` and `.png` into `results`; some minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from claims_figure import draw_claims, table_of
from fleet_claims import CLAIMS
from rich.console import Console
from shared_prefixes import recording
from study import study
from survey_headlines_llm import LEAST, settle, span

from llmqueue_gym.requests import Contexts
from llmqueue_gym.workloads.contexts import picked, repeated_tokens
from llmqueue_gym.workloads.traces import load_trace

OUT = Path(__file__).parent / "results" / "claims_of_fleets"
REQUESTS, SEEDS = 1200, 4
CLAIMED = (0.85, 0.97)  # of the tokens of a prompt, shared with others
RECORDINGS = {
    "Mooncake, conversation": "mooncake_conversation.csv.gz",
    "Mooncake, synthetic": "mooncake_synthetic.csv.gz",
    "coding agents": "agent_claude_code.csv.gz",
    "LMCache's agents": "agent_lmcache_raw.csv.gz",
}


def counted(name: str, file: Path) -> dict[str, Any]:
    """Return how much of the prompts of a recording is shared."""
    contexts = load_trace(file).contexts
    assert contexts is not None  # these files tell who shares
    tokens = int(contexts.segments["length"].sum())
    earlier = repeated_tokens(contexts)
    rows = np.arange(len(earlier))[::-1]
    later = repeated_tokens(alone(picked(contexts, rows)))[::-1]
    shared = float(np.maximum(earlier, later).sum() / tokens)
    word = "reproduced" if CLAIMED[0] <= shared <= CLAIMED[1] else "smaller" if shared < CLAIMED[0] else "larger"
    told = {"recording": name, "prompts": len(earlier), "tokens": tokens, "shared": shared}
    return {**told, "repeats": float(earlier.sum() / tokens), "verdict": word}


def alone(contexts: Contexts) -> Contexts:
    """Return contexts whose outputs nobody goes on from, as none is there before its prompt."""
    fresh = contexts.output.max(initial=0) + 1 + np.arange(len(contexts.output))
    return contexts._replace(output=fresh)


def play(task: tuple[Any, ...]) -> dict[str, Any]:
    """Settle a claim, or count a recording."""
    kind, *given = task
    return counted(*given) if kind == "count" else settle(CLAIMS[given[0]], *given[1:])


def findings(claims: list[dict[str, Any]], counts: list[dict[str, Any]]) -> list[str]:
    """Say of each claim what came out, and the word."""
    words = []
    for claim in claims:
        for_all = "" if claim["with_overload"] == claim["verdict"] else f"; overload included, {claim['with_overload']}"
        rows = [row for row in claim["rows"] if np.isfinite(row["factor"] or np.nan)]
        sides = sum(row["low"] >= 1 + LEAST for row in rows), sum(row["high"] <= 1 / (1 + LEAST) for row in rows)
        met = ""
        if claim["claimed"] is not None:
            low, high = claim["claimed"]
            held = sum(row["low"] <= high and row["high"] >= low for row in rows)
            met = f", {held} meet what is claimed"
        words.append(
            f"{claim['words']}: {claim['verdict']}{for_all}; here {span(rows)}; of {len(rows)} intervals "
            f"{sides[0]} lie above 1, {sides[1]} below{met}."
        )
    for one in counts:
        words.append(
            f"{one['recording']}: {one['shared']:.1%} of the prompt tokens are shared with other prompts, "
            f"{one['repeats']:.1%} repeat an earlier one; 85 to 97 % is claimed: {one['verdict']}."
        )
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a row for each set-up, what is claimed in grey."""
    return draw_claims(found["claims"], "Claims on shared prompts and split phases")


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each set-up, and the findings."""
    console.print(table_of(found["claims"]))
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the claims and the recordings."""
    files = {name: recording(options.data, file) for name, file in RECORDINGS.items()}
    counts = [("count", name, file) for name, file in files.items() if file is not None]
    return [*(("claim", k, options.requests, options.seeds) for k in range(len(CLAIMS))), *counts]


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    claims, counts = [one for one in played if "rows" in one], [one for one in played if "rows" not in one]
    told = {"requests": options.requests, "claims": claims, "counts": counts}
    return {**told, "finding": findings(claims, counts)}


def main(arguments: list[str] | None = None) -> None:
    """Settle, store, draw and print."""
    usual = {"work": "requests", "requests": REQUESTS, "seeds": SEEDS, "width": 150, "recordings": True}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()
