"""S3: memory is reserved for the upper edge of the predicted length bucket; batches are packed first fit decreasing.

The largest reservation is tried first and who does not fit is passed over. A request that outgrows its reservation is
preempted and goes back to the queue, to be admitted with twice as much.

"-like": there is no public code. The paper packs whole batches and sends stragglers to another GPU or back; here
requests join one by one as memory gets free, and the reservation doubles as often as needed.

Source: Jin et al., "S3: Increasing GPU Utilization during Generative Inference for Higher Throughput", NeurIPS 2023.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def reserved(request, system, params):
    edge = max(request.upper, 1.0)
    while edge <= request.generated:
        edge *= 2.0
    return edge


def rank(request, system, params):
    edge = max(request.upper, 1.0)
    while edge <= request.generated:
        edge *= 2.0
    return -(request.prompt + edge)


def s3_like() -> ServingPolicy:
    """Largest reservation first, past those that do not fit; doubled for who outgrows it."""
    source = "Jin et al., S3: Increasing GPU Utilization during Generative Inference, NeurIPS 2023"
    return ServingPolicy("s3-like", rank, length=reserved, admission="reserve", skips=True, source=source)
