"""Several models at once, those that are predicted to answer soonest; the first good answer counts."""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    return model.wait + model.service


def hedge(models: int = 2) -> ChoicePolicy:
    """Hedged calls.

    Args:
        models: asked at once, 2 or more.
    """
    if models < 2:
        raise BadInput(f"hedge: models={models} at once; 2 or more")
    source = "Dean, Barroso, The Tail at Scale, CACM 2013, hedged requests"
    return ChoicePolicy("hedge", score, at_once=models, source=source)
