"""Evaluation of the serving engine: runs of request streams, their metrics, comparisons and bounds."""

from llmqueue_gym.evaluation.serving.closed_loop import Served, serve
from llmqueue_gym.evaluation.serving.compare import compare
from llmqueue_gym.evaluation.serving.metrics import LATENCIES, SERVING_METRICS, measure, per_request
from llmqueue_gym.evaluation.serving.plot import plot_comparison
from llmqueue_gym.evaluation.serving.scenario import Capacity, ServingScenario, capacity

__all__ = [
    "LATENCIES",
    "SERVING_METRICS",
    "Capacity",
    "Served",
    "ServingScenario",
    "capacity",
    "compare",
    "measure",
    "per_request",
    "plot_comparison",
    "serve",
]
