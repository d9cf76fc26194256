"""The same model for all calls: the two ends of every front."""

from llmqueue_gym.policies.choice.base import ChoicePolicy

SOURCE = "Ong et al., RouteLLM, ICLR 2025, its weak and strong model"


def by_strength(call, model, params):
    return params[0] * model.strength


def weakest() -> ChoicePolicy:
    """The weakest model."""
    return ChoicePolicy("weakest", by_strength, params=(1.0,), source=SOURCE)


def strongest() -> ChoicePolicy:
    """The strongest model."""
    return ChoicePolicy("strongest", by_strength, params=(-1.0,), source=SOURCE)
