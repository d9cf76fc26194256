"""One policy played in one case over all seeds, and what is kept of it: a few numbers per run."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.evaluation.bench.mg1.cases import Case
from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.evaluation.statistics import WARMUP, batches
from llmqueue_gym.policies import Policy

BATCHES = 5  # in each run of a simulated case


@dataclass(frozen=True, eq=False)
class Played:
    """A policy's numbers in one case.

    A run is a seed with its warm-up removed; of a recording it is a window of successive requests, averaged over seeds.

    Attributes:
        means: mean response times of successive batches of each run `(runs, batches)`, in mean sizes.
        p99: 99th percentile of the response times of each run `(runs,)`.
        preemptions: per job.
    """

    means: np.ndarray
    p99: np.ndarray
    preemptions: float

    @property
    def units(self) -> np.ndarray:
        """What intervals are computed from, `(runs * batches,)`."""
        return self.means.ravel()


def play(case: Case, contestant: Policy, seeds: int) -> Played:
    """Play a policy with seeds 0 to `seeds` - 1; the same seed gives every policy the same arrivals and sizes."""
    means: list[Any] = []
    p99: list[Any] = []
    preemptions: list[float] = []
    for seed in range(seeds):
        predictor = case.scenario.bound_predictor(contestant)
        run = simulate(case.scenario.draw(contestant, seed), contestant, case.scenario.law, predictor)
        times = run.response_times
        if case.replayed:
            windows = np.array_split(times, seeds)
            means.append([window.mean() for window in windows])
            p99.append([np.percentile(window, 99) for window in windows])
        else:
            means.append(batches(times, WARMUP, BATCHES))
            p99.append(np.percentile(times[int(WARMUP * len(times)) :], 99))
        preemptions.append(run.outcome["preemptions"].mean())
    if case.replayed:
        return Played(np.mean(means, axis=0)[:, None], np.mean(p99, axis=0), float(np.mean(preemptions)))
    return Played(np.array(means), np.array(p99), float(np.mean(preemptions)))
