"""Once the majority cannot be overtaken, nor come to a tie, by the answers that are still to come."""

from llmqueue_gym.policies.stopping.base import StoppingPolicy


def stops(told, params):
    return told.second + told.planned - told.answers < told.leading


def majority() -> StoppingPolicy:
    """The answer is that of all the votes, for fewer tokens."""
    return StoppingPolicy("majority", stops, source="ours; curtailed sampling, Wald, Sequential Analysis, 1947")
