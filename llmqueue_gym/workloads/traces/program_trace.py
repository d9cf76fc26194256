"""Recorded programs, and how times and sessions tell who waited for whom."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, Column, read_columns, text_lines
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.programs.calls import Calls, calls_of, chosen
from llmqueue_gym.workloads.traces.trace import read_json_columns

ROUNDING = 1e-3  # s; a call that begins so little before another ends begins after it: files round their times

NO_CLOCK = "sessions have no common clock; tell a rate, or s from one to the next with the format, as in auto:apart=60"


@dataclass(frozen=True, eq=False)
class ProgramTrace:
    """Recorded programs, in order of their beginnings where these are told.

    Attributes:
        calls: of the programs, one after another.
        starts: when each began `(programs,)`, float64, s from the first, sorted; None where the file tells no clock
            that sessions have in common.
        name: the file's name.
        source: repository, for attribution.
        licence: of the data, as their owner states it.
        failed: calls of the file left out because they failed or gave no output.
        begun_before: programs that had begun before the file does; the first call that it has of them waits for nobody.
        overlapping: calls that began before an earlier one of their session had ended, for which they did not wait.
        negative: gaps that the file states as less than 0, taken as 0.
        notes: what else was made of the file, in words.
        models: names of the models that calls ask for, whose numbers are from 1 on.
    """

    calls: Calls
    starts: np.ndarray | None
    name: str
    source: str
    licence: str
    failed: int = 0
    begun_before: int = 0
    overlapping: int = 0
    negative: int = 0
    notes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.calls.program[-1]) + 1

    @property
    def rate(self) -> float:
        """Programs per s, by the gaps between their beginnings; BadInput where these are not known."""
        if self.starts is None:
            raise BadInput(f"{self.name}: {NO_CLOCK}")
        if not self.starts[-1] > 0:
            raise BadInput(f"{self.name}: {len(self)} program(s) that begin at one time have no rate; tell one")
        return (len(self) - 1) / float(self.starts[-1])

    def report(self) -> list[str]:
        """Return what was made of the file, a line each."""
        counted = {
            "calls failed or gave no output and are left out": self.failed,
            "programs had begun before the file does": self.begun_before,
            "calls began before an earlier one of their session had ended": self.overlapping,
            "gaps are stated as less than 0 and taken as 0": self.negative,
        }
        said = [f"{count:,} {what}" for what, count in counted.items() if count]
        no_clock = [] if self.starts is not None else [NO_CLOCK]
        return [f"{len(self):,} programs of {len(self.calls.program):,} calls", *said, *self.notes, *no_clock]


def in_sessions(
    path: str | os.PathLike[str],
    sessions: Sequence[Hashable],
    times: np.ndarray,
    ends: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    source: str,
    licence: str,
    *,
    index: np.ndarray | None = None,
    prefixes: np.ndarray | None = None,
    failed: np.ndarray | None = None,
    apart: float | None = None,
    common_clock: bool = True,
    notes: tuple[str, ...] = (),
) -> ProgramTrace:
    """Return the programs of calls whose beginnings and ends are known; each session is one.

    A call waited for all calls of its session that had ended when it began, and for no other. Its parents are those of
    them that none of the others waited for, so what precedes what is as recorded, and no edge is told twice. Its gap
    is from the last of their ends. A call that began when none had ended waits for nobody and comes so long after its
    session as it did.

    The prompt goes on from the parent that ended last and whose context, prompt and output, is no longer than it; or
    has that prompt alone; or shares nothing that is known. Where prefixes are told, it begins with so many tokens of
    the last context that has as many of all that had ended, or of the longest.

    Args:
        path: the file.
        sessions: of each call `(n,)`, any order.
        times: when it began `(n,)`, s.
        ends: when it ended `(n,)`, s.
        prompts: tokens `(n,)`; 0 counts as 1.
        outputs: tokens `(n,)`; a call without output is left out.
        source: of the data.
        licence: of the data.
        index: number of each call in its session `(n,)`, whose first is 0.
        prefixes: tokens that it shares with an earlier context of its session `(n,)`.
        failed: whether it failed `(n,)`.
        apart: s between beginnings of sessions, in the file's order, in place of recorded ones.
        common_clock: whether times are on a clock that sessions have in common.
        notes: what else was made of the file.

    Raises:
        BadInput: no call is left, or a call ends before it begins.
    """
    if apart is not None and not 0 <= apart <= MOST_SECONDS:
        raise BadInput(f"apart={apart:g} must lie between 0 and {MOST_SECONDS:g} s")
    for row in np.flatnonzero(ends < times).tolist():
        raise BadInput(f"{path}: row {row + 1}: the call ends at {ends[row]:g} s, before it begins at {times[row]:g} s")
    good = outputs > 0 if failed is None else (outputs > 0) & ~failed
    if not good.any():
        raise BadInput(f"{path} is empty: each of {len(good)} calls failed or gave no output")
    rows_of: dict[Hashable, list[int]] = {}
    for row in np.flatnonzero(good).tolist():
        rows_of.setdefault(sessions[row], []).append(row)
    order: list[int] = []
    edges: list[int] = []
    counts, base, kept, gaps, offsets, heads = [], [], [], [], [], []
    overlapping, known = 0, None if index is None else _first_numbers(sessions, index)
    for rows in rows_of.values():
        mine = np.array(rows)[np.argsort(times[rows], kind="stable")]
        begin, end, prompt = times[mine], ends[mine], np.maximum(prompts[mine], 1)
        context = prompt + outputs[mine]
        shift = len(order)
        for i in range(len(mine)):
            ended = np.flatnonzero(end[:i] <= begin[i] + ROUNDING)
            overlapping += len(ended) < i
            last = _not_waited_for(begin, end, ended)
            told = None if prefixes is None else min(int(prefixes[mine[i]]), int(prompt[i]))
            of, tokens = _goes_on_from(int(prompt[i]), prompt, context, ended if told is not None else last, end, told)
            edges.extend((last + shift).tolist())
            counts.append(len(last))
            base.append(of + shift if of >= 0 else -1)
            kept.append(tokens)
            gaps.append(max(float(begin[i] - end[last].max()), 0.0) if len(last) else 0.0)
            offsets.append(0.0 if len(last) else float(begin[i] - begin[0]))
        order.extend(mine.tolist())
        heads.append(float(begin[0]))
    program = np.repeat(np.arange(len(heads)), [len(rows) for rows in rows_of.values()])
    calls = calls_of(
        program,
        np.array(edges, np.int64),
        np.concatenate([[0], np.cumsum(counts)]),
        np.maximum(prompts[order], 1),
        outputs[order],
        gap=np.array(gaps),
        offset=np.array(offsets),
        base=np.array(base),
        kept=np.array(kept),
    )
    before = 0 if known is None else sum(known[session] > 0 for session in rows_of)
    left_out = {"failed": int((~good).sum()), "begun_before": before, "overlapping": int(overlapping)}
    begins = heads if common_clock and apart is None else None if apart is None else apart * np.arange(len(heads))
    return begun_at(path, calls, begins, source, licence, notes=notes, **left_out)


def begun_at(
    path: str | os.PathLike[str],
    calls: Calls,
    starts: Sequence[float] | np.ndarray | None,
    source: str,
    licence: str,
    *,
    notes: tuple[str, ...] = (),
    **counted: int,
) -> ProgramTrace:
    """Return the trace of programs in any order, sorted by when they began (s), where that is told."""
    sorted_starts = None
    if starts is not None:
        which = np.argsort(starts, kind="stable")
        calls, sorted_starts = chosen(calls, which), np.asarray(starts, float)[which]
        sorted_starts = sorted_starts - sorted_starts[0]
    return ProgramTrace(calls, sorted_starts, Path(path).name, source, licence, notes=notes, **counted)  # type: ignore[arg-type]


def _first_numbers(sessions: Sequence[Hashable], index: np.ndarray) -> dict[Hashable, int]:
    """Return the least number of any call of each session, those that failed among them."""
    least: dict[Hashable, int] = {}
    for session, number in zip(sessions, index.tolist(), strict=True):
        least[session] = min(number, least.get(session, number))
    return least


def _not_waited_for(begin: np.ndarray, end: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Return those of the calls that have ended for which no other of them waited."""
    if len(ended) < 2:
        return ended
    latest = int(ended[-1])  # rows are in order of their beginnings
    return ended[(end[ended] > begin[latest] + ROUNDING) | (ended == latest)]


