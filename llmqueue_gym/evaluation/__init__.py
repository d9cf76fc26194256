"""Evaluation: metrics, intervals, comparisons, and results with provenance."""

from llmqueue_gym.envs.rollout import rollout
from llmqueue_gym.evaluation.metrics import METRICS, measure
from llmqueue_gym.evaluation.results import Result, read_json, result, write_json
from llmqueue_gym.evaluation.statistics import (
    Estimate,
    across_seeds,
    batch_means,
    cautious_batch_means,
    control_variate,
    paired_difference,
)
from llmqueue_gym.systems import Run, Scenario

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
    "write_json",
]
