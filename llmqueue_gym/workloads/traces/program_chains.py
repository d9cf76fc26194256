"""Loaders of programs that are chains, whose gaps are told, or drawn where there are none; see `program_loaders`."""

import os
from typing import Any

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, MOST_TOKENS, Column, read_columns
from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.programs.calls import calls_of, chain
from llmqueue_gym.workloads.programs.growing import growing
from llmqueue_gym.workloads.traces.program_trace import ProgramTrace, begun_at, either, names_of

Path = str | os.PathLike[str]


def load_lmcache_gaps(
    path: Path, prompt: int | None = None, returned: int | None = None, apart: float | None = None
) -> ProgramTrace:
    """Read sessions of sammshen/lmcache-agentic-traces, of which only outputs and gaps are left.

    Prompts are rebuilt: a session's first has `prompt` tokens, and each other one all before it and `returned` more. A
    gap is that before a call; what the file says before the first of a session is not used. Gaps below 0 count as 0.

    Args:
        path: JSON lines, or a csv file with `session`, `output_tokens`, `pre_gap_s`.
        prompt: tokens of a first prompt.
        returned: tokens that come into the context in a gap.
        apart: see above.
    """
    if prompt is None or returned is None:
        raise BadInput(
            f"{path} has lost the lengths of its prompts; tell the tokens of a session's first and those that come "
            "in a gap, as in the format lmcache-gaps:prompt=2000,returned=500, and prompts are rebuilt"
        )
    for what, value in (("prompt", prompt), ("returned", returned)):
        if not 1 <= value <= MOST_TOKENS // 1000:
            raise BadInput(f"{what}={value} must be from 1 to a million tokens")
    session, outputs, waits = either(
        path, {"session_id": "session", "output_tokens": "output_tokens", "pre_gap_s": "pre_gap_s"}
    )
    number, order = _grouped(names_of(session))
    stated, tokens = waits.numbers(signed=True)[order], outputs.counts()
    _refuse_none(outputs, tokens)
    program, place, parents, first = chain(number)
    own = np.where(place == 0, prompt, returned)
    gaps = np.where(place == 0, 0.0, stated)
    calls = growing(program, place, parents, first, own, tokens[order], gap=np.maximum(gaps, 0.0))
    notes = (f"prompts are rebuilt: {prompt} tokens at first, and {returned} more in each gap",)
    counted = {"negative": int((gaps < 0).sum())}
    return begun_at(
        path, calls, _apart(apart, len(number)), "sammshen/lmcache-agentic-traces", "MIT", notes=notes, **counted
    )


def load_taubench(path: Path, gap: str = "", seed: int = 0, apart: float | None = None) -> ProgramTrace:
    """Read trajectories of sierra-research/tau-bench, which have no times: gaps are drawn from a law.

    A prompt holds the context before it, as many as are so long.

    Args:
        path: a csv file with `session`, `call`, `prompt_tokens`, `output_tokens`, `tool_calls`.
        gap: size law of a gap, such as `lognormal:sigma=1,mean=5`, mean in s.
        seed: of those draws.
        apart: see above.
    """
    if not gap:
        raise BadInput(
            f"{path} has no times; tell the law from which gaps are drawn, as in the format "
            "taubench:gap=lognormal:sigma=1;mean=5"
        )
    names = ["session", "call", "prompt_tokens", "output_tokens", "tool_calls"]
    session, call, prompts, outputs, _ = read_columns(path, names)
    tokens, law = outputs.counts(), size_law(gap.replace(";", ","))
    _refuse_none(outputs, tokens)
    number, order = _grouped(list(session.cells))
    program, place, parents, first = chain(number)
    gaps = np.where(place == 0, 0.0, law.sample(len(program), np.random.default_rng(seed)))
    prompt_tokens, output_tokens = np.maximum(prompts.counts(), 1)[order], tokens[order]
    before = np.where(place > 0, np.roll(prompt_tokens + output_tokens, 1), 0)
    goes_on = (place > 0) & (before <= prompt_tokens)
    more: dict[str, Any] = {"base": np.where(goes_on, np.arange(len(program)) - 1, -1), "gap": gaps}
    calls = calls_of(program, parents, first, prompt_tokens, output_tokens, kept=np.where(goes_on, before, 0), **more)
    heads = call.counts()[order][place == 0]
    notes = (f"gaps are drawn from {law}, seed {seed}; the file has none",)
    starts, late = _apart(apart, len(number)), int((heads > 0).sum())
    return begun_at(path, calls, starts, "sierra-research/tau-bench", "MIT", notes=notes, begun_before=late)


def load_tracelab(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read the replay table of TraceLab, `session_id,arrival_time,round_idx,prefix_len,input_len,output_len,...`.

    Times are in ms; a gap is `tool_wait_after_ms` of the round before. The first `prefix_len` tokens of a prompt are
    those of the session's context so far.

    Args:
        path: a csv file.
        apart: see above.
    """
    names = ["session_id", "arrival_time", "round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms"]
    session, stamp, index, prefix, inputs, outputs, waits = read_columns(path, names)
    shared, tokens, times = prefix.counts(), outputs.counts(), stamp.seconds("ms")
    _refuse_none(outputs, tokens)
    number, order = _grouped(list(session.cells), index.counts())
    program, place, parents, first = chain(number)
    after = waits.seconds("ms")[order]
    prompts, tokens = np.maximum(shared + inputs.counts(), 1)[order], tokens[order]
    before = np.where(place > 0, np.roll(prompts + tokens, 1), 0)
    kept = np.minimum(np.minimum(shared[order], before), prompts)
    base = np.where(kept > 0, np.arange(len(program)) - 1, -1)
    gaps = np.where(place == 0, 0.0, np.roll(after, 1))
    calls = calls_of(program, parents, first, prompts, tokens, gap=gaps, base=base, kept=kept)
    starts = times[order][place == 0] if apart is None else _apart(apart, len(number))
    late = int((index.counts()[order][place == 0] > 0).sum())
    return begun_at(path, calls, starts, "uw-syfi/TraceLab", "Apache-2.0", begun_before=late)


def _grouped(sessions: list[str], index: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the calls of each session, in order of their first rows, and all rows, session by session."""
    number: dict[str, int] = {}
    which = np.array([number.setdefault(session, len(number)) for session in sessions])
    order = np.lexsort((np.arange(len(which)) if index is None else index, which))
    return np.bincount(which), order


def _apart(apart: float | None, programs: int) -> np.ndarray | None:
    if apart is not None and not 0 <= apart <= MOST_SECONDS:
        raise BadInput(f"apart={apart:g} must lie between 0 and {MOST_SECONDS:g} s")
    return None if apart is None else apart * np.arange(programs)


def _refuse_none(column: Column, outputs: np.ndarray) -> None:
    for row in np.flatnonzero(outputs < 1).tolist():
        column.refuse(row, "0 output tokens; each call of a chain needs at least one")