def _goes_on_from(
    prompt: int, prompts: np.ndarray, contexts: np.ndarray, rows: np.ndarray, ends: np.ndarray, told: int | None
) -> tuple[int, int]:
    """Return the call from whose context a prompt goes on, or -1, and the tokens of it."""
    if told is not None:
        if not told or not len(rows):
            return -1, 0
        enough = rows[contexts[rows] >= told]
        of = int(enough[-1] if len(enough) else rows[np.argmax(contexts[rows])])
        return of, min(told, int(contexts[of]))
    for lengths in (contexts, prompts):
        fits = rows[lengths[rows] <= prompt]
        if len(fits):
            of = int(fits[np.argmax(ends[fits])])
            return of, int(lengths[of])
    return -1, 0


def either(path: str | os.PathLike[str], names: dict[str, str]) -> list[Column]:
    """Return columns by their keys in JSON lines, or by the names that a csv file has for these."""
    if next(text_lines(path), "").startswith("{"):
        return read_json_columns(path, list(names))
    return read_columns(path, list(names.values()))


def names_of(column: Column) -> list[str]:
    """Return the session of each row; BadInput where one has none."""
    for row, cell in enumerate(column.cells):
        if cell in ("", None):
            column.refuse(row, "there is no session")
    return [str(cell) for cell in column.cells]
