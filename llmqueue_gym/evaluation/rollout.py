"""One function that plays anything: a policy in closed loop, an agent in its environment."""

from typing import Any

from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.policies import policy


def rollout(player: Any, scenario: Scenario, seed: int) -> Run:
    """Play one run of a scenario.

    Args:
        player: a policy (a name, a `Policy`, or a function `rank(job, params)`).
        scenario: where it is played.
        seed: of the jobs; the same seed gives every player the same arrivals and sizes.

    Raises:
        BadInput: the policy is unknown, cannot be compiled, or needs a prediction where there is none.
    """
    discipline = policy(player)
    instance = scenario.draw(discipline, seed)
    return simulate(instance, discipline, scenario.law, scenario.bound_predictor(discipline))
