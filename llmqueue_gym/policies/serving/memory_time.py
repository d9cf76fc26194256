"""Smallest predicted memory-time first: tokens held, summed over the iterations that a request still has to run.

A request of k known tokens with R tokens left holds k + 1, ..., k + R tokens: R k + R (R + 1) / 2 token-iterations.
Where memory is what limits the batch, this is the work that a request brings: by Smith's rule shortest work first.

Source: the memory model of Jaillet et al., arXiv 2502.07115, in which a request in its k-th round holds prompt + k; the
rank is this library's.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    left = max(request.predicted - request.generated, 1.0)
    known = request.prompt + request.generated
    return left * (known + 0.5 * (left + 1.0))


def memory_time(displaces: bool = False) -> ServingPolicy:
    """Smallest predicted token-iterations of cache first."""
    source = "Smith's rule on the memory model of Jaillet et al., arXiv 2502.07115; this library's"
    return ServingPolicy("memory-time", rank, displaces=displaces, source=source)
