"""Nobody is stopped, but who has spent more than was predicted goes behind all who have not; within, the fewest left.

As with a job that outlives its prediction, what is left of who overran is not known; those go in the order of what they
have spent.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.stopping.base import StoppingPolicy
from llmqueue_gym.policies.stopping.never import stops

BEHIND = 1e12  # more tokens than any program has


def rank(told, params):
    budget = params[0] * told.predicted
    return budget - told.tokens if told.tokens < budget else BEHIND + told.tokens


def demote_overrun(slack: float = 1.0) -> StoppingPolicy:
    """An order in which who overruns is demoted.

    Args:
        slack: times the predicted depth from which on it is behind.
    """
    if not slack > 0:
        raise BadInput(f"demote-overrun: slack={slack:g} must be positive, for example 1")
    source = "ours, for open question 6-c of Mitzenmacher and Shahout 2025"
    return StoppingPolicy("demote-overrun", stops, rank, params=(slack,), source=source)
