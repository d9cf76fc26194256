"""Loaders of recorded programs, one for each source, whether in its own form or in the compact one.

All raise BadInput as `load_programs` says, or where an option is out of its range. `apart` is s between the beginnings
of sessions, in the file's order, in place of what the file tells of them, if anything.
"""

import os
from typing import Any

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, MOST_TOKENS, Column, read_columns, text_lines
from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.programs.calls import calls_of, chain
from llmqueue_gym.workloads.programs.growing import growing
from llmqueue_gym.workloads.traces.agents import _INPUTS
from llmqueue_gym.workloads.traces.loaders import nanoseconds
from llmqueue_gym.workloads.traces.program_trace import ProgramTrace, begun_at, in_sessions
from llmqueue_gym.workloads.traces.trace import read_json_columns

Path = str | os.PathLike[str]


def load_claude(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read sessions of Claude Code (semianalysisai/cc-traces-weka-no-subagents), which have no common clock.

    A call began `request_arrival_delta_s` after its session did and took `api_time_s`. The gap is from there to the
    next call, whoever was busy then, tool, person or a subagent that the release leaves out; its `think_time_s` is
    not used.

    Args:
        path: JSON lines, or a csv file with `session`, `turn`, `session_offset_s`.
        apart: see above.
    """
    names = {"session_id": "session", "turn_index": "turn", "request_arrival_delta_s": "session_offset_s"}
    session, turn, begin, took, prompts, outputs = _either(
        path, {**names, "api_time_s": "api_time_s", "input_tokens": "prompt_tokens", "output_tokens": "output_tokens"}
    )
    times = begin.seconds()
    return in_sessions(
        path,
        _names(session),
        times,
        times + took.seconds(),
        prompts.counts(),
        outputs.counts(),
        "semianalysisai/cc-traces-weka-no-subagents-051226",
        "Apache-2.0",
        index=turn.counts(),
        apart=apart,
        common_clock=False,
    )


def load_exgentic(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read sessions of Exgentic/agent-llm-traces, which have one clock; calls that failed are left out.

    Args:
        path: JSON lines, or a csv file with `session`, `span`, `arrival_s`, `duration_s`, `error`.
        apart: see above.
    """
    names = {"session_id": "session", "span_index": "span", "start_time_s": "arrival_s", "duration_ms": "duration_s"}
    names |= {"input_tokens": "prompt_tokens", "output_tokens": "output_tokens", "is_error": "error"}
    session, span, begin, took, prompts, outputs, error = _either(path, names)
    times, unit = begin.seconds(), "ms" if took.name == "duration_ms" else "s"
    return in_sessions(
        path,
        _names(session),
        times,
        times + _known(took).seconds(unit),
        _known(prompts).counts(),
        _known(outputs).counts(),
        "Exgentic/agent-llm-traces",
        "CDLA-Permissive-2.0",
        index=span.counts(),
        failed=np.array([cell in (True, 1, "1", "true", "True") for cell in error.cells]),
        apart=apart,
    )


def load_lmcache(path: Path, seconds_per_token: float = 0.0, apart: float | None = None) -> ProgramTrace:
    """Read sessions of LMCache/lmcache-agent-trace in the compact form, which tells when calls began, but not ended.

    Args:
        path: a csv file with `agent`, `session`, `session_offset_s`, `shared_prefix_tokens`.
        seconds_per_token: taken for each output token of a call; with 0 the recorded server's time is part of the gaps.
        apart: see above.
    """
    if not 0 <= seconds_per_token <= 1e3:
        raise BadInput(f"seconds_per_token={seconds_per_token:g} must lie between 0 and 1000")
    names = ["agent", "session", "session_offset_s", "prompt_tokens", "output_tokens", "shared_prefix_tokens"]
    agent, session, begin, prompts, outputs, shared = read_columns(path, names)
    times, output_tokens = begin.seconds(), outputs.counts()
    said = f"calls are taken to have lasted {seconds_per_token:g} s an output token; the file does not say"
    return in_sessions(
        path,
        list(zip(agent.cells, session.cells, strict=True)),
        times,
        times + seconds_per_token * output_tokens,
        prompts.counts(),
        output_tokens,
        "LMCache/lmcache-agent-trace",
        "Apache-2.0",
        prefixes=shared.counts(),
        apart=apart,
        common_clock=False,
        notes=(said,),
    )


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
            f"{path} has lost the lengths of its prompts; tell prompt=TOKENS of a session's first and returned=TOKENS "
            "that come in a gap, for example 2000 and 500, and prompts are rebuilt from them and the outputs"
        )
    for what, value in (("prompt", prompt), ("returned", returned)):
        if not 1 <= value <= MOST_TOKENS // 1000:
            raise BadInput(f"{what}={value} must be from 1 to a million tokens")
    session, outputs, waits = _either(
        path, {"session_id": "session", "output_tokens": "output_tokens", "pre_gap_s": "pre_gap_s"}
    )
    number, order = _grouped(_names(session))
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
        raise BadInput(f"{path} has no times; tell gap=LAW from which gaps are drawn, such as lognormal:sigma=1,mean=5")
    names = ["session", "call", "prompt_tokens", "output_tokens", "tool_calls"]
    session, call, prompts, outputs, _ = read_columns(path, names)
    tokens, law = outputs.counts(), size_law(gap.replace(";", ","))
    _refuse_none(outputs, tokens)
    number, order = _grouped(session.cells)
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
    number, order = _grouped(session.cells, index.counts())
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


def load_tracelab_rounds(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read recorded rounds of TraceLab, one JSON object a line.

    A round begins with its last user message or tool result and ends with the last event that the model caused.

    Args:
        path: JSON lines.
        apart: see above.
    """
    names = ["session_id", "round_index", "timing_events", "input_tokens_total", "output_tokens"]
    session, index, events, prompts, outputs, prefix = read_json_columns(path, names, ["prefix_tokens"])
    ticks = np.empty((2, len(events.cells)), np.int64)
    for row, listed in enumerate(events.cells):
        try:
            stamps = [(event["event_type"] in _INPUTS, nanoseconds(event["timestamp"])) for event in listed]
            begin = max(stamp for is_input, stamp in stamps if is_input)
        except (TypeError, KeyError, ValueError):
            events.refuse(row, "no user message or tool result with a time, so it is not known when the round arrived")
        ticks[:, row] = begin, max([begin, *(stamp for is_input, stamp in stamps if not is_input)])
    times, ends = (ticks - ticks.min()) / 1e9
    columns = prompts.counts(), outputs.counts()
    prefixes = None if None in prefix.cells else prefix.counts()
    more: dict[str, Any] = {"index": index.counts(), "prefixes": prefixes, "apart": apart}
    return in_sessions(path, _names(session), times, ends, *columns, "uw-syfi/TraceLab", "CC-BY-4.0", **more)


def _either(path: Path, names: dict[str, str]) -> list[Column]:
    """Return columns by their keys in JSON lines, or by the names that a csv file has for these."""
    if next(text_lines(path), "").startswith("{"):
        return read_json_columns(path, list(names))
    return read_columns(path, list(names.values()))


def _names(column: Column) -> list[str]:
    for row, cell in enumerate(column.cells):
        if cell in ("", None):
            column.refuse(row, "there is no session")
    return [str(cell) for cell in column.cells]


def _known(column: Column) -> Column:
    """Return a column with 0 for what failed calls lack."""
    return Column(column.path, column.name, [0 if cell in ("", None) else cell for cell in column.cells])


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
