"""Requests that come to a replica: recorded ones, or lengths of a law with Poisson arrivals.

The runs of a recording are as many windows of it, of equal length and without overlap, each brought to the rate that is
asked for: bursts within a window stay, the swell of the hour is taken out, so that a load means the same in every run.
Elsewhere a run is a seed.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.evaluation.serving.scenario import recorded_rate, stretched
from llmqueue_gym.predictors.lengths import length_predictor
from llmqueue_gym.requests import Requests
from llmqueue_gym.workloads.requests import RequestWorkload, TraceRequests, draw_requests


@dataclass(frozen=True)
class Stream:
    """Where requests come from.

    Attributes:
        lengths: name of the embedded law of lengths, for want of a file.
        file: recorded requests, or None.
        recorded_times: whether the file's arrival times are kept; otherwise its lengths are drawn with replacement and
            arrivals are Poisson, as with an embedded law.
        max_tokens: most tokens of prompt and output together; longer requests are left out.
    """

    lengths: str
    file: Path | None
    recorded_times: bool
    max_tokens: int

    @property
    def replayed(self) -> bool:
        """Whether runs are windows of one recording."""
        return self.file is not None and self.recorded_times

    def source(self) -> Any:
        """Return what requests are drawn from, at 1 request/s where arrivals are Poisson; it is read once."""
        return _source(self)

    def draw(self, predictor: str, rate: float, n: int, run: int, runs: int) -> Requests:
        """Return the requests of a run; arrivals and lengths are the same for every predictor.

        Predictions beyond the memory are cut to what fits in it.

        Args:
            predictor: spec of a length predictor; it is fitted to all lengths.
            rate: requests/s.
            n: requests; fewer where the window has fewer.
            run: from 0.
            runs: how many there are.
        """
        source = self.source()
        bound = length_predictor(predictor).bind(source.output_sample())
        if not self.replayed:
            return stretched(self._possible(draw_requests(source, bound, n, run)), rate)
        size = len(source) // runs
        rows = slice(run * size, run * size + size)
        window = TraceRequests(source.times[rows], source.prompts[rows], source.outputs[rows], order="first")
        given = draw_requests(window, bound, n, run)
        return stretched(self._possible(given), rate / recorded_rate(given))

    def _possible(self, given: Requests) -> Requests:
        """Cut predictions to what fits in memory, which ends a request; who reserves more would wait for ever."""
        most = np.maximum(self.max_tokens - given.requests["prompt"], 1)
        for column in ("predicted", "first_predicted", "lower", "upper"):
            given.requests[column] = np.minimum(given.requests[column], most)
        return given


@dataclass(frozen=True)
class Extent:
    """How long the requests of all runs are, tokens.

    Attributes:
        prompt: the longest prompt.
        total: the most tokens of prompt and output together.
        n: requests of a run.
        left_out: share of the requests that do not fit in memory.
    """

    prompt: int
    total: int
    n: int
    left_out: float


def extent(stream: Stream, n: int, runs: int) -> Extent:
    """Return how long the requests of all runs are."""
    drawn = [stream.draw("exact", 1.0, n, run, runs) for run in range(runs)]
    prompt = max(int(given.requests["prompt"].max()) for given in drawn)
    total = max(int((given.requests["prompt"] + given.outputs).max()) for given in drawn)
    source = stream.source()
    left = source.too_long / (source.too_long + len(source)) if stream.file is not None else source.redrawn_share
    return Extent(prompt, total, len(drawn[0].outputs), float(left))


def fingerprint(given: Requests) -> tuple[int, int, int, float]:
    """Return numbers by which requests are told apart: how many, prompt and output tokens, and the last arrival, s."""
    arrival = given.requests["arrival"]
    prompts, outputs = int(np.sum(given.requests["prompt"], dtype=np.int64)), int(given.outputs.sum())
    return len(given.outputs), prompts, outputs, round(float(arrival[-1] - arrival[0]), 3)


@cache
def _source(stream: Stream) -> Any:
    if stream.file is None:
        return RequestWorkload(stream.lengths, 1.0, max_tokens=stream.max_tokens)
    if stream.recorded_times:
        return TraceRequests.from_trace(stream.file, order="first", max_tokens=stream.max_tokens)
    return TraceRequests.from_trace(stream.file, rate=1.0, order="bootstrap", max_tokens=stream.max_tokens)
