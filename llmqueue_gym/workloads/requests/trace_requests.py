"""Recorded requests as a workload: their lengths with their own arrivals, or with arrivals at a rate."""

import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.requests import Contexts, request_table
from llmqueue_gym.workloads import arrival_process
from llmqueue_gym.workloads.arrivals import FASTEST, SLOWEST, ArrivalProcess
from llmqueue_gym.workloads.contexts import filled
from llmqueue_gym.workloads.contexts import picked as picked_of
from llmqueue_gym.workloads.requests.workload import Rows, check_count
from llmqueue_gym.workloads.traces import Trace, load_trace

ORDERS = ("window", "first", "bootstrap")


@dataclass(frozen=True, eq=False)
class TraceRequests:
    """Replays recorded requests.

    Rows without output are left out, and so are those that are longer than `max_tokens`; a prompt of 0 tokens counts
    as 1.

    Attributes:
        times: sorted arrival times `(rows,)`, s.
        prompts: tokens `(rows,)`.
        outputs: tokens `(rows,)`.
        rate_scale: factor on the recorded rate; times are divided by it.
        rate: arrivals per s of `arrivals`, in place of the recorded times; `none` keeps those.
        arrivals: the process that is then used, or its spec.
        order: `window` takes consecutive rows from a random one on; `first` takes them from the first on; `bootstrap`
            draws the lengths of rows with replacement (recorded times, where kept, are those of a window).
        max_tokens: most tokens of prompt and output together.
        priorities: whole numbers `(rows,)`, lower is more urgent; 0 where they are not told.
        classes: whole numbers `(rows,)`; 0 where they are not told.
        tenants: who sent each, whole numbers `(rows,)`; 0 where they are not told.
        contexts: what the prompts consist of; None where nobody shares. A row that is drawn twice repeats its texts.
        without_output: rows with 0 output tokens.
        too_long: rows with more than `max_tokens`.
    """

    times: np.ndarray
    prompts: np.ndarray
    outputs: np.ndarray
    rate_scale: float = 1.0
    rate: float | None = None
    arrivals: str | ArrivalProcess = "poisson"
    order: str = "window"
    max_tokens: int | None = None
    priorities: np.ndarray | None = field(default=None, repr=False)
    classes: np.ndarray | None = field(default=None, repr=False)
    tenants: np.ndarray | None = field(default=None, repr=False)
    contexts: Contexts | None = field(default=None, repr=False)
    without_output: int = field(init=False)
    too_long: int = field(init=False)

    def __post_init__(self) -> None:
        times = np.asarray(self.times, float)
        prompts, outputs = np.asarray(self.prompts, np.int64), np.asarray(self.outputs, np.int64)
        told = {name: getattr(self, name) for name in ("priorities", "classes", "tenants")}
        told = {name: np.asarray(np.zeros_like(prompts) if v is None else v, np.int64) for name, v in told.items()}
        columns = (prompts, outputs, *told.values(), *([] if self.contexts is None else [self.contexts.output]))
        if times.ndim != 1 or not len(times) or any(column.shape != times.shape for column in columns):
            shapes = f"times {times.shape}, prompts {prompts.shape} and outputs {outputs.shape}"
            raise BadInput(f"{shapes} must be lists of one length, not empty")
        if not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
            raise BadInput("times must be finite and sorted")
        if not SLOWEST <= self.rate_scale <= FASTEST:
            raise BadInput(
                f"rate_scale={self.rate_scale:g} must be positive and finite, from {SLOWEST:g} to {FASTEST:g}"
            )
        if self.rate is not None and not self.rate > 0:
            raise BadInput(f"rate={self.rate:g} must be positive, requests per s, or inf for all at once")
        if self.rate is not None and self.rate_scale != 1:
            raise BadInput(
                f"rate_scale={self.rate_scale:g} has no recorded times to scale where rate is given; leave it 1"
            )
        if self.order not in ORDERS:
            raise BadInput(f"order={self.order!r}; {nearest(self.order, ORDERS)}")
        prompts, empty = np.maximum(prompts, 1), outputs < 1
        long = ~empty & (prompts + outputs > (self.max_tokens or np.inf))
        kept = ~empty & ~long
        if not kept.any():
            above = f", {long.sum()} above {self.max_tokens} tokens" if self.max_tokens else ""
            raise BadInput(f"no request is left: {empty.sum()} without output{above}")
        read = {"times": times, "prompts": prompts, "outputs": outputs, **told}
        read = {name: column[kept] for name, column in read.items()}
        if self.contexts is not None:
            object.__setattr__(
                self, "contexts", filled(picked_of(self.contexts, np.flatnonzero(kept)), read["prompts"])
            )
        left_out = {"without_output": int(empty.sum()), "too_long": int(long.sum())}
        for name, value in {**read, **left_out, "arrivals": arrival_process(self.arrivals)}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_trace(cls, trace: Trace | str | os.PathLike[str], *rest: Any, **named: Any) -> "TraceRequests":
        """Return the workload of a trace, or of a trace file in any known format; for the rest see the class."""
        trace = trace if isinstance(trace, Trace) else load_trace(trace)
        told = {"priorities": trace.priority, "classes": trace.klass, "tenants": trace.tenant, **named}
        told = {"contexts": trace.contexts, **told}
        return cls(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, *rest, **told)

    def part(self, begin: float, end: float) -> "TraceRequests":
        """Return the rows from one share of them to another, such as 0 to 0.5 for the first half.

        Raises:
            BadInput: the shares leave nothing.
        """
        first, last = (round(share * len(self)) for share in (begin, end))
        if not 0 <= first < last <= len(self):
            raise BadInput(f"no part of {len(self)} rows from share {begin:g} to {end:g}; 0 to 0.5 is the first half")
        rows = slice(first, last)
        names = ("times", "prompts", "outputs", "priorities", "classes", "tenants")
        contexts = None if self.contexts is None else picked_of(self.contexts, np.arange(first, last))
        return replace(self, contexts=contexts, **{name: getattr(self, name)[rows] for name in names})

    def __len__(self) -> int:
        return len(self.outputs)

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Rows:
        """Return requests of the trace; with recorded times the first of them arrives at 0.

        There are n of them where the order is `bootstrap` and a rate is given, otherwise `min(n, rows)`. Which rows is
        drawn from `length_rng`, so that the same requests come at every rate. `arrival_rng` is used for arrivals at a
        rate alone.
        """
        check_count(n)
        rows, redraw = len(self.outputs), self.order == "bootstrap"
        if not (redraw and self.rate is not None):
            n = min(n, rows)
        start = int(length_rng.integers(rows - n + 1)) if n < rows and self.order != "first" else 0
        picked = length_rng.integers(rows, size=n) if redraw else np.arange(start, start + n)
        if self.rate is None:
            times = (self.times[start : start + n] - self.times[start]) / self.rate_scale
        elif np.isinf(self.rate):
            times = np.zeros(n)
        else:
            times = arrival_process(self.arrivals).times(n, self.rate, arrival_rng)
        names = {"klass": self.classes, "priority": self.priorities, "tenant": self.tenants}
        told = {name: column[picked] for name, column in names.items() if column is not None}  # all, after construction
        requests, outputs = request_table(times, self.prompts[picked], **told), self.outputs[picked]
        return (requests, outputs) if self.contexts is None else (requests, outputs, picked_of(self.contexts, picked))

    def output_sample(self) -> np.ndarray:
        """Return the output lengths of all rows that are kept."""
        return self.outputs.copy()
