"""ELIS: the call of which the fewest output tokens are predicted to be left goes first, predicted anew as it generates.

"-like": ELIS predicts anew every 50 tokens, and schedules in windows of as many; here the predictor says how often, and
every iteration is one of decision.

Source: Choi et al., "ELIS: Efficient LLM Iterative Scheduling System with Response Length Predictor", arXiv 2505.09142.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.predicted - request.generated


def elis_like() -> ServingPolicy:
    """Fewest predicted tokens left first; a running call gives way to one with fewer."""
    return ServingPolicy("elis-like", rank, displaces=True, predictor="trail:every=50", source="arXiv 2505.09142")
