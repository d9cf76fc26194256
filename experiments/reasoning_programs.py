"""Programs that reason on one replica, for the studies of them: where they run, what of, and how many can be served."""

from dataclasses import replace
from typing import Any

import numpy as np

from llmqueue_gym.evaluation import tradeoff
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.programs import ProgramFleet
from llmqueue_gym.workloads.programs import program_law

PROFILE = "a100-llama3-8b"
SEATS = 32
WARMUP = 0.1  # share of the programs that is left out
BACKLOG = 1000.0  # programs/s, more than anybody serves


def reasoning(
    law: str, stopping: str, programs: int, rate: float, foresight: str = "foresight", seats: int = SEATS
) -> Scenario:
    """Return so many programs at a rate, programs/s.

    Chunks of a thought, and branches, find in the cache what they share.
    """
    rules = f"vllm-v1:caching=vllm,max_seqs={seats}"
    replica = ProgramFleet(PROFILE, rules, replicas=1, stopping=stopping, foresight=foresight)
    where = Scenario(replica, law=law, rate=rate)
    return replace(where, n_jobs=programs)


def programs_of(law: str, calls: int) -> int:
    """Return how many programs of a law have so many calls together on average, one at least."""
    return max(round(calls / program_law(law).calls), 1)


def sustained(law: str, stopping: str, programs: int, seed: int, seats: int = SEATS) -> float:
    """Return the programs/s of the middle half of a backlog, first come first served, program by program."""
    run = reasoning(law, stopping, programs, BACKLOG, seats=seats).simulate("program-fcfs", seed)
    ends = np.sort(run.outcome["completion"])
    low, high = len(ends) // 4, 3 * len(ends) // 4
    return float((high - low) / (ends[high] - ends[low]))


def kept(run: Any) -> np.ndarray:
    """Return which programs of a run count `(p,)`: not the first ones, nor the last."""
    place = np.arange(len(run))
    return (place >= WARMUP * len(run)) & (place < len(run) - 1)


def measured(run: Any) -> dict[str, float]:
    """Return the mean time of programs, s, the share that is right, and the tokens of a program without probes."""
    counted = kept(run)
    found = {"time": run.response_times, "accuracy": run.right, "tokens": run.ended["tokens"]}
    return {name: float(values[counted].mean()) for name, values in found.items()}


def hypervolume(points: list[tuple[float, float]], most: float) -> float:
    """Return the area that points of time and accuracy dominate, over that of times up to `most` and accuracies to 1.

    It is the mean, over times that one has, of the best accuracy that a point gives within it.

    Args:
        points: time, s, and accuracy of each.
        most: the reference, s, with accuracy 0; who takes longer counts nothing.
    """
    times, accuracies = np.array(points, float).reshape(-1, 2).T
    return tradeoff.hypervolume(times, accuracies, most, 0.0) / most
