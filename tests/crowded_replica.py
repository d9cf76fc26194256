"""A replica of 400 tokens with round costs, requests that crowd it or are told one by one, and a rank for them."""

import numpy as np

from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import Refreshed, Requests, never_refreshed, request_table


def a_profile(numbers=(0.01, 0.008, 1e-4, 1e-7, 1e-6)):
    """Return a cost profile with easy numbers."""
    return Profile(
        name="test",
        model="m",
        gpu="g",
        form="roofline",
        numbers=np.array(numbers),
        kv_tokens=400,
        kv_bytes_per_token=1.0,
        source="made up",
    )


def shortest_left(request, system, params):
    return request.predicted - request.generated


def requests_of(arrivals, prompts, outputs, predicted=None, lower=None, upper=None, klass=0):
    """Return requests whose predictions are exact unless told otherwise."""
    outputs = np.array(outputs, np.int64)
    table = request_table(np.array(arrivals, float), np.array(prompts), klass=np.array(klass))
    table["predicted"] = table["first_predicted"] = outputs if predicted is None else predicted
    table["lower"] = table["predicted"] if lower is None else lower
    table["upper"] = table["predicted"] if upper is None else upper
    return Requests(table, outputs, never_refreshed(len(outputs)))


def some_requests(seed, n=60, rate=8.0, longest=180, every=0):
    """Return requests that crowd a replica of 400 tokens; predictions are off, and refreshed where asked."""
    rng = np.random.default_rng(seed)
    arrivals = np.sort(rng.uniform(0, n / rate, n))
    arrivals[rng.integers(0, n, 5)] = arrivals[0]
    table = request_table(np.sort(arrivals), rng.integers(1, longest, n))
    outputs = rng.geometric(1 / 40, n).clip(1, 120)
    for column in ("predicted", "first_predicted", "lower", "upper"):
        table[column] = np.maximum(1, outputs * rng.lognormal(0, 0.4, n))
    refreshed = never_refreshed(n)
    if every:
        counts = outputs // every + 1
        start = np.concatenate([[0], np.cumsum(counts)])
        refreshed = Refreshed(every, rng.uniform(1, 150, start[-1]), start)
        table["predicted"] = table["first_predicted"] = refreshed.total[start[:-1]]
    return Requests(table, outputs.astype(np.int64), refreshed)
