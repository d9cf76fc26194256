"""Numbers of a run of programs: how long they took, what their calls did, and how many answers were right."""

from typing import Any

import numpy as np

from llmqueue_gym.systems.program_run import ProgramRun

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


def measure_programs(run: ProgramRun, warmup: float = 0.0) -> dict[str, Any]:
    """Return numbers of programs and of their calls.

    Times are of programs that are done, and of calls that have ended, without the first `warmup` of the programs. A
    program is away while none of its calls waits or is served.

    Returns:
        `program_time`, `away_time`, `call_time`, `call_ttft`: mean and percentiles, s; `calls`, `calls_per_program`,
        `cancelled`; `answers` given, `planned_answers`; `accuracy`, the share of programs with answers whose answer is
        right, None where there are none.
    """
    assert run.calls is not None and run.program is not None and run.ended is not None
    kept = run.done & (np.arange(len(run)) >= int(warmup * len(run)))
    calls, ended = run.calls, run.calls.done & kept[run.program]
    times = run.response_times
    answers = run.ended["answers"] > 0
    return {
        "program_time": _spread(times[kept]),
        "away_time": _spread((times - together(run))[kept]),
        "call_time": _spread(calls.response_times[ended]),
        "call_ttft": _spread((calls.outcome["first_token"] - calls.jobs["arrival"])[ended]),
        "calls": len(calls),
        "calls_per_program": len(calls) / len(run),
        "cancelled": int(run.ended["cancelled"].sum()),
        "answers": int(run.ended["answers"].sum()),
        "planned_answers": int(run.ended["planned"].sum()),
        "accuracy": float(run.right[answers].mean()) if run.right is not None and answers.any() else None,
    }


def together(run: ProgramRun) -> np.ndarray:
    """Return for how long at least one call of each program waited or was served `(p,)`, s."""
    assert run.calls is not None and run.program is not None
    came = run.calls.jobs["arrival"]
    left = np.minimum(
        run.calls.outcome["completion"], run.outcome["completion"][run.program]
    )  # who is stopped ends later
    there = np.flatnonzero(~np.isnan(left) & np.isfinite(came))
    order = there[np.lexsort((came[there], run.program[there]))]
    program, start = run.program[order], came[order]
    # The latest end of the calls of the program before each, by steps that are larger than any time.
    apart = 1.0 + np.max(left[order], initial=0.0)
    latest = np.maximum.accumulate(left[order] + program * apart) - program * apart
    before = np.concatenate([[0.0], latest[:-1]])
    first = np.concatenate([[True], np.diff(program) > 0]) if len(program) else np.zeros(0, bool)
    begins = np.where(first, start, np.maximum(start, before))
    spent = np.maximum(left[order] - begins, 0.0)
    found: np.ndarray = np.bincount(program, spent, len(run))
    return found


def _spread(values: np.ndarray) -> dict[str, float]:
    """Return the mean and percentiles of values; NaN where there are none."""
    if not len(values):
        return dict.fromkeys(("mean", *PERCENTILES), float("nan"))
    found = {name: float(np.percentile(values, share)) for name, share in PERCENTILES.items()}
    return {"mean": float(values.mean()), **found}
