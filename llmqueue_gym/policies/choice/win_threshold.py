"""RouteLLM: the strongest model where it is predicted to do better with at least some chance, else the weakest."""

from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    return -model.strength if call.win >= params[0] else model.strength


def win_threshold(threshold: float = 0.5) -> ChoicePolicy:
    """A threshold on the predicted chance that the strongest model does better.

    Args:
        threshold: its quantile among the calls sets the share of the strongest model.
    """
    source = "Ong et al., RouteLLM: Learning to Route LLMs with Preference Data, ICLR 2025, and its repository"
    return ChoicePolicy("win-threshold", score, params=(threshold,), source=source)
