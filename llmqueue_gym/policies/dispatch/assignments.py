"""The task assignment policies of the literature: blind, by jobs, by predicted work, and by interval of sizes.

Sources: Vvedenskaya, Dobrushin, Karpelevich, Problems of Information Transmission 1996; Harchol-Balter, Crovella,
Murta, On Choosing a Task Assignment Policy for a Distributed Server System, J. Parallel and Distributed Computing 1999;
Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 2001; Lu, Xie, Kliot, Geller, Larus,
Greenberg, Join-Idle-Queue, Performance Evaluation 2011; Mitzenmacher, Dell'Amico, The Supermarket Model with Known and
Predicted Service Times, arXiv 1905.12155; Mitzenmacher, Queues with Small Advice, ACDA 2021.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.dispatch.base import DispatchPolicy

_DRAWS = 200_000  # of sizes and predictions, for the intervals


def equal(job, queue, params):
    return 0.0


def fewest_jobs(job, queue, params):
    return queue.jobs / queue.speed


def idle_first(job, queue, params):
    return 0.0 if queue.jobs == 0 else 1.0


def work(job, queue, params):
    return queue.work / queue.speed


def work_left(job, queue, params):
    return queue.left / queue.speed


def fewest_alike(job, queue, params):
    return float(queue.alike)


def in_interval(job, queue, params):
    low = params[queue.index]
    high = params[queue.index + 1]
    return 0.0 if low < job.predicted <= high else 1.0


def random() -> DispatchPolicy:
    """Random: each arrival joins a queue drawn at random, whatever its state."""
    return DispatchPolicy("random", equal, source="n independent queues, each with its share of the arrivals")


def round_robin() -> DispatchPolicy:
    """Round robin: the servers in turn."""
    return DispatchPolicy("round-robin", equal, looks="turn", source="n queues G/G/1, arrivals dealt out in turn")


def power_of_d(d: int = 2) -> DispatchPolicy:
    """Fewest jobs among d sampled queues."""
    source = "Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 2001"
    return DispatchPolicy("power-of-d", fewest_jobs, d=d, source=source)


def join_shortest_queue() -> DispatchPolicy:
    """Fewest jobs among all queues."""
    source = "Winston, J. Applied Probability 1977"
    return DispatchPolicy("join-shortest-queue", fewest_jobs, looks="all", source=source)


def join_idle_queue() -> DispatchPolicy:
    """Join idle queue: any idle server, drawn at random; if there is none, any server.

    Idle servers are known at once and reported nowhere, as with one dispatcher.
    """
    return DispatchPolicy("join-idle-queue", idle_first, looks="all", source="Lu et al., Performance Evaluation 2011")


def least_work(d: int = 2) -> DispatchPolicy:
    """Least sum of predicted sizes."""
    return _least("least-work", work, d)


def least_work_left(d: int = 2) -> DispatchPolicy:
    """Least predicted work left."""
    return _least("least-work-left", work_left, d)


def _least(name, score, d):
    """Return the policy that looks at d queues, or with d = 0 at all, which is known as least loaded."""
    if d < 0:
        raise BadInput(f"{name}: d={d} queues cannot be looked at; 0 looks at all")
    source = "Mitzenmacher, Dell'Amico, arXiv 1905.12155"
    return DispatchPolicy(name, score, looks="sample" if d else "all", d=max(d, 1), source=source)


def one_bit_count(d: int = 2, threshold: float = 1.0) -> DispatchPolicy:
    """Fewest waiting jobs of the same predicted kind among d sampled queues.

    The job in service does not count; it is unlike the others, being on its way out.

    Args:
        d: queues sampled.
        threshold: s; a prediction of at most this is short.
    """
    if not threshold > 0:
        raise BadInput(f"one-bit-count: threshold={threshold:g} must be positive, as in one-bit-count:threshold=1")
    source = "Mitzenmacher, Queues with Small Advice, ACDA 2021"
    return DispatchPolicy("one-bit-count", fewest_alike, d=d, split=threshold, source=source)


def size_interval() -> DispatchPolicy:
    """Size interval task assignment (SITA): each server takes the jobs of an interval of predicted sizes.

    The intervals give every server predicted work in proportion to its speed (SITA-E), so shorts never wait behind
    longs.
    """
    source = "Harchol-Balter, Crovella, Murta, JPDC 1999"
    return DispatchPolicy("size-interval", in_interval, looks="all", prepare=bounds, source=source)


def bounds(size, predictor, speeds):
    """Return the ends of the intervals `(k + 1,)`, s, from draws of the two laws with a seed of their own."""
    if size is None:
        raise BadInput("size-interval computes its intervals from the laws: pass the size law and the predictor")
    rng = np.random.default_rng(0)
    sizes = size.sample(_DRAWS, rng)
    predicted = predictor.predict(sizes, rng) if predictor is not None else sizes
    order = np.argsort(predicted, kind="stable")
    done = np.cumsum(sizes[order])
    shares = np.cumsum(speeds)[:-1] / np.sum(speeds)
    inner = predicted[order][np.searchsorted(done, shares * done[-1])]
    return np.concatenate([[-np.inf], inner, [np.inf]])
