"""Metrics of calls that several models answer: those of jobs, and how often answers are right and what they cost."""

from collections.abc import Callable

from llmqueue_gym.evaluation.metrics import LATENCIES, METRICS
from llmqueue_gym.systems import Run

__all__ = ["CHOICE_METRICS", "LATENCIES", "measure"]

CHOICE_METRICS: dict[str, Callable[[Run], float]] = {
    "accuracy": lambda run: float(run.outcome["right"][run.done].mean()),  # share of the answers that are right
    "usd_per_thousand": lambda run: float(1000 * run.outcome["spent"].mean()),  # calls
    "asked_per_call": lambda run: float(run.outcome["asked"].mean()),  # models
    "given_up_per_call": lambda run: float(run.outcome["preemptions"].mean()),  # models that were asked in vain
    "strongest": lambda run: float((run.outcome["model"] == len(run.system.served) - 1).mean()),  # share of answers
}


def measure(run: Run, warmup: float = 0.0) -> dict[str, float]:
    """Return every metric of a run by name, the first share of the calls left out."""
    run = run.after_warmup(warmup) if warmup else run
    return {name: metric(run) for name, metric in {**METRICS, **CHOICE_METRICS}.items()}
