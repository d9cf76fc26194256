"""Calls drawn at random for the strongest model, the rest for the weakest: what every router has to be better than."""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    return -model.strength if call.luck < params[0] else model.strength


def random_share(share: float = 0.5) -> ChoicePolicy:
    """A random share.

    Args:
        share: of the strongest model, in [0, 1].
    """
    if not 0 <= share <= 1:
        raise BadInput(f"random-share: share={share:g} must lie in [0, 1]")
    return ChoicePolicy("random-share", score, params=(share,), source="Ong et al., RouteLLM, ICLR 2025, its baseline")
