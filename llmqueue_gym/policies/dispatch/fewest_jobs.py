"""Fewest jobs, over speed: of d sampled queues (power of d choices) or of all (join the shortest queue).

Source: Vvedenskaya, Dobrushin, Karpelevich, Problems of Information Transmission 1996; Mitzenmacher, The Power of Two
Choices in Randomized Load Balancing, IEEE TPDS 2001.
"""

from llmqueue_gym.policies.dispatch.base import DispatchPolicy

_SOURCE = "Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 2001"


def score(job, queue, params):
    return queue.jobs / queue.speed


def power_of_d(d: int = 2) -> DispatchPolicy:
    """Fewest jobs among d sampled queues."""
    return DispatchPolicy("power-of-d", score, d=d, source=_SOURCE)


def join_shortest_queue() -> DispatchPolicy:
    """Fewest jobs among all queues."""
    return DispatchPolicy("join-shortest-queue", score, looks="all", source="Winston, J. Applied Probability 1977")
