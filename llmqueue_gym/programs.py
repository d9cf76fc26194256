"""Programs of calls: whether a table is one, how deep its calls lie, who comes together, and what is to come.

The table is `requests.Programs`. Its parents lie in rows above their children, so one pass over the depths of the calls
is enough for whatever follows from parents or from children.
"""

from typing import NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import Programs


class Answers(NamedTuple):
    """What is true of the answers of calls; the truth, which engines and reports hold and policies never read.

    Attributes:
        cluster: `(n,)`, int64, the number of a call's answer within its program, equal where answers are equal;
            `requests.NO_ANSWER` where nobody asks for one, and `HESITATES` where it was asked for one and gave none.
        right: `(n,)`, bool, whether that answer is right.
        score: `(n,)`, float64, between 0 and 1, what a reward model says of the answer; NaN where there is none.
        chance: `(programs,)`, float64, the probability that an answer of the program is right; NaN where answers are
            not independent draws.
        depth: `(programs,)`, int64, output tokens of thought at which the answer of the program settles, right or
            wrong; -1 where the program is no thought.
        correct: `(programs,)`, bool, whether it settles on the right one; False where the program is no thought.
    """

    cluster: np.ndarray
    right: np.ndarray
    score: np.ndarray
    chance: np.ndarray
    depth: np.ndarray
    correct: np.ndarray


def children(programs: Programs) -> np.ndarray:
    """Return the row of the child of each entry of `parents` `(m,)`, int64."""
    return np.repeat(np.arange(len(programs.program)), np.diff(programs.first))


def sizes(programs: Programs) -> np.ndarray:
    """Return the number of calls of each program `(programs,)`, int64."""
    return np.bincount(programs.program)


def began(programs: Programs, arrivals: np.ndarray) -> np.ndarray:
    """Return when the program of each call began `(n,)`, s; calls that wait for others arrive at infinity."""
    first = np.full(len(sizes(programs)), np.inf)
    np.minimum.at(first, programs.program, arrivals)
    return first[programs.program]


def depths(programs: Programs) -> np.ndarray:
    """Return the number of calls on the longest path before each call `(n,)`, int64; 0 for those without parents."""
    from llmqueue_gym.program_passes import write_depths

    depth = np.zeros(len(programs.program), np.int64)
    write_depths(programs.parents, programs.first, depth)
    return depth


