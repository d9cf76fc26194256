"""One bit: fewest waiting jobs of the arrival's own kind, predicted short (at most the threshold) or predicted long.

The job in service does not count; it is unlike the others, being on its way out.

Source: Mitzenmacher, Queues with Small Advice, ACDA 2021.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.dispatch.base import DispatchPolicy


def score(job, queue, params):
    return float(queue.alike)


def one_bit_count(d: int = 2, threshold: float = 1.0) -> DispatchPolicy:
    """Fewest waiting jobs of the same predicted kind among d sampled queues.

    Args:
        d: queues sampled.
        threshold: s; a prediction of at most this is short.
    """
    if not threshold > 0:
        raise BadInput(f"one-bit-count: threshold={threshold:g} must be positive, as in one-bit-count:threshold=1")
    return DispatchPolicy(
        "one-bit-count",
        score,
        d=d,
        split=threshold,
        source="Mitzenmacher, Queues with Small Advice, ACDA 2021",
    )
