"""The program that is predicted to settle on its answer soonest goes first, by tokens of thought still to come.

A program that has thought for longer than was predicted overruns. What is left of it is not known, as of a job that
outlives its prediction: it can go behind all who do not overrun, in the order of what it has spent, or before them,
which is shortest predicted remaining thought to the letter. Who is asked again and again whether it has settled goes on
for a while after it has; `spare` leaves it time for that.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

BEHIND = 1e12  # more tokens than any program has


def rank(request, system, params):
    left = request.unsettled + params[1]
    return BEHIND - left if left < 0 and params[0] > 0 else left


def thought_srpt(overrun: str = "behind", spare: float = 0.0) -> ServingPolicy:
    """Fewest tokens of thought to come first.

    Args:
        overrun: where who overruns goes, "behind" or "first".
        spare: tokens beyond the predicted depth from which on it overruns.
    """
    if overrun not in ("behind", "first"):
        raise BadInput(f"thought-srpt: overrun={overrun!r}; choose behind or first")
    if not spare >= 0:
        raise BadInput(f"thought-srpt: spare={spare:g} tokens must not be negative")
    source = "ours, for open question 6-c of Mitzenmacher and Shahout 2025"
    return ServingPolicy("thought-srpt", rank, (float(overrun == "behind"), spare), source=source)
