"""What the studies of prompts that share have in common: workloads, the unit of their loads, who bears the waiting.

A load here is a share of the requests per s that are completed while a backlog never ends, caches included; the load of
a scenario is one of what is sustained where nobody shares.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmqueue_gym.boards.recorded import data_folder
from llmqueue_gym.systems import Run, Scenario
from llmqueue_gym.systems.capacity import set_arrivals
from llmqueue_gym.workloads.requests import TraceRequests
from llmqueue_gym.workloads.requests.sharing import Prefixes

WARMUP = 0.1  # share of the requests of a run that is left out
MOONCAKE, LONGEST = "mooncake_conversation.csv.gz", 32_768  # tokens; longer requests are left out
WORST = 0.05  # share of the requests
RATE_SEED = 10_000  # of the requests that a rate is found with


@dataclass(frozen=True)
class Mixed(Prefixes):
    """Prompts of which a share begin with one of a few long texts; the others stand alone and are small.

    Attributes:
        lone: share of the requests that stand alone.
    """

    name: ClassVar[str] = "mixed"
    lone: float = 0.5

    def beginnings(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the texts, those of lone requests without length."""
        texts, lengths = super().beginnings(n, rng)
        return texts, np.where(rng.random((n, 1)) < self.lone, 0, lengths)


def recording(data: str | Path | None, name: str = MOONCAKE) -> Path | None:
    """Return the file of a recording, or None with a line to whoever runs the study where it is not at hand."""
    folder = data_folder(data)
    if folder is not None and (folder / name).is_file():
        return folder / name
    print(f"{name} is not at hand: what is played of it is left out; --data names its folder", file=sys.stderr)
    return None


def recorded(file: Path) -> TraceRequests:
    """Return recorded requests that are not too long."""
    return TraceRequests.from_trace(str(file), max_tokens=LONGEST)


def backlog_rate(scenario: Scenario, player: str, seed: int = RATE_SEED) -> float:
    """Return the requests/s that a player completes between a tenth and nine tenths of them, all there at time 0."""
    drawn = scenario.draw(seed)
    work = drawn.work.copy()
    set_arrivals(work, np.zeros(len(work)))
    policy = scenario.policy(player)
    run = scenario.system.simulate(drawn._replace(work=work), policy, **scenario.facts(policy))
    if not run.done.all():
        raise RuntimeError(f"{player} leaves requests undone: {run.reason}")
    low, high = np.quantile(run.outcome["completion"], (0.1, 0.9))
    return float(0.8 * len(run) / (high - low))


def at_load(scenario: Scenario, player: str, load: float) -> Scenario:
    """Return the scenario at a share of the rate that a player completes while a backlog never ends."""
    return replace(scenario, load=None, rate=load * backlog_rate(scenario, player))


def borne_by_worst(run: Run) -> float:
    """Return the share of all waiting until first scheduled that the longest waiting bear; NaN where nobody waits."""
    kept = run.after_warmup(WARMUP)
    waits = np.sort(kept.outcome["scheduled"] - kept.jobs["arrival"])[::-1]
    total = waits.sum()
    return float(waits[: round(WORST * len(waits))].sum() / total) if total > 0 else np.nan


def measured(run: Run) -> dict[str, float]:
    """Return mean and p99 of end-to-end times and of times to first token, s, the hits, and who bears the waiting."""
    kept = run.after_warmup(WARMUP)
    if not run.done.all():
        return dict.fromkeys(("mean", "p99", "ttft", "ttft_p99", "hits", "worst"), np.nan)
    first = kept.outcome["first_token"] - kept.jobs["arrival"]
    return {
        "mean": float(kept.response_times.mean()),
        "p99": float(np.quantile(kept.response_times, 0.99)),
        "ttft": float(first.mean()),
        "ttft_p99": float(np.quantile(first, 0.99)),
        "hits": float(run.totals["hit_tokens"] / run.jobs["prompt"].sum()),
        "worst": borne_by_worst(run),
    }
