"""Workloads of requests: at a rate with lengths of one law; and one run of any from one seed, as of jobs."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths import LengthPredictor, length_predictor
from llmqueue_gym.requests import Contexts, Programs, Requests, request_table
from llmqueue_gym.workloads import arrival_process
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.contexts import beginnings
from llmqueue_gym.workloads.requests.chats import Chats
from llmqueue_gym.workloads.requests.lengths import Lengths, length_law, sample_within
from llmqueue_gym.workloads.requests.sharing import SharedLengths
from llmqueue_gym.workloads.streams import streams

# `REQUEST` rows, their true output tokens, int64, what the prompts consist of, and of which program each is a call.
ProgramRows = tuple[np.ndarray, np.ndarray, Contexts, Programs]
# The same of requests by themselves, sorted by arrival; what prompts consist of is told where they share.
Rows = tuple[np.ndarray, np.ndarray] | tuple[np.ndarray, np.ndarray, Contexts] | ProgramRows
SAMPLE = 10_000  # requests of the sample that predictors are fitted to


class RequestSamples(Protocol):
    """Whatever can draw requests: `RequestWorkload`, `TraceRequests`, `McSf`, or a class of your own."""

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Rows:
        """Return n requests, or calls of n programs, and their true outputs, or fewer where the workload has fewer.

        What the prompts consist of is a third thing that is returned, only where they share, and of which program each
        request is a call the fourth, only where there are programs. Arrivals and lengths have a stream each; see
        `llmqueue_gym.workloads.workload.Samples`.
        """

    def output_sample(self) -> np.ndarray:
        """Return output lengths `(m,)` of the workload, the same at each call, for predictors to be fitted to."""


def draw_requests(
    workload: RequestSamples, predictor: str | LengthPredictor | Predictor, n: int, seed: int
) -> Requests:
    """Draw one run and its predictions; fewer than n requests where the workload has fewer.

    Arrivals, lengths and predictions have a stream each, so that another predictor sees the very same requests. The
    predictor is bound to the workload's lengths, or a spec, which is bound here. To draw often, bind it once:
    `length_predictor(spec).bind(workload.output_sample())`.

    Raises:
        BadInput: n or seed is out of range, or the predictor needs `bind`.
    """
    arrival_rng, length_rng, prediction_rng = streams(seed, "arrivals", "sizes", "predictions")
    drawn = workload.sample(n, arrival_rng, length_rng)
    requests, outputs = drawn[:2]
    contexts, programs = drawn[2] if len(drawn) > 2 else None, drawn[3] if len(drawn) > 3 else None
    if contexts is not None:
        requests["prefix"] = beginnings(contexts)
    bound = length_predictor(predictor)
    if isinstance(predictor, str):
        bound = bound.bind(workload.output_sample())
    forecast = bound.predict(requests, outputs, prediction_rng)
    requests["predicted"] = requests["first_predicted"] = forecast.predicted
    requests["lower"], requests["upper"] = forecast.lower, forecast.upper
    return Requests(requests, outputs, forecast.refreshed, contexts, programs)


def check_count(n: int, what: str = "request") -> None:
    """Raise BadInput where n is less than 1."""
    if n < 1:
        raise BadInput(f"n={n}: at least one {what} is needed")


@dataclass(frozen=True)
class RequestWorkload:
    """Requests with independent lengths, or turns of chats, that arrive at a wanted rate.

    Attributes:
        lengths: joint law of prompt and output, or its spec, such as `azure-conv`.
        rate: mean arrivals per s; `inf` lets all arrive at time 0.
        arrivals: the arrival process, or its spec.
        max_tokens: most tokens of prompt and output together; a request that exceeds them is drawn again, so the law
            is that of the others. `redrawn_share` says how many that are. Chats end before they outgrow it.
    """

    lengths: str | Lengths
    rate: float
    arrivals: str | ArrivalProcess = "poisson"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", length_law(self.lengths))
        object.__setattr__(self, "arrivals", arrival_process(self.arrivals))
        if not self.rate > 0:
            raise BadInput(f"rate={self.rate:g} must be positive, requests per s, or inf for all at once")
        if self.max_tokens is not None and not 2 <= self.max_tokens <= MOST_TOKENS:
            raise BadInput(
                f"max_tokens={self.max_tokens} must be from 2, one of prompt and one of output, to {MOST_TOKENS:,}"
            )

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Rows:
        """Return n requests; BadInput where next to none is within `max_tokens`."""
        check_count(n)
        law, process, most = length_law(self.lengths), arrival_process(self.arrivals), self.max_tokens or np.inf
        if isinstance(law, Chats):
            times, prompts, outputs, contexts = law.turns_of(n, self.rate, process, arrival_rng, length_rng, most)
            return request_table(times, prompts), outputs, contexts
        times = np.zeros(n) if np.isinf(self.rate) else process.times(n, self.rate, arrival_rng)
        if isinstance(law, SharedLengths):
            prompts, outputs, contexts = law.shared(n, length_rng, most)
            return request_table(times, prompts), outputs, contexts
        prompts, outputs = sample_within(law, n, length_rng, most)
        return request_table(times, prompts), outputs

    def output_sample(self) -> np.ndarray:
        """Return 10,000 output lengths from a fixed seed."""
        return self.sample(SAMPLE, np.random.default_rng(1), np.random.default_rng(0))[1]

    @property
    def redrawn_share(self) -> float:
        """Share of the law that is drawn again because of `max_tokens`, estimated from 10,000 requests."""
        prompts, outputs = length_law(self.lengths).sample(SAMPLE, np.random.default_rng(0))
        return 0.0 if self.max_tokens is None else float(np.mean(prompts + outputs > self.max_tokens))