def ranges(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the whole numbers from each of some begins on, as many as told, one range after another, int64."""
    ends = np.cumsum(counts)
    return np.repeat(begins - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)


def together(programs: Programs, arrivals: np.ndarray) -> np.ndarray:
    """Return how many calls become ready together with each, itself included `(n,)`, int64; see `gangs`."""
    group = gangs(programs, arrivals)
    return np.bincount(group)[group]


def gangs(programs: Programs, arrivals: np.ndarray) -> np.ndarray:
    """Return a number that calls have in common which become ready together `(n,)`, int64.

    These are calls with the same parents and the same gap, and those of a program that arrive together.

    Args:
        programs: the table.
        arrivals: s, of calls that wait for nobody `(n,)`; those of others are not used.
    """
    counts, n = np.diff(programs.first), len(programs.program)
    single = counts == 1
    keys = np.zeros(n, [("program", "i8"), ("parent", "i8"), ("time", "f8")])
    keys["program"], keys["parent"], keys["time"] = programs.program, -1, np.where(counts > 0, programs.gap, arrivals)
    keys["parent"][single] = programs.parents[programs.first[:-1][single]]
    same: dict[tuple[int, ...], int] = {}
    for row in np.flatnonzero(counts > 1).tolist():  # joins: their parents as a set
        own = tuple(sorted(programs.parents[programs.first[row] : programs.first[row + 1]].tolist()))
        keys["parent"][row] = -2 - same.setdefault(own, len(same))
    found: np.ndarray = np.unique(keys, return_inverse=True)[1]
    return found


def to_come(programs: Programs, amounts: np.ndarray) -> np.ndarray:
    """Return what is to come of each call's program once the call is ready, the call itself included `(n,)`.

    Calls of a program that are as deep as the call, or deeper, are to come; those less deep are taken to be over.

    Args:
        programs: the table.
        amounts: what each call has `(n,)`: tokens, or 1 to count calls.
    """
    from llmqueue_gym.program_passes import write_to_come

    depth, found = depths(programs), np.zeros(len(programs.program))
    levels = np.zeros(len(sizes(programs)), np.int64)
    np.maximum.at(levels, programs.program, depth + 1)
    begins = np.concatenate([[0], np.cumsum(levels)])
    write_to_come(programs.program, depth, np.asarray(amounts, float), begins, np.zeros(begins[-1]), found)
    return found


def longest_path(programs: Programs, amounts: np.ndarray) -> np.ndarray:
    """Return the most that any path of children from each call on has, the call itself included `(n,)`, float64."""
    from llmqueue_gym.program_passes import write_paths

    found, most = np.array(amounts, float), np.zeros(len(programs.program))
    write_paths(programs.parents, programs.first, found, most)
    return found


def earliest_ends(programs: Programs, arrivals: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return when each call has ended at the earliest, were nobody ever to wait `(n,)`, s.

    Args:
        programs: the table.
        arrivals: s, of calls that wait for nobody `(n,)`; those of others are not used.
        times: that each call takes at least, s `(n,)`.
    """
    ends = np.where(np.diff(programs.first) == 0, arrivals, 0.0) + times
    for row in np.flatnonzero(np.diff(programs.first) > 0).tolist():  # parents lie above
        own = programs.parents[programs.first[row] : programs.first[row + 1]]
        ends[row] = ends[own].max() + programs.gap[row] + times[row]
    return ends


def check_programs(programs: Programs, n: int, seats: int | None = None, arrivals: np.ndarray | None = None) -> None:
    """Refuse a table of programs that is none.

    Args:
        programs: the table.
        n: requests that it is of.
        seats: requests that run at a time, where all calls that become ready together must; not checked without.
        arrivals: s, of calls that wait for nobody `(n,)`; without them they are taken to come together.

    Raises:
        BadInput: the first fault, in one line that names the row (from 0) and the value.
    """
    program, parents, first, gap, continues, model = programs
    for name, column, length in (
        ("program", program, n),
        ("first", first, n + 1),
        ("gap", gap, n),
        ("continues", continues, n),
        ("model", np.zeros(n) if model is None else model, n),
    ):
        if np.shape(column) != (length,):
            raise BadInput(f"programs: {name} has the shape {np.shape(column)}; {n} requests need ({length},)")
    if n and (first[0] != 0 or (np.diff(first) < 0).any() or first[-1] != len(parents)):
        raise BadInput(f"programs: first must rise from 0 to the {len(parents)} parents, not to {first[-1]}")
    _check_numbers(program)
    child = np.repeat(np.arange(n), np.diff(first))
    for edge in np.flatnonzero((parents < 0) | (parents >= n)).tolist():
        raise BadInput(f"programs: row {child[edge]}: the parent {parents[edge]} is no row; rows are 0 to {n - 1}")
    for edge in np.flatnonzero(_told_before(child, parents)).tolist():
        raise BadInput(f"programs: row {child[edge]}: the parent {parents[edge]} is told twice; tell it once")
    _check_order(programs, child)
    for edge in np.flatnonzero(program[parents] != program[child]).tolist():
        of = f"{program[child[edge]]}: its parent {parents[edge]} is of program {program[parents[edge]]}"
        raise BadInput(f"programs: row {child[edge]} is of program {of}; both must be of one")
    for row in np.flatnonzero(~((gap >= 0) & (gap < np.inf))).tolist():
        raise BadInput(f"programs: row {row}: gap={gap[row]:g} s must be finite and not negative; 0 is the least")
    roots = np.diff(first) == 0
    for row in np.flatnonzero(roots & (gap > 0)).tolist():
        raise BadInput(f"programs: row {row}: gap={gap[row]:g} s, but it waits for nobody; its arrival says when")
    for row in np.flatnonzero(np.diff(roots.astype(int)) > 0).tolist():
        raise BadInput(f"programs: row {row + 1} waits for nobody, but stands below one that waits; put it above")
    if arrivals is not None:
        for row in np.flatnonzero(np.diff(arrivals[roots]) < 0).tolist():
            raise BadInput(
                f"programs: row {row + 1} comes at {arrivals[row + 1]:g} s, before row {row}, at {arrivals[row]:g} s; "
                "calls that wait for nobody stand in order of arrival"
            )
    going_on = np.flatnonzero(continues != -1)
    known = np.zeros(n, bool)
    known[child[parents == continues[child]]] = True
    for row in going_on[~known[going_on]].tolist():
        raise BadInput(f"programs: row {row}: continues={continues[row]} is none of its parents; -1 continues none")
    if model is not None:
        for row in going_on[model[going_on] != model[continues[going_on]]].tolist():
            raise BadInput(
                f"programs: row {row}: continues={continues[row]}, whose context is another model's; -1 continues none"
            )
    if seats is not None:
        counts = together(programs, np.zeros(n) if arrivals is None else arrivals)
        for row in np.flatnonzero(counts > seats).tolist():
            raise BadInput(
                f"programs: row {row}: program {program[row]} has {counts[row]} branches that come together, and a "
                f"gang of them needs as many seats, not {seats}"
            )


def check_answers(programs: Programs, answers: Answers) -> None:
    """Refuse answers whose number is as large as the calls of their program, for which there is no vote."""
    most = sizes(programs)[programs.program]
    for row in np.flatnonzero(answers.cluster >= most).tolist():
        raise BadInput(
            f"programs: row {row}: answer number {answers.cluster[row]} of a program of {most[row]} calls; number the "
            f"answers of a program from 0 to {most[row] - 1}"
        )


def _told_before(child: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Return which parents the same call has named before `(m,)`."""
    again = np.ones(len(parents), bool)
    again[np.unique(np.stack([child, parents]), axis=1, return_index=True)[1]] = False
    return again


def _check_numbers(program: np.ndarray) -> None:
    if not len(program):
        return
    if program.min() < 0:
        row = int(np.argmin(program))
        raise BadInput(f"programs: row {row}: program={program[row]} must be at least 0")
    absent = np.flatnonzero(np.bincount(program) == 0)
    if len(absent):
        raise BadInput(f"programs: program {absent[0]} has no calls; number programs from 0 on without a break")


def ring(programs: Programs) -> list[int]:
    """Return the rows of calls that wait for one another in a ring, the first again at its end; none where none do."""
    child, waits = children(programs), np.diff(programs.first)
    here = np.flatnonzero(waits == 0)
    reached = np.zeros(len(waits), bool)
    while len(here):
        reached[here] = True
        going = np.isin(programs.parents, here)
        waits = waits - np.bincount(child[going], minlength=len(waits))
        here = np.flatnonzero((waits == 0) & ~reached)
    if reached.all():
        return []
    row = int(np.flatnonzero(~reached)[0])
    seen: list[int] = []
    while row not in seen:  # some parent of whoever is not reached is not reached either
        seen.append(row)
        own = programs.parents[programs.first[row] : programs.first[row + 1]]
        row = int(own[~reached[own]][0])
    return [*seen[seen.index(row) :], row]


def _check_order(programs: Programs, child: np.ndarray) -> None:
    """Refuse parents that do not stand in rows above, and say whether they ever could."""
    below = np.flatnonzero(programs.parents >= child)
    if not len(below):
        return
    if found := ring(programs):
        shown = " -> ".join(str(one) for one in found[:6]) + (" -> ..." if len(found) > 6 else "")
        raise BadInput(f"programs: row {found[0]} waits for itself in a cycle of parents, {shown}")
    row, parent = child[below[0]], programs.parents[below[0]]
    raise BadInput(f"programs: row {row}: the parent {parent} is in the future; parents stand in rows above")
