"""The loader of programs that somebody wrote down call by call: who comes after whom, and how much later."""

import os
from dataclasses import replace

import numpy as np

from llmqueue_gym.columns import Column, read_columns, read_header
from llmqueue_gym.errors import nearest
from llmqueue_gym.programs import ring
from llmqueue_gym.requests import Programs
from llmqueue_gym.workloads.programs.calls import calls_of
from llmqueue_gym.workloads.traces.program_trace import ProgramTrace, begun_at, names_of

NAMES = ["program", "call", "after", "start_s", "gap_s", "prompt_tokens", "output_tokens"]


def load_calls(path: str | os.PathLike[str]) -> ProgramTrace:
    """Read programs of one's own, `program,call,after,start_s,gap_s,prompt_tokens,output_tokens`, a call a row.

    A call comes `gap_s` after the last of the calls that `after` names has ended, and its prompt goes on from the
    context of that which stands last there and fits into it; where `after` names none it comes at `start_s`. A
    `start_s` of the one, or a `gap_s` of the other, is counted and told, and not used. One more column may be there,
    `model`: the one that serves it, as profiles name it; where that is empty any does.

    Args:
        path: a csv file; names in `after` are separated by spaces, and stand above those who wait for them.

    Raises:
        BadInput: as `load_programs` says; or calls wait for one another in a ring, or for one that is not there or
            stands below.
    """
    program, call, after, start, gap, prompts, outputs = read_columns(path, NAMES)
    models, asked = _models(path, len(call.cells))
    of, names = names_of(program), names_of(call)
    row_of: dict[tuple[str, str], int] = {}
    for row, key in enumerate(zip(of, names, strict=True)):
        if row_of.setdefault(key, row) != row:
            call.refuse(row, f"program {key[0]} has a call of this name in row {row_of[key] + 1}")
    parents: list[list[int]] = []
    for row, cell in enumerate(after.cells):
        for name in cell.split():
            if (of[row], name) not in row_of:
                known = [other for which, other in row_of if which == of[row]]
                after.refuse(row, f"program {of[row]} has no call {name!r}; {nearest(name, known)}")
            if cell.split().count(name) > 1:
                after.refuse(row, f"{name!r} is told twice; tell it once")
        parents.append([row_of[of[row], name] for name in cell.split()])
    counts = np.array([len(mine) for mine in parents])
    edges = np.array([parent for mine in parents for parent in mine], np.int64)
    nothing = np.zeros(len(counts), np.int64)
    found = ring(Programs(nothing, edges, np.concatenate([[0], np.cumsum(counts)]), nothing, nothing))
    if found:
        after.refuse(found[0], "calls wait for one another: " + " -> ".join(names[row] for row in found))
    for row, mine in enumerate(parents):
        for parent in mine:
            if parent > row:
                after.refuse(row, f"{names[parent]!r} is in the future, in row {parent + 1}; put it above")
    number: dict[str, int] = {}
    which = np.array([number.setdefault(name, len(number)) for name in of])
    order = np.argsort(which, kind="stable")
    place = np.argsort(order)
    begins = _seconds(start, counts == 0)
    heads = np.full(len(number), np.inf)
    np.minimum.at(heads, which[counts == 0], begins[counts == 0])
    notes = (*_unused(start, counts > 0, "calls that wait for others"), *_unused(gap, counts == 0, "first calls"))
    waits, tokens, context = _seconds(gap, counts > 0), outputs.counts(), prompts.counts()
    for row in np.flatnonzero(tokens < 1).tolist():
        outputs.refuse(row, "0 output tokens; each call needs at least one")
    fits = [[p for p in mine if context[p] + tokens[p] <= context[row]] for row, mine in enumerate(parents)]
    base = np.array([mine[-1] if mine else -1 for mine in fits])
    calls = calls_of(
        which[order],
        np.array([place[parent] for row in order for parent in parents[row]], np.int64),
        np.concatenate([[0], np.cumsum(counts[order])]),
        np.maximum(context, 1)[order],
        tokens[order],
        gap=waits[order],
        offset=np.where(counts == 0, begins - heads[which], 0.0)[order],
        base=np.where(base < 0, -1, place[base])[order],
        kept=np.where(base < 0, 0, (context + tokens)[base])[order],
        model=asked[order],
    )
    return replace(begun_at(path, calls, heads, "", "", notes=notes), models=models)


def _models(path: str | os.PathLike[str], n: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the models that calls ask for, and the number of each call's `(n,)`, from 1 on, or 0."""
    if "model" not in read_header(path):
        return (), np.zeros(n, np.int64)
    names, numbers = read_columns(path, ["model"])[0].numbered()
    if names[0] == "":
        return tuple(map(str, names[1:])), numbers
    return tuple(map(str, names)), numbers + 1


def _unused(column: Column, rows: np.ndarray, what: str) -> list[str]:
    """Return what is to be said of times in rows `(n,)` that have none of this kind; they are empty or fine times."""
    cells = [cell if mine and cell != "" else 0 for cell, mine in zip(column.cells, rows.tolist(), strict=True)]
    n = np.count_nonzero(Column(column.path, column.name, cells).seconds())
    return [f"{n:,} {column.name} of {what} are not used"] if n else []


def _seconds(column: Column, told: np.ndarray) -> np.ndarray:
    """Return the s of rows that are told `(n,)`, 0 in the others, whose cells may be empty."""
    cells = [cell if mine else 0 for cell, mine in zip(column.cells, told.tolist(), strict=True)]
    return Column(column.path, column.name, cells).seconds()
