"""One seed, one run of requests: as of jobs in `llmqueue_gym.workloads.instance`."""

from typing import Protocol

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths import LengthPredictor, length_predictor
from llmqueue_gym.requests import Requests
from llmqueue_gym.workloads.streams import streams


class RequestSamples(Protocol):
    """Whatever can draw requests: `RequestWorkload`, `TraceRequests`, `McSf`, `RequestToy`, or a class of your own."""

    def sample(
        self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `REQUEST` rows sorted by arrival and true output tokens (int64), of at most n requests."""

    def output_sample(self) -> np.ndarray:
        """Return output lengths `(m,)` of the workload, the same at each call, for predictors to be fitted to."""


def draw_requests(
    workload: RequestSamples, predictor: str | LengthPredictor | Predictor, n: int, seed: int
) -> Requests:
    """Draw one run and its predictions.

    Arrivals, lengths and predictions have a stream each, so that another predictor sees the very same requests.

    Args:
        workload: draws arrivals and lengths.
        predictor: bound to the workload's lengths, or a spec, which is bound here. To draw often, bind it once:
            `length_predictor(spec).bind(workload.output_sample())`.
        n: number of requests, at least 1.
        seed: not negative.

    Returns:
        request table with its predictions, true output lengths and refreshed predictions; fewer than n requests where
        the workload has fewer.

    Raises:
        BadInput: n or seed is out of range, or the predictor needs `bind`.
    """
    arrival_rng, length_rng, prediction_rng = streams(seed, "arrivals", "sizes", "predictions")
    requests, outputs = workload.sample(n, arrival_rng, length_rng)
    bound = length_predictor(predictor)
    if isinstance(predictor, str):
        bound = bound.bind(workload.output_sample())
    forecast = bound.predict(requests, outputs, prediction_rng)
    requests["predicted"] = requests["first_predicted"] = forecast.predicted
    requests["lower"], requests["upper"] = forecast.lower, forecast.upper
    return Requests(requests, outputs, forecast.refreshed)


def check_count(n: int) -> None:
    """Raise BadInput where n is less than 1."""
    if n < 1:
        raise BadInput(f"n={n}: at least one request is needed")
