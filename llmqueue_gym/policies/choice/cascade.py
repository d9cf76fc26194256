"""The weakest model first; while the answer is not verified well enough, the next stronger one."""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy

NEVER = 1e9  # more than there are models


def score(call, model, params):
    return model.strength + NEVER * model.asked


def again(call, model, params):
    return call.verified < params[0] and model.asked == 0


def cascade(level: float = 0.7) -> ChoicePolicy:
    """A cascade with verification.

    Args:
        level: chance to be right, as verified, from which on an answer is taken, in (0, 1].
    """
    if not 0 < level <= 1:
        raise BadInput(f"cascade: level={level:g} must lie in (0, 1], for example 0.7")
    source = "Chen, Zaharia, Zou, FrugalGPT, TMLR 2024"
    return ChoicePolicy("cascade", score, again, params=(level,), source=source)
