"""Numbers of a run of programs: how long they took, what their calls did, and how many answers were right."""

from typing import Any

import numpy as np

from llmqueue_gym.evaluation.metrics import Latency
from llmqueue_gym.evaluation.serving import SERVING_METRICS, Measured, summary
from llmqueue_gym.systems.program_run import ProgramRun

WHOLE = (  # of those of a serving run, what is said of programs, too
    *("span", "output_tokens_per_second", "tokens_per_second", "goodput", "attainment", "mean_in_system", "mean_batch"),
    *("kv_share", "most_kv_share", "hit_share", "preemptions", "recomputed_tokens", "swapped_bytes"),
    *("busy_share", "useful_share", "joules_per_output_token", "idle_joules_per_output_token"),
    *("dollars_per_million_output_tokens", "grams_per_thousand_output_tokens"),
)


def measure(run: ProgramRun, e2e_slo: float | None = None, warmup: float = 0.0) -> dict[str, Any]:
    """Return every number of a run of programs.

    Args:
        run: the run.
        e2e_slo: most s that a program takes; None asks for nothing.
        warmup: share of the programs, from the first on, that times and `attainment` leave out.

    Returns:
        `programs`, `done`, `reason`, `truncated` and `latencies_of`; each of `LATENCIES` with its mean, p50, p90, p95
        and p99; `programs_per_second`, and of the whole run what `WHOLE` names; what `measure_programs` says.
    """
    whole, n, done = Measured(run, e2e_slo=e2e_slo, warmup=warmup), len(run), int(run.done.sum())
    told = {
        "programs": n,
        "done": done,
        "reason": run.reason,
        "truncated": done < n,
        "latencies_of": "all programs" if done == n else f"completed programs only, {done} of {n}",
    }
    with np.errstate(invalid="ignore", divide="ignore"):  # a run in which nothing was done has NaN, not a warning
        times = {
            name: summary(np.where(run.done, latency(run), np.nan)[whole.kept]) for name, latency in LATENCIES.items()
        }
        numbers = {name: float(SERVING_METRICS[name](whole)) for name in WHOLE}
        return {**told, **times, "programs_per_second": done / whole.span, **numbers, **measure_programs(run, warmup)}


def measure_programs(run: ProgramRun, warmup: float = 0.0) -> dict[str, Any]:
    """Return numbers of programs and of their calls.

    Times are of programs that are done, and of calls that have ended, without the first `warmup` of the programs. A
    program is away while none of its calls waits or is served.

    Returns:
        `program_time`, `away_time`, `call_time`, `call_ttft`: mean and percentiles, s; `calls`, `calls_per_program`,
        `cancelled`; `prompt_tokens` of the calls that began, and `prefill_tokens`, those that were computed;
        `answers` given, `planned_answers`; `accuracy`, the share of programs with answers whose answer is right, None
        where there are none.
    """
    assert run.calls is not None and run.program is not None and run.ended is not None
    kept = run.done & (np.arange(len(run)) >= int(warmup * len(run)))
    calls, ended = run.calls, run.calls.done & kept[run.program]
    times = run.response_times
    answers = run.ended["answers"] > 0
    return {
        "program_time": summary(times[kept]),
        "away_time": summary(away(run)[kept]),
        "call_time": summary(calls.response_times[ended]),
        "call_ttft": summary((calls.outcome["first_token"] - calls.jobs["arrival"])[ended]),
        "prompt_tokens": int(calls.jobs["prompt"][~np.isnan(calls.outcome["scheduled"])].sum()),
        "prefill_tokens": int(calls.totals["prefill_tokens"]),
        "calls": len(calls),
        "calls_per_program": len(calls) / len(run),
        "cancelled": int(run.ended["cancelled"].sum()),
        "answers": int(run.ended["answers"].sum()),
        "planned_answers": int(run.ended["planned"].sum()),
        "accuracy": float(run.right[answers].mean()) if run.right is not None and answers.any() else None,
    }


def away(run: Any) -> np.ndarray:
    """Return for how long no call of each program waited or was served `(p,)`, s; none where that is rounding."""
    left = run.response_times - together(run)
    found: np.ndarray = np.where(left < 1e-9 * run.response_times, 0.0, left)
    return found


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


# Of each program: an array (p,), s.
LATENCIES: dict[str, Latency] = {
    "e2e": lambda run: run.response_times,
    "ttft": lambda run: run.outcome["first_token"] - run.jobs["arrival"],  # of any of its calls
    "wait": lambda run: run.waits,  # of its calls, all together
    "away": away,
}
