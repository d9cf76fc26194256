"""Programs as laws draw them and as traces tell them, and how they become rows of the tables of a run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from llmqueue_gym.programs import ranges
from llmqueue_gym.requests import Contexts, Programs
from llmqueue_gym.workloads.programs.texts import of_calls


class Calls(NamedTuple):
    """Calls of whole programs, one program after another, and in each of them parents before children.

    The context of a call is its prompt and then its output. A prompt begins with tokens of an earlier call's context,
    or of a text that programs share; what follows is its own.

    Attributes:
        program: `(n,)`, int64, from 0 on, sorted.
        parents: `(m,)`, int64, rows, those of each call one after another.
        first: `(n + 1,)`, int64, where those of each call begin.
        gap: `(n,)`, float64, s after the last parent has ended; 0 for calls that wait for nobody.
        offset: `(n,)`, float64, s after its program has begun, for calls that wait for nobody; 0 for others.
        prompts: `(n,)`, int64, tokens.
        outputs: `(n,)`, int64, tokens.
        base: `(n,)`, int64, the row whose context the prompt begins with, or -1.
        kept: `(n,)`, int64, with how many of its tokens; where there is no such row, tokens of a shared text.
        text: `(n,)`, int64, the number of that text, from 0 on; not used where there is none.
        klass: `(n,)`, int64, what kind of call it is; each law says which kinds there are.
        model: `(n,)`, int64, the number from 1 on of the model that serves it; 0 where any does.
    """

    program: np.ndarray
    parents: np.ndarray
    first: np.ndarray
    gap: np.ndarray
    offset: np.ndarray
    prompts: np.ndarray
    outputs: np.ndarray
    base: np.ndarray
    kept: np.ndarray
    text: np.ndarray
    klass: np.ndarray
    model: np.ndarray


_OF_CALLS = ("gap", "offset", "prompts", "outputs", "kept", "text", "klass", "model")


def chain(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return of chains with so many calls each `(programs,)`: program, place in it, parents and where they begin."""
    program = np.repeat(np.arange(len(counts)), counts)
    place = ranges(np.zeros(len(counts), np.int64), counts)
    rows = np.arange(len(program))
    return program, place, rows[place > 0] - 1, np.concatenate([[0], np.cumsum(place > 0)])


def calls_of(
    program: np.ndarray,
    parents: np.ndarray,
    first: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    **more: object,
) -> Calls:
    """Return calls; what is not told of them is that they come at once and share nothing."""
    n = len(program)
    zeros, none = np.zeros(n, np.int64), np.full(n, -1)
    told = {"gap": np.zeros(n), "offset": np.zeros(n), "base": none}
    told |= dict.fromkeys(("kept", "text", "klass", "model"), zeros)
    told |= {name: np.broadcast_to(value, n) for name, value in more.items()}  # type: ignore[call-overload]
    return Calls(program, parents, first, prompts=prompts, outputs=outputs, **told)


def chosen(calls: Calls, which: np.ndarray) -> Calls:
    """Return some programs `(k,)` in the order told, any of them more than once; the second time it is another one."""
    begins = np.searchsorted(calls.program, np.arange(calls.program[-1] + 2))
    counts = np.diff(begins)[which]
    rows = ranges(begins[which], counts)
    moved = np.repeat(np.cumsum(counts) - counts - begins[which], counts)  # to each row from where it was
    number = np.diff(calls.first)[rows]
    parents = calls.parents[ranges(calls.first[rows], number)] + np.repeat(moved, number)
    base = calls.base[rows]
    return Calls(
        program=np.repeat(np.arange(len(which)), counts),
        parents=parents,
        first=np.concatenate([[0], np.cumsum(number)]),
        base=np.where(base < 0, -1, base + moved),
        **{name: getattr(calls, name)[rows] for name in _OF_CALLS},
    )


def joined(parts: Sequence[Calls]) -> Calls:
    """Return the programs of several tables, one table after another."""
    if len(parts) == 1:
        return parts[0]
    rows = np.cumsum([0, *(len(part.program) for part in parts)])
    ends = np.cumsum([0, *(len(part.parents) for part in parts)])
    programs = np.cumsum([0, *(part.program[-1] + 1 for part in parts)])
    each = list(enumerate(parts))
    return Calls(
        program=np.concatenate([part.program + programs[i] for i, part in each]),
        parents=np.concatenate([part.parents + rows[i] for i, part in each]),
        first=np.concatenate([[0], *(part.first[1:] + ends[i] for i, part in each)]),
        base=np.concatenate([np.where(part.base < 0, -1, part.base + rows[i]) for i, part in each]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_CALLS},
    )


def longest_call(calls: Calls) -> np.ndarray:
    """Return the most tokens, prompt and output together, of any call of each program `(programs,)`, int64."""
    begins = np.searchsorted(calls.program, np.arange(calls.program[-1] + 1))
    return np.maximum.reduceat(calls.prompts + calls.outputs, begins)


class Laid(NamedTuple):
    """Calls as rows of a run: first those that wait for nobody, in order of arrival, then the others.

    Attributes:
        arrivals: `(n,)`, float64, s; infinity where a call waits for others.
        prompts: `(n,)`, int64, tokens.
        outputs: `(n,)`, int64, tokens.
        klass: `(n,)`, int64.
        contexts: what the prompts consist of.
        programs: the table.
    """

    arrivals: np.ndarray
    prompts: np.ndarray
    outputs: np.ndarray
    klass: np.ndarray
    contexts: Contexts
    programs: Programs


def laid_out(calls: Calls, starts: np.ndarray) -> Laid:
    """Return the rows of calls whose programs begin at sorted times `(programs,)`, s."""
    number = np.diff(calls.first)
    arrivals = np.where(number > 0, np.inf, starts[calls.program] + calls.offset)
    order = np.argsort(arrivals, kind="stable")  # infinity is last, program by program as they are
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    base = np.where(calls.base < 0, -1, place[calls.base])[order]
    counts = number[order]
    parents = place[calls.parents[ranges(calls.first[:-1][order], counts)]]
    first = np.concatenate([[0], np.cumsum(counts)])
    prompts, outputs, kept = calls.prompts[order], calls.outputs[order], calls.kept[order]
    whole = (base >= 0) & (kept == prompts[base] + outputs[base])
    child = np.repeat(np.arange(len(order)), counts)
    waits = np.zeros(len(order), bool)
    waits[child[parents == base[child]]] = True
    model = calls.model[order] if calls.model.any() else None
    if model is not None:  # no model goes on with the keys and values of another
        waits &= (base < 0) | (model == model[base])
    continues = np.where(whole & waits, base, -1)
    programs = Programs(calls.program[order], parents, first, calls.gap[order], continues, model)
    contexts = of_calls(base, kept, calls.text[order], prompts, outputs)
    return Laid(arrivals[order], prompts, outputs, calls.klass[order], contexts, programs)
