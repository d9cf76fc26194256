"""Draws one run: jobs from a workload, predictions from a predictor, each kind of randomness from its own stream."""

from typing import Any

import numpy as np

from llmqueue_gym.jobs import Instance
from llmqueue_gym.predictors.base import Predictor


def draw(workload: Any, bound_predictor: Predictor, n: int, seed: int) -> Instance:
    """Return the jobs of a seed, with their predictions.

    Arrivals, sizes and predictions have a stream each, so that every policy and every predictor meets the same jobs.

    Args:
        workload: anything with `sample(n, arrival_rng, size_rng)`.
        bound_predictor: the prediction model, bound to the size law.
        n: number of jobs wanted.
        seed: not negative.
    """
    arrival, size, prediction = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3))
    instance = workload.sample(n, arrival, size)
    instance.jobs["predicted"] = bound_predictor.predict(instance.sizes, prediction)
    return instance
