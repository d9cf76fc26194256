"""The windows of time that fleets are judged by: quarter hours at the rate of the busiest one.

A window of a recorded stream is made of pieces, a minute of neighbours each, that are drawn from all over the
recording, lengths and gaps together, and stretched to the rate, each by the rate of the quarter of an hour around it:
what is bursty within a quarter stays bursty, what comes at a fixed spacing stays so, and there are as many windows as
are wanted although a recording has few quarter hours. Slower changes of the rate are told by the busiest quarter alone.
Where the busiest quarter falls silent for longer than a piece it has no one rate: then requests come as they did in it,
over and over, from a random one of them on, and only what they are is drawn in pieces.
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
MOST_ASKED = 10**6  # that can be asked for, and of one of bursts, which has a whole quarter of an hour
SILENT = 20  # mean gaps at least, of a gap that is a silence
SLOWEST = 1e-6  # requests/s
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
        times = self.times(which, length_rng)
        names = {"klass": source.classes, "priority": source.priorities, "tenant": source.tenants}
        told = {name: column[which] for name, column in names.items() if column is not None}
        requests = request_table(np.maximum.accumulate(times), source.prompts[which], **told)
        outputs = source.outputs[which]
        if source.contexts is None:
            return requests, outputs
        return requests, outputs, picked(source.contexts, which)

    def times(self, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return arrival times `(n,)`, s, from 0 on, of these rows of the recording."""
        gaps = self.gaps[which]
        ends = np.cumsum(gaps)
        if not ends[-1] > 0:  # pieces that come at one time
            gaps, ends = np.ones(len(which)), np.arange(1.0, len(which) + 1)
        scaled: np.ndarray = np.maximum(ends - gaps, 0.0) * (len(which) / self.rate / ends[-1])
        return scaled

    @cached_property
    def gaps(self) -> np.ndarray:
        """From each request to the next `(rows,)`, in mean gaps of the quarter of an hour around it.

        It is 1 for the last, and where the recording falls silent: what comes after it goes on from there.
        """
        times = self.recorded.times
        first = np.searchsorted(times, times - QUARTER / 2)
        last = np.searchsorted(times, times + QUARTER / 2, side="right") - 1
        spans = times[last] - times[first]
        rates = np.divide(last - first, spans, out=np.zeros(len(times)), where=spans > 0)
        gaps = np.diff(times)
        return np.append(np.where(_silent(gaps, rates[:-1]), 1.0, gaps * rates[:-1]), 1.0)

    def output_sample(self) -> np.ndarray:
        """Return the output lengths of the recording."""
        return self.recorded.output_sample()


@dataclass(frozen=True, eq=False)
class Bursts(Pieces):
    """Requests of a recording in pieces, which come as in its busiest quarter over and over, at a rate.

    Attributes:
        quarter: times of the requests of that quarter `(m,)`, s.
        lasts: how long the quarter is, s.
    """

    quarter: np.ndarray
    lasts: float

    def times(self, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return arrival times `(n,)`, s, from 0 on, from a random request of the quarter on."""
        m = len(self.quarter)
        places = int(rng.integers(m)) + np.arange(len(which))
        times = self.quarter[places % m] + self.lasts * (places // m)
        scaled: np.ndarray = (times - times[0]) * (m / self.lasts / self.rate)
        return scaled


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
        BadInput: all requests come at one time, or a number is out of range.
    """
    mean = recorded_rate(request_table(recorded.times, recorded.prompts))
    peak, begins, gaps = busiest(recorded.times, seconds)
    planned = _planned(peak if rate is None else rate, headroom)
    piece = int(np.clip(round(PIECE * mean), 1, len(recorded)))
    workload, most = Pieces(recorded, planned, piece), MOST
    first = int(np.searchsorted(recorded.times, begins))
    quarter, lasts = recorded.times[first : first + gaps], gaps / peak
    if _silent(np.diff(quarter, append=begins + lasts), peak).any():
        workload, most = Bursts(recorded, planned, piece, quarter, lasts), MOST_ASKED
    count = count or _count(planned * seconds, 1, most)
    return Windows(workload, count, planned, mean, begins if rate is None else None, words)


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
    planned = _planned(rate, headroom)
    workload = RequestWorkload(lengths, planned, arrivals, max_tokens)
    return Windows(workload, count or _count(planned * seconds, LONG), planned, rate, None, str(lengths))


def busiest(times: np.ndarray, seconds: float = QUARTER) -> tuple[float, float, int]:
    """Return the rate of the busiest stretch of so many s, requests/s, when it begins, and its number of gaps.

    Of all where that is short. It is a number of gaps over their length, up to the first request after the stretch, so
    that a fixed spacing has its exact rate; where nothing comes for more than `PIECE` at its end, those within the
    stretch over its length, if that is more.

    Args:
        times: sorted arrival times `(n,)`, s.
        seconds: length of the stretch.
    """
    n = len(times)
    if not times[-1] - times[0] >= seconds:
        return (n - 1) / float(times[-1] - times[0]), float(times[0]), n - 1
    after = np.searchsorted(times, times + seconds)
    within = after - np.arange(n) - 1
    whole = np.zeros(n)
    first = np.flatnonzero(after < n)
    whole[first] = (within[first] + 1) / (times[after[first]] - times[first])
    silent = np.append(times, np.inf)[after] - times[after - 1] > PIECE
    silent[after == n] = times[after == n] + seconds - times[-1] > PIECE
    rates = np.where(silent, np.maximum(whole, within / seconds), whole)
    best = int(np.argmax(rates))
    return float(rates[best]), float(times[best]), int(within[best] + (rates[best] == whole[best]))


def _silent(gaps: np.ndarray, rate: Any) -> np.ndarray:
    """Return which gaps, s, are silences: longer than a piece, and than `SILENT` mean gaps at a rate."""
    told: np.ndarray = (gaps > PIECE) & (gaps * rate > SILENT)
    return told


def _planned(rate: float, headroom: float) -> float:
    """Return the rate that is planned for, requests/s."""
    if not SLOWEST <= rate < np.inf:
        raise BadInput(f"rate={rate:g} must be finite and at least {SLOWEST:g}, requests per s, for example 5")
    if not (0 < headroom < np.inf and SLOWEST <= rate * headroom < np.inf):
        raise BadInput(
            f"headroom={headroom:g} must be positive and finite, with at least {SLOWEST:g} requests per s; such as 1.2"
        )
    return rate * headroom


def _count(requests: float, least: int, most: int = MOST) -> int:
    return int(np.clip(round(min(requests, most)), least, most))
