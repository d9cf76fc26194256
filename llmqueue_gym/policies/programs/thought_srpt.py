"""The program that is predicted to settle on its answer soonest goes first, by tokens of thought still to come.

A program that has thought for longer than was predicted overruns. What is left of it is not known, as of a job that
outlives its prediction: it can go behind all who do not overrun, in the order of what it has spent, or before them,
which is shortest predicted remaining thought to the letter.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

BEHIND = 1e12  # more tokens than any program has


def rank(request, system, params):
    left = request.unsettled
    return BEHIND - left if left < 0 and params[0] > 0 else left


def thought_srpt(overrun: str = "behind") -> ServingPolicy:
    """Fewest tokens of thought to come first.

    Args:
        overrun: where who overruns goes, "behind" or "first".
    """
    if overrun not in ("behind", "first"):
        raise BadInput(f"thought-srpt: overrun={overrun!r}; choose behind or first")
    source = "ours, for open question 6-c of Mitzenmacher and Shahout 2025"
    return ServingPolicy("thought-srpt", rank, (float(overrun == "behind"),), source=source)
