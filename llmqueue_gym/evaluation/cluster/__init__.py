"""Several servers: scenarios, one queue for all or a queue each, and the metrics of impatient jobs."""

from llmqueue_gym.evaluation.cluster.closed_loop import central_queue, dispatched
from llmqueue_gym.evaluation.cluster.metrics import CLUSTER_METRICS, measure_cluster
from llmqueue_gym.evaluation.cluster.play import play
from llmqueue_gym.evaluation.cluster.scenario import ClusterScenario

__all__ = ["CLUSTER_METRICS", "ClusterScenario", "central_queue", "dispatched", "measure_cluster", "play"]
