"""One call that plays a scenario: names in, a run out."""

from typing import Any

from llmqueue_gym.evaluation.cluster.closed_loop import central_queue, dispatched
from llmqueue_gym.evaluation.cluster.scenario import ClusterScenario
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.policies import policy as queue_policy
from llmqueue_gym.policies.dispatch import DispatchPolicy, dispatch_policy


def play(scenario: ClusterScenario, policy: Any, seed: int, dispatcher: str | DispatchPolicy | None = None) -> Run:
    """Play one run of a scenario.

    Args:
        scenario: where it is played.
        policy: a name, a `Policy`, or a function `rank(job, params)`: the order of the one queue, or with a dispatcher
            of each.
        seed: the same seed gives every policy the same jobs.
        dispatcher: which queue an arrival joins; None for one queue for all servers.

    Raises:
        BadInput: a policy is unknown or cannot be compiled, or samples more queues than there are.
    """
    discipline = queue_policy(policy)
    laws = (scenario.server_speeds, scenario.law, scenario.bound_predictor(discipline))
    if dispatcher is None:
        return central_queue(scenario.draw(discipline, seed), discipline, *laws)
    sender = dispatch_policy(dispatcher)
    return dispatched(scenario.draw(discipline, seed, sender), sender, discipline, *laws)
