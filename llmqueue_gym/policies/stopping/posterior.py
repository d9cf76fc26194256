"""Once the answer that leads is the likelier one of the first two with a probability of at least `level`.

With votes a and b, and a uniform prior, its share among these two is Beta(a + 1, b + 1); that is also what a uniform
Dirichlet prior on all answers says of any two. It is above 1/2 with the probability that of a + b + 1 fair coins at
most a show heads.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.stopping.base import StoppingPolicy


def stops(told, params):
    coins, term, total = told.leading + told.second + 1, 1.0, 0.0
    for heads in range(told.leading + 1):
        total += term
        term *= (coins - heads) / (heads + 1.0)
    return told.answers >= params[1] and total >= params[0] * 2.0**coins


def posterior(level: float = 0.95, least: int = 1) -> StoppingPolicy:
    """A posterior above a level.

    Args:
        level: probability, in [1/2, 1).
        least: answers before it may stop.
    """
    if not 0.5 <= level < 1:
        raise BadInput(f"posterior: level={level:g} must be from 0.5 to below 1, for example 0.95")
    if least < 1:
        raise BadInput(f"posterior: least={least} answers; 1 or more")
    source = "Aggarwal et al., Let's Sample Step by Step: Adaptive-Consistency, EMNLP 2023, its Beta criterion"
    return StoppingPolicy("posterior", stops, params=(level, float(least)), source=source)
