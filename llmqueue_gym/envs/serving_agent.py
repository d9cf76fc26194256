"""A serving policy as an agent: the baseline that a learned one has to beat, playing by the same rules."""

from typing import Any

import numpy as np

from llmqueue_gym.envs.serving_config import ServingConfig
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import ServingPolicy, serving_policy


class ServingAgent:
    """Admits the visible request of least rank if it fits, else runs the iteration, as the engine does with the queue.

    For the environments of admission and eviction; it never preempts on its own, and where somebody must go it sends
    the visible running request of largest `victim` value.

    Attributes:
        policy: the policy.
    """

    def __init__(self, given: Any, config: ServingConfig):
        """Prepare a policy for an environment.

        Args:
            given: a policy, its spec or a plain rank function.
            config: `env.unwrapped.config`.

        Raises:
            BadInput: the environment asks for ranks, or the policy does more than rank the queue.
        """
        self.policy: ServingPolicy = serving_policy(given)
        self.config = config
        if config.decides == "ranking":
            raise BadInput("a ServingAgent admits requests; an environment that decides='ranking' asks for their ranks")
        made = self.policy
        if made.merged or made.displaces or made.skips or made.admission != "fits" or made.progress is not None:
            raise BadInput(f"policy {made.name!r} does more than rank the queue; play it with evaluation.serving.serve")
        self._params = made.params_for(config.cost_profile, config.bound_rules)

    def act_env(self, env: Any) -> int:
        """Return the action for the present decision of a scalar environment."""
        waiting, running = env.unwrapped.visible_requests()
        mask, config = env.unwrapped.action_masks(), self.config
        if not mask[: config.window].any() and not mask[-1]:  # somebody must be preempted
            values = [self._value(row, env) for row in running]
            return config.window + (int(np.argmax(values)) if self.policy.rank else len(running) - 1)
        head = 0
        if self.policy.rank is not None and len(waiting):
            head = int(np.argmin([self.policy.rank(row, env.unwrapped.system, self._params) for row in waiting]))
        return head if len(waiting) and mask[head] else len(mask) - 1

    def _value(self, row: Any, env: Any) -> float:
        function = self.policy.victim or self.policy.rank
        return 0.0 if function is None else function(row, env.unwrapped.system, self._params)
