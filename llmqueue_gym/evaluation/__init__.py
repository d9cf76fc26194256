"""Evaluation: scenarios, runs, metrics, intervals and results with provenance."""

from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.evaluation.metrics import METRICS, measure
from llmqueue_gym.evaluation.results import Result, read_json, result, write_json
from llmqueue_gym.evaluation.rollout import rollout
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.statistics import (
    Estimate,
    across_seeds,
    batch_means,
    cautious_batch_means,
    control_variate,
    paired_difference,
)

__all__ = [
    "METRICS",
    "Estimate",
    "Result",
    "Run",
    "Scenario",
    "across_seeds",
    "batch_means",
    "cautious_batch_means",
    "control_variate",
    "measure",
    "paired_difference",
    "read_json",
    "result",
    "rollout",
    "simulate",
    "write_json",
]
