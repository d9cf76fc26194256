"""One seed, one run of jobs."""

from typing import Protocol

import numpy as np

from llmqueue_gym.jobs import Instance
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.workloads.streams import streams


class Samples(Protocol):
    """Whatever can draw a run: `Workload`, `TraceWorkload`, `Toy`, or a class of your own."""

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        """Return a job table and true sizes of at most n jobs."""


def draw(workload: Samples, predictor: Predictor, n: int, seed: int) -> Instance:
    """Draw one run and its predictions.

    Arrivals, sizes and predictions have a stream each, so that another predictor sees the very same jobs.

    Args:
        workload: draws arrivals and sizes.
        predictor: bound to the size law.
        n: number of jobs.
        seed: not negative.

    Returns:
        job table `(n,)` with its predictions, and true sizes `(n,)`; fewer rows where the workload has fewer.
    """
    arrival_rng, size_rng, prediction_rng = streams(seed, "arrivals", "sizes", "predictions")
    jobs, sizes = workload.sample(n, arrival_rng, size_rng)
    jobs["predicted"] = predictor.predict(sizes, prediction_rng)
    return Instance(jobs, sizes)
