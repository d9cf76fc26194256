"""Iterations made up for fits: the times that known coefficients give, with noise, and as a CSV file."""

import csv
from dataclasses import replace

import numpy as np

from llmqueue_gym.profiles.iterations import Iterations

TRUE = np.array([10.426, 7.1369, 0.064384, 4.5208e-6, 8.9908e-5]) / 1000  # s, of a100-llama3-8b


def synthetic(n, noise=0.0, seed=0):
    """Return n iterations of one prompt, decodes, or both, that take what `TRUE` says, times lognormal noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n)
    prompts = np.where(kind == 0, 0, rng.integers(1, 2049, n)).astype(float)
    decodes = np.where(kind == 1, 0, rng.integers(1, 129, n)).astype(float)
    cached = rng.integers(0, 3000, n)
    context, pairs = decodes * rng.integers(64, 4000, n), prompts * (cached + prompts / 2)
    table = Iterations(prompts + decodes, prompts, decodes, context, pairs, np.ones(n))
    return replace(table, seconds=table.predict(TRUE) * np.exp(noise * rng.standard_normal(n)))


def write_csv(path, header, rows):
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return path
