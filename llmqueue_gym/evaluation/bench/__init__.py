"""The benchmark: every policy on synthetic and on measured jobs, ranked, as a JSON file and a page."""

from llmqueue_gym.evaluation.bench.runner import bench

__all__ = ["bench"]
