"""The windows of time that fleets are judged by: quarter hours at the rate of the busiest one.

A window of a recorded stream is made of pieces, a minute of neighbours each, that are drawn from all over the
recording, lengths and gaps together, and stretched to the rate, each by the rate of the quarter of an hour around it:
what is bursty within a quarter stays bursty, what comes at a fixed spacing stays so, and there are as many windows as
are wanted although a recording has few quarter hours. Slower changes of the rate are told by the busiest quarter alone.
(A moving-block bootstrap: Kuensch, Annals of Statistics 17(3), 1989.)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import request_table
from llmqueue_gym.systems.capacity import recorded_rate
from llmqueue_gym.workloads.contexts import picked
from llmqueue_gym.workloads.requests import RequestWorkload, TraceRequests
from llmqueue_gym.workloads.requests.workload import Rows, check_count

QUARTER = 900.0  # s
PIECE = 60.0  # s of the recording
LEAD = 0.1  # of a window, before it, which is played and not counted: the fleet is not empty when it begins
MOST = 20_000  # requests of a window
LONG = 5000  # fewest requests of a window of a law, where the long run counts


@dataclass(frozen=True, eq=False)
class Pieces:
    """Requests of a recording in pieces of neighbours, drawn with replacement, at a rate.

    Attributes:
        recorded: the recording.
        rate: requests/s.
        piece: requests in a piece.
    """

    recorded: TraceRequests
    rate: float
    piece: int

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Rows:
        """Return n requests in just n / rate s; everything is drawn from `length_rng`."""
        check_count(n)
        source = self.recorded
        rows = len(source)
        starts = length_rng.integers(rows, size=-(-n // self.piece))
        which = ((starts[:, None] + np.arange(self.piece)) % rows).ravel()[:n]
        gaps = self.gaps[which]
        ends = np.cumsum(gaps)
        if not ends[-1] > 0:  # pieces that come at one time
            gaps, ends = np.ones(n), np.arange(1.0, n + 1)
        times = np.maximum(ends - gaps, 0.0) * (n / self.rate / ends[-1])
        names = {"klass": source.classes, "priority": source.priorities, "tenant": source.tenants}
        told = {name: column[which] for name, column in names.items() if column is not None}
        requests = request_table(np.maximum.accumulate(times), source.prompts[which], **told)
        outputs = source.outputs[which]
        if source.contexts is None:
            return requests, outputs
        return requests, outputs, picked(source.contexts, which)

    @cached_property
    def gaps(self) -> np.ndarray:
        """From each request to the next `(rows,)`, in mean gaps of the quarter of an hour around it; 1 for the last."""
        times = self.recorded.times
        first = np.searchsorted(times, times - QUARTER / 2)
        last = np.searchsorted(times, times + QUARTER / 2, side="right") - 1
        spans = times[last] - times[first]
        rates = np.divide(last - first, spans, out=np.zeros(len(times)), where=spans > 0)
        return np.append(np.diff(times) * rates[:-1], 1.0)

    def output_sample(self) -> np.ndarray:
        """Return the output lengths of the recording."""
        return self.recorded.output_sample()


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of requests, one for each seed.

    Attributes:
        workload: what they are sampled from.
        count: requests of a window that count.
        rate: requests/s in a window.
        mean_rate: of the recording, or that of the law.
        begins: when the busiest quarter of the recording begins, s; None of a law.
        words: what it is.
    """

    workload: Any
    count: int
    rate: float
    mean_rate: float
    begins: float | None
    words: str

    @property
    def lead(self) -> int:
        """Requests before those that count."""
        return int(np.ceil(LEAD * self.count))

    @property
    def seconds(self) -> float:
        """Length of a window, s."""
        return self.count / self.rate


def windows_of_trace(
    recorded: TraceRequests,
    words: str,
    headroom: float = 1.0,
    count: int | None = None,
    seconds: float = QUARTER,
    rate: float | None = None,
) -> Windows:
    """Return windows at the rate of the busiest quarter of a recording.

    Args:
        recorded: the recording, at its own times.
        words: what it is.
        headroom: factor on that rate.
        count: requests of a window; those of a quarter of an hour, `MOST` at most, unless told otherwise.
        seconds: length of the quarter.
        rate: in place of the busiest quarter's, requests/s.

    Raises:
        BadInput: all requests come at one time.
    """
    mean = recorded_rate(request_table(recorded.times, recorded.prompts))
    peak, begins = busiest(recorded.times, seconds)
    peak = (rate or peak) * headroom
    piece = int(np.clip(round(PIECE * mean), 1, len(recorded)))
    count = count or _count(peak * seconds, 1)
    return Windows(Pieces(recorded, peak, piece), count, peak, mean, begins if rate is None else None, words)


def windows_of_law(
    lengths: Any,
    rate: float,
    arrivals: Any = "poisson",
    headroom: float = 1.0,
    count: int | None = None,
    max_tokens: int | None = None,
    seconds: float = QUARTER,
) -> Windows:
    """Return windows of requests of a law at a rate; for the arguments see `windows_of_trace` and `RequestWorkload`."""
    if not 0 < rate < np.inf:
        raise BadInput(f"rate={rate:g} must be positive and finite, requests per s, for example 5")
    workload = RequestWorkload(lengths, rate * headroom, arrivals, max_tokens)
    return Windows(
        workload, count or _count(rate * headroom * seconds, LONG), rate * headroom, rate, None, str(lengths)
    )


def busiest(times: np.ndarray, seconds: float = QUARTER) -> tuple[float, float]:
    """Return the rate of the busiest stretch of so many s, requests/s, and when it begins; of all where that is short.

    It is a number of gaps over their length, so that a fixed spacing has its exact rate.

    Args:
        times: sorted arrival times `(n,)`, s.
        seconds: length of the stretch.
    """
    after = np.searchsorted(times, times + seconds)
    first = np.flatnonzero(after < len(times))
    if not len(first):
        return (len(times) - 1) / float(times[-1] - times[0]), float(times[0])
    rates = (after[first] - first) / (times[after[first]] - times[first])
    best = int(np.argmax(rates))
    return float(rates[best]), float(times[first[best]])


def _count(requests: float, least: int) -> int:
    return int(np.clip(round(requests), least, MOST))
