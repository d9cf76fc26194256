"""The least total latency that any non-preemptive schedule can have in the discrete model of KV-constrained serving.

A request that starts in round k holds prompt + (t - k) tokens in rounds k < t <= k + output and is then done; a round
runs any number of requests whose tokens fit in the memory. With x_{i,k} = 1 where request i starts in round k >= a_i,

    minimise sum_i sum_k (k + o_i - a_i) x_{i,k}
    subject to sum_k x_{i,k} = 1 for each i, and sum_i sum_{k = t - o_i}^{t - 1} (p_i + t - k) x_{i,k} <= M for each t.

Source: Jaillet et al., arXiv 2502.07115. The linear relaxation is weak (some 30 % below the optimum with 50 requests
whose longest fill the memory alone), so only instances of about ten such requests are solved in a minute or two.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from llmqueue_gym.errors import BadInput


@dataclass(frozen=True, eq=False)
class Optimum:
    """What the solver found.

    Attributes:
        total_latency: sum of completion - arrival in `starts`, rounds.
        starts: round in which each request starts `(n,)`.
        bound: no schedule has a lower total latency, rounds.
        gap: (total_latency - bound) / total_latency.
        status: "optimal" (to the gap asked for) or "time limit".
    """

    total_latency: int
    starts: np.ndarray
    bound: float
    gap: float
    status: str


class _Program:
    """The integer program, with a column for each request and round in which an optimum can start it."""

    def __init__(self, arrivals: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, memory: int, known: int) -> None:
        n = len(arrivals)
        # After the last arrival an optimum has no idle round before its last start: closing it would be better. So the
        # rounds before the start of i are filled by others. And nobody waits longer than all do in a known schedule.
        busy = arrivals.max() + outputs.sum() - outputs
        patient = arrivals + known - outputs.sum()
        width = np.minimum(busy, patient) - arrivals + 1
        self.request = np.repeat(np.arange(n), width)
        self.start = np.arange(len(self.request)) - np.repeat(np.cumsum(width) - width - arrivals, width)
        length = outputs[self.request]
        self.cost = (self.start + length - arrivals[self.request]).astype(float)
        column = np.repeat(np.arange(len(length)), length)
        age = np.arange(len(column)) - np.repeat(np.cumsum(length) - length, length) + 1
        held = (prompts[self.request][column] + age).astype(float)
        rounds, rows = np.unique(self.start[column] + age, return_inverse=True)
        self.held = csr_array((held, (rows, column)), shape=(len(rounds), len(length)))
        self.once = csr_array((np.ones(len(length)), (self.request, np.arange(len(length)))), shape=(n, len(length)))
        self.memory = np.full(len(rounds), float(memory))


def hindsight_optimum(
    arrivals: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    memory: int,
    gap: float = 0.005,
    time_limit: float = 120.0,
    known: np.ndarray | None = None,
) -> Optimum:
    """Solve the integer program with HiGHS.

    Args:
        arrivals: rounds `(n,)`, whole numbers from 0 on.
        prompts: tokens `(n,)`.
        outputs: tokens `(n,)`.
        memory: tokens.
        gap: relative gap at which the solver may stop.
        time_limit: s; when it is over, the best schedule known is returned.
        known: starts of a schedule `(n,)`, from which an optimum cannot be far; `shortest_first` makes one otherwise.

    Raises:
        BadInput: a request that does not fit, a number that is not whole or out of range, or a known schedule that is
            not feasible.
    """
    arrivals, prompts, outputs = _whole(arrivals, prompts, outputs, memory)
    if len(arrivals) == 0:
        return Optimum(0, arrivals, 0.0, 0.0, "optimal")
    starts = shortest_first(arrivals, prompts, outputs, memory) if known is None else np.array(known, np.int64)
    if np.any(starts < arrivals) or held_tokens(prompts, outputs, starts).max() > memory:
        raise BadInput("known is not a schedule: it starts before an arrival or does not fit in memory; leave it out")
    best = total_latency(arrivals, outputs, starts)
    program = _Program(arrivals, prompts, outputs, memory, best)
    found = milp(
        program.cost,
        integrality=1,
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(program.held, -np.inf, program.memory), LinearConstraint(program.once, 1, 1)],
        options={"time_limit": time_limit, "mip_rel_gap": gap},
    )
    if found.status not in (0, 1):
        raise RuntimeError(f"HiGHS did not solve the integer program: {found.message}")
    if found.x is not None:
        chosen = np.flatnonzero(found.x > 0.5)
        solved = np.empty_like(starts)
        solved[program.request[chosen]] = program.start[chosen]
        if total_latency(arrivals, outputs, solved) < best:
            starts, best = solved, total_latency(arrivals, outputs, solved)
    told = found.mip_dual_bound if found.mip_dual_bound is not None else 0.0
    # Totals are whole numbers; no request is done in fewer rounds than it has output tokens.
    bound = min(float(best), max(float(np.ceil(told - 1e-4)), float(outputs.sum())))
    return Optimum(best, starts, bound, (best - bound) / best, "optimal" if found.status == 0 else "time limit")


def total_latency(arrivals: np.ndarray, outputs: np.ndarray, starts: np.ndarray) -> int:
    """Return the sum of completion - arrival, rounds."""
    return int(np.sum(starts + outputs - arrivals))


def held_tokens(prompts: np.ndarray, outputs: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the tokens in memory in each round from round 0 on `(rounds,)`."""
    held = np.zeros(int(np.max(starts + outputs)) + 1, np.int64)
    for prompt, output, start in zip(prompts, outputs, starts, strict=True):
        held[start + 1 : start + output + 1] += prompt + np.arange(1, output + 1)
    return held


def shortest_first(arrivals: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, memory: int) -> np.ndarray:
    """Return starts `(n,)` of a feasible schedule: shortest first, each as early as it fits beside those before."""
    held = np.zeros(int(np.max(arrivals) + np.sum(outputs)) + 1, np.int64)
    starts = np.empty(len(arrivals), np.int64)
    for i in np.lexsort((arrivals, outputs)):
        needed = prompts[i] + np.arange(1, outputs[i] + 1)
        start = int(arrivals[i])
        while start + outputs[i] < len(held) and np.any(held[start + 1 : start + outputs[i] + 1] + needed > memory):
            start += 1
        held[start + 1 : start + outputs[i] + 1] += needed
        starts[i] = start
    return starts


def _whole(arrivals: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, memory: int) -> tuple[np.ndarray, ...]:
    """Return the columns as int64, refusing what the model has no room for."""
    columns = []
    for name, least, values in (("arrivals", 0, arrivals), ("prompts", 0, prompts), ("outputs", 1, outputs)):
        given = np.asarray(values)
        bad = np.flatnonzero((given != np.floor(given)) | (given < least))
        if len(bad):
            raise BadInput(f"{name}[{bad[0]}]={given[bad[0]]} must be a whole number of at least {least}")
        columns.append(given.astype(np.int64))
    if len({len(column) for column in columns}) != 1:
        raise BadInput(
            f"arrivals, prompts and outputs have {', '.join(str(len(c)) for c in columns)} rows; give as many"
        )
    bad = np.flatnonzero(columns[1] + columns[2] > memory)
    if len(bad):
        i = bad[0]
        raise BadInput(
            f"request {i + 1} has {columns[1][i]} prompt and {columns[2][i]} output tokens, more than memory={memory}; "
            f"try memory={columns[1][i] + columns[2][i]}"
        )
    return tuple(columns)
