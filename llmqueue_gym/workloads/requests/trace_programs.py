"""Recorded programs as a workload: their calls, with their own beginnings, or with beginnings at a rate."""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.programs import Answers
from llmqueue_gym.requests import Programs
from llmqueue_gym.workloads import arrival_process
from llmqueue_gym.workloads.arrivals import FASTEST, SLOWEST, ArrivalProcess
from llmqueue_gym.workloads.programs import laid_out
from llmqueue_gym.workloads.programs.calls import chosen, longest_call
from llmqueue_gym.workloads.requests.program_workload import rows_of
from llmqueue_gym.workloads.requests.trace_requests import ORDERS
from llmqueue_gym.workloads.requests.workload import ProgramRows, check_count
from llmqueue_gym.workloads.traces.program_trace import NO_CLOCK
from llmqueue_gym.workloads.traces.programs import ProgramTrace, load_programs


@dataclass(frozen=True, eq=False)
class TracePrograms:
    """Replays recorded programs, closed: a call comes its gap after the simulated server is done with its parents.

    Programs with a call that is longer than `max_tokens` are left out, whole. So are those that had begun before a
    window of recorded times does, which therefore begins emptier than the recording was then.

    Attributes:
        trace: the programs, or a file in any known form.
        rate_scale: factor on the rate of recorded beginnings; times are divided by it, and gaps are not.
        rate: beginnings per s of `arrivals`, in place of the recorded ones; `none` keeps those.
        arrivals: the process that is then used, or its spec.
        order: `window` takes consecutive programs from a random one on; `first` takes them from the first on;
            `bootstrap` draws programs with replacement, at a rate alone; one that is drawn again shares nothing with
            the first.
        max_tokens: most tokens of prompt and output of a call together.
        too_long: programs left out for that.
    """

    trace: ProgramTrace | str | os.PathLike[str]
    rate_scale: float = 1.0
    rate: float | None = None
    arrivals: str | ArrivalProcess = "poisson"
    order: str = "window"
    max_tokens: int | None = None
    too_long: int = field(init=False)
    _counts: np.ndarray = field(init=False, repr=False)  # (programs,), calls of each
    _kept: np.ndarray = field(init=False, repr=False)  # (k,), programs that are not too long

    def __post_init__(self) -> None:
        trace = self.trace if isinstance(self.trace, ProgramTrace) else load_programs(self.trace)
        if not SLOWEST <= self.rate_scale <= FASTEST:
            raise BadInput(
                f"rate_scale={self.rate_scale:g} must be positive and finite, from {SLOWEST:g} to {FASTEST:g}"
            )
        if self.rate is not None and not self.rate > 0:
            raise BadInput(f"rate={self.rate:g} must be positive, programs per s, or inf for all at once")
        if self.rate is not None and self.rate_scale != 1:
            raise BadInput(
                f"rate_scale={self.rate_scale:g} has no recorded times to scale where rate is given; leave it 1"
            )
        if self.order not in ORDERS:
            raise BadInput(f"order={self.order!r}; {nearest(self.order, ORDERS)}")
        if self.rate is None and trace.starts is None:
            raise BadInput(f"{trace.name}: {NO_CLOCK}")
        if self.rate is None and self.order == "bootstrap":
            raise BadInput("order='bootstrap' has no recorded times; tell a rate, or take window")
        kept = np.flatnonzero(longest_call(trace.calls) <= (self.max_tokens or np.inf))
        if not len(kept):
            raise BadInput(f"no program is left: {len(trace)} have a call above {self.max_tokens} tokens")
        made = {"_kept": kept, "too_long": len(trace) - len(kept), "_counts": np.bincount(trace.calls.program)}
        for name, value in {**made, "trace": trace, "arrivals": arrival_process(self.arrivals)}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], options: dict[str, Any] | None = None, **named: Any
    ) -> "TracePrograms":
        """Return the workload of a file, with options of its loader; for the rest see the class."""
        return cls(load_programs(path, **(options or {})), **named)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        return float(self._counts[self._kept].mean())

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> ProgramRows:
        """Return n programs, or all where the trace has fewer, but for `bootstrap`; the first of them begins at 0.

        Which programs is drawn from `length_rng`, so that the same ones come at every rate. `arrival_rng` is used for
        beginnings at a rate alone.
        """
        check_count(n, "program")
        which = self._picked(n, length_rng)
        trace = self.trace
        assert isinstance(trace, ProgramTrace)  # set on construction
        if self.rate is None:
            assert trace.starts is not None  # checked on construction
            starts = (trace.starts[which] - trace.starts[which[0]]) / self.rate_scale
        elif np.isinf(self.rate):
            starts = np.zeros(len(which))
        else:
            starts = arrival_process(self.arrivals).times(len(which), self.rate, arrival_rng)
        return rows_of(laid_out(chosen(trace.calls, which), starts))

    def _picked(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n programs, or all."""
        kept = self._kept
        if self.order == "bootstrap":
            return kept[rng.integers(len(kept), size=n)]
        start = int(rng.integers(len(kept) - n + 1)) if self.order == "window" and len(kept) > n else 0
        return kept[start : start + n]

    def answers(
        self, requests: np.ndarray, outputs: np.ndarray, programs: Programs, rng: np.random.Generator
    ) -> Answers | None:
        """Return None: no file says whether answers are right."""
        return None

    def output_sample(self) -> np.ndarray:
        """Return the output lengths of all calls of programs that are kept."""
        trace = self.trace
        assert isinstance(trace, ProgramTrace)  # set on construction
        return trace.calls.outputs[np.isin(trace.calls.program, self._kept)]
