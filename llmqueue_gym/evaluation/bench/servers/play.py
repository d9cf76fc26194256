"""One contestant in one case over all seeds, and what is kept of it: a few numbers per run."""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.evaluation.bench.servers.bounds import ceiling, floor
from llmqueue_gym.evaluation.bench.servers.cases import BLOCKS, Case
from llmqueue_gym.evaluation.bench.servers.contestants import Contestant
from llmqueue_gym.evaluation.cluster import play as play_cluster
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.policies.packing import PackingPolicy

WARMUP = 0.2  # share of the jobs at the start that does not count; a queue of one's own settles slowly
KEPT = slice(0.2, 0.95)  # of impatient jobs: those at the end wait while nobody comes


@dataclass(frozen=True, eq=False)
class Played:
    """A contestant's numbers in one case, each `(runs,)`.

    Attributes:
        value: mean response time, s, or the share of the jobs that is served.
        p99: 99th percentile of the response times of those that are served, s.
        preemptions: per job.
        left: share of the jobs in system at the last arrival.
    """

    value: np.ndarray
    p99: np.ndarray
    preemptions: np.ndarray
    left: np.ndarray


def play(case: Case, contestant: Contestant, seeds: int) -> Played:
    """Play seeds 0 to `seeds` - 1; the same seed gives every contestant the same arrivals, sizes and patience."""
    rows = [_numbers(case, _run(case, contestant, seed)) for seed in range(seeds)]
    return Played(*(np.array(column) for column in zip(*rows, strict=True)))


def bound(case: Case, seeds: int) -> np.ndarray:
    """Return what nobody can beat in each run `(seeds,)`, as `Played.value`."""
    if BLOCKS[case.block].measure == "served":
        return np.full(seeds, ceiling(case))
    floors = []
    for seed in range(seeds):
        jobs, sizes = case.scenario.draw(None, seed)[:2]
        kept = slice(int(WARMUP * len(jobs)), None)
        needs = np.maximum(jobs["need"], 1)[kept]
        floors.append(floor(jobs["arrival"][kept], sizes[kept], needs, case.servers))
    return np.array(floors)


def _run(case: Case, contestant: Contestant, seed: int) -> Run:
    made = contestant.policy
    if isinstance(made, PackingPolicy):
        return case.packed.play(made, seed)
    return play_cluster(case.cluster, made, seed, contestant.dispatcher)


def _numbers(case: Case, run: Run) -> tuple[float, ...]:
    n, times = len(run), run.response_times
    served = BLOCKS[case.block].measure == "served"
    kept = slice(int((KEPT.start if served else WARMUP) * n), int(KEPT.stop * n) if served else None)
    done = ~np.isnan(times[kept])
    value = float(done.mean()) if served else float(times[kept].mean())
    left = float((run.outcome["completion"] > run.jobs["arrival"][-1]).mean())
    return value, float(np.percentile(times[kept][done], 99)), float(run.outcome["preemptions"].mean()), left
