"""Why a fleet does not keep its objective: which limit, where, by how much, and what it is short of."""

from typing import Any

import numpy as np

from llmqueue_gym.evaluation.metrics import seconds
from llmqueue_gym.evaluation.serving import LATENCIES, WAITED, measure
from llmqueue_gym.planning.judge import Judge, Played
from llmqueue_gym.planning.objective import LIMITS, WORDS
from llmqueue_gym.systems.run import Run

FULL = 0.98  # share of the KV memory or of the seats, from which on they count as full
GROWN = 1.3  # times the mean wait of a third of the window, that of the next one where the queue only grows
PARTS = 15  # of a window, that are told apart
SHORT = 600.0  # s of a window, below which its parts are told in s


def why(judge: Judge, played: Played) -> dict[str, Any]:
    """Return why a purchase fails, from the worst of its windows.

    Returns:
        `window` and `share_of_worst`, of the worst; `limits`, a row for each with the share of requests above it, the
        quantile that is to be within it, and where in the window most are above; `course`, the share of requests within
        the limits in each of `PARTS` parts of the window; and all in `sentences`.
    """
    worst = int(np.argmin(played.shares))
    run = judge.run(played.purchase, played.way, judge.seeds[worst])
    kept = slice(judge.windows.lead, None)
    missed, within = judge.objective.missed(run), judge.objective.met(run)[kept]
    part = np.arange(len(within)) * PARTS // len(within)
    minutes = judge.windows.seconds / PARTS / 60
    rows: list[dict[str, Any]] = []
    for name, above in missed.items():
        mine, values = above[kept], LATENCIES[LIMITS[name]](run)[kept]
        known = values[~np.isnan(values)]
        share = float(mine.mean())
        where = int(np.argmax(np.bincount(part, mine, PARTS)))
        rows.append(
            {
                "limit": name,
                "most": judge.objective.limits[name],
                "above": share,
                "quantile": float(np.quantile(known, judge.objective.share)) if len(known) else float("nan"),
                "minute": [where * minutes, (where + 1) * minutes],
                "above_there": float(mine[part == where].mean()),
            }
        )
    rows.sort(key=lambda row: -row["above"])
    shares = (np.bincount(part, within, PARTS) / np.bincount(part, minlength=PARTS)).tolist()
    sentences = [_sentence(judge, row) for row in rows if row["above"] > 0]
    if played.overloaded:
        sentences.append(
            f"overloaded: of the tokens that come, {played.growth:.1%} are added to the queue for ever, at "
            f"{judge.windows.rate:.3g} requests/s"
        )
    if rows[0]["above"] > 0:
        sentences += _short_of(judge, run, rows[0], missed, kept)
    return {
        "window": worst,
        "share_of_worst": played.shares[worst],
        "limits": rows,
        "course": shares,
        "sentences": sentences,
    }


def _sentence(judge: Judge, row: dict[str, Any]) -> str:
    share, allowed = judge.objective.share, 1 - judge.objective.share
    unit, each = ("minutes", 1) if judge.windows.seconds >= SHORT else ("seconds", 60)
    begin, end = (each * minute for minute in row["minute"])
    return (
        f"{row['limit']}: {100 * row['above']:.3g} % of the requests take more than {seconds(row['most'])} "
        f"{WORDS[row['limit']]}, and {100 * allowed:.3g} % may; {100 * share:.4g} % of them are within "
        f"{seconds(row['quantile'])}. It is worst in {unit} {begin:.3g} to {end:.3g} of the window, with "
        f"{100 * row['above_there']:.3g} %"
    )


def _short_of(judge: Judge, run: Run, row: dict[str, Any], missed: dict[str, np.ndarray], kept: slice) -> list[str]:
    """Return what the requests above the limit that is missed most were waiting for."""
    late = np.flatnonzero(missed[row["limit"]][kept] & run.done[kept]) + judge.windows.lead
    told = []
    numbers = measure(run)
    if not run.done.all():
        told.append(f"{int((~run.done).sum()):,} requests are never done ({run.reason})")
    if len(late) and row["limit"] != "tpot" and row["limit"] != "gap":
        waits, times = LATENCIES[WAITED](run)[late], LATENCIES[LIMITS[row["limit"]]](run)[late]
        told.append(
            f"queueing is {float(waits.sum() / max(times.sum(), 1e-300)):.0%} of the time that these requests take "
            f"{WORDS[row['limit']]}"
        )
        told += _queue(judge, run, kept, row["most"])
    else:
        told.append(
            f"an iteration has {numbers['mean_batch']:.3g} requests on average, and a token takes "
            f"{seconds(float(np.nanmean(LATENCIES[LIMITS['tpot']](run)[kept])))}: the replicas have too much to do at "
            "once, decodes of others and prompts beside them"
        )
    full, again = numbers["most_kv_share"], numbers["preemptions_per_request"]
    if full >= FULL:
        lost = f", and {again:.2g} times a request is given up and computed again" if again > 0.005 else ""
        told.append(f"short of KV memory: {full:.1%} of it is in use at most{lost}")
    return told


def _queue(judge: Judge, run: Run, kept: slice, most: float) -> list[str]:
    """Return whether the queue grows all through the window, beyond a limit, s, or comes and goes."""
    waits = LATENCIES[WAITED](run)[kept]
    waits = np.where(np.isnan(waits), np.nanmax(waits, initial=0.0), waits)
    thirds = [float(part.mean()) for part in np.array_split(waits, 3)]
    told = []
    if thirds[2] > GROWN * thirds[1] > GROWN**2 * thirds[0] and thirds[2] > most:
        told.append(
            f"overloaded: mean waits grow from {seconds(thirds[0])} in the first third of the window to "
            f"{seconds(thirds[2])} in the last, at {judge.windows.rate:.3g} requests/s"
        )
    else:
        told.append(
            f"the queue comes and goes: mean waits by thirds of the window are {', '.join(map(seconds, thirds))}"
        )
    return told
