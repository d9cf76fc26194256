"""What a run of programs leaves behind: one row for each program, and the calls that they consist of."""

from dataclasses import dataclass, fields, replace

import numpy as np

from llmqueue_gym.predictors.programs import Foreseen
from llmqueue_gym.programs import Answers, to_come
from llmqueue_gym.requests import Programs, service_table
from llmqueue_gym.systems.run import Run

# Columns of a program that are sums over its calls.
SUMMED = ("prompt", "generated", "predicted", "first_predicted", "lower", "upper", "preemptions")


@dataclass(frozen=True, eq=False, repr=False)
class ProgramRun(Run):
    """A run whose jobs are programs: each comes with its first calls, and is done when its last call has ended.

    Attributes:
        calls: the run of the calls by themselves; those that were cancelled have no completion.
        program: of each call `(n,)`.
        ended: `PROGRAM` rows `(p,)` as they were at the end.
        right: whether the answer of each is right `(p,)`: of a thought its last one, else the one that most of its
            calls have given; None where nobody asks.
    """

    calls: Run | None = None
    program: np.ndarray | None = None
    ended: np.ndarray | None = None
    right: np.ndarray | None = None

    @property
    def waits(self) -> np.ndarray:
        """Time until the calls of each program were first served, of all together `(p,)`, s."""
        assert self.calls is not None and self.program is not None
        waits = self.calls.waits
        began = ~np.isnan(waits)
        waits = np.bincount(self.program[began], waits[began], len(self))
        return np.where(np.isnan(self.outcome["scheduled"]), np.nan, waits)

    def after_warmup(self, share: float = 0.1) -> "ProgramRun":
        """Return the run without its first programs and their calls; totals stay whole."""
        assert self.calls is not None and self.program is not None and self.ended is not None
        left_out = int(share * len(self))
        calls, mine = self.calls, self.program >= left_out
        tables = {name: getattr(calls, name)[mine] for name in ("jobs", "sizes", "outcome")}
        right = None if self.right is None else self.right[left_out:]
        own = {"ended": self.ended[left_out:], "right": right, "program": self.program[mine] - left_out}
        return replace(super().after_warmup(share), calls=replace(calls, read_at=None, **tables), **own)  # type: ignore


def first_calls(programs: Programs) -> np.ndarray:
    """Return the first row of each program `(p,)`, which is a call that waits for nobody."""
    return np.unique(programs.program, return_index=True)[1]


def heirs(programs: Programs) -> np.ndarray:
    """Return the row of the call that goes on with the context of each, -1 where none does, or several do `(n,)`."""
    going_on = np.flatnonzero(programs.continues >= 0)
    continued = programs.continues[going_on]
    found = np.full(len(programs.program), -1)
    found[continued] = going_on
    found[np.bincount(continued, minlength=len(found)) > 1] = -1
    return found


def following(programs: Programs, foreseen: Foreseen) -> tuple[np.ndarray, np.ndarray]:
    """Return of the call that is predicted to go on with each one's context the gap, s, and the tokens it adds `(n,)`.

    They are -1 and 0 where none is. Where more calls are predicted than there are, and nobody goes on, they are those
    of the others on average.
    """
    heir, calls = heirs(programs), to_come(programs, np.ones(len(programs.program)))
    has = heir >= 0
    goes_on = np.where(has, foreseen.calls >= 1.5, foreseen.calls >= calls + 0.5) & has.any()
    found = []
    for column, nothing in ((foreseen.gap, -1.0), (foreseen.adds, 0.0)):
        usual = column[heir[has]].mean() if has.any() else nothing
        found.append(np.where(goes_on, np.where(has, column[heir], usual), nothing))
    return found[0], found[1]


def weights_of(programs: Programs, requests: np.ndarray) -> np.ndarray:
    """Return what each program costs per second, the weight of its first call `(p,)`."""
    weights: np.ndarray = requests["weight"][first_calls(programs)]
    return weights


def program_run(run: Run, programs: Programs, ended: np.ndarray, answers: Answers | None) -> ProgramRun:
    """Return the run of programs that consists of the run of their calls.

    Args:
        run: of the calls.
        programs: which calls are of one.
        ended: `PROGRAM` rows as they were at the end.
        answers: what is true of the answers of its calls.

    A program's size, prompt, output and predictions are sums over its calls. It was first scheduled and had its first
    token when one of its calls was and had.
    """
    first, program = first_calls(programs), programs.program
    count = len(first)
    jobs = run.jobs[first].copy()
    for name in SUMMED:
        jobs[name] = np.bincount(program, run.jobs[name], count)
    for name in ("longest_gap", "last_token"):
        np.fmax.at(jobs[name], program, np.where(np.isfinite(run.jobs[name]), run.jobs[name], np.nan))
    outcome, told = service_table(count), run.outcome
    for name in ("scheduled", "first_token"):
        np.fmin.at(outcome[name], program, told[name])
    outcome["completion"] = ended["completion"][:count]
    for name in ("recomputed", "swapped"):
        outcome[name] = np.bincount(program, told[name], count)
    sizes = np.bincount(program, run.sizes, count).astype(np.int64)
    clock = float(run.totals["clock"])
    stays = np.where(np.isnan(outcome["completion"]), clock, outcome["completion"]) - jobs["arrival"]
    totals = {**run.totals, "integral": float((jobs["weight"] * np.maximum(stays, 0.0)).sum())}
    right = None if answers is None else _right(program, ended[:count], answers)
    if right is not None:
        totals["price"] = run.system.wrong * float(
            (~right & ended["over"][:count] & (ended["answers"][:count] > 0)).sum()
        )
    shared = {field.name: getattr(run, field.name) for field in fields(Run)}
    shared |= {"jobs": jobs, "outcome": outcome, "sizes": sizes, "totals": totals, "read_at": None}
    return ProgramRun(**shared, calls=run, program=program, ended=np.array(ended[:count]), right=right)


def _right(program: np.ndarray, ended: np.ndarray, answers: Answers) -> np.ndarray:
    """Return whether the answer of each program is right `(p,)`."""
    given = np.where(answers.depth >= 0, ended["last"], ended["leading"])
    right = np.zeros(len(ended), bool)
    rows = np.flatnonzero((answers.cluster >= 0) & answers.right)
    right[program[rows[answers.cluster[rows] == given[program[rows]]]]] = True
    return right
