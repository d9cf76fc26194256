"""The benchmark: every policy on synthetic and on measured work, ranked, as a JSON file and a page."""

from llmqueue_gym.evaluation.bench.runner import bench
from llmqueue_gym.evaluation.bench.track import TRACKS

__all__ = ["TRACKS", "bench"]
