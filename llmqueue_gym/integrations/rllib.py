"""RLlib on the compiled environments: the network alone, as RLlib reaches `make_vec` by itself.

    from ray.rllib.algorithms.ppo import PPOConfig
    from llmqueue_gym.integrations.rllib import on_slots

    algorithm = on_slots(PPOConfig(), "llmqueue/MG1Preemptive-v0", num_envs=64, load=0.8).build_algo()
    algorithm.train()

RLlib pins Gymnasium, so it wants an environment of its own: see `agents/requirements-rllib.txt`.
"""

from typing import Any

import gymnasium
import torch
from gymnasium.wrappers.vector import NormalizeReward
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.tune.registry import register_env
from torch import nn

from llmqueue_gym.envs import register_all
from llmqueue_gym.integrations.slots import SlotsNet, begin_with_scores

_CLOSED = -1e9  # logit of an action that is not open; RLlib dislikes infinities


class SlotsModule(TorchRLModule, ValueFunctionAPI):
    """Actor and critic on a `SlotsNet`; actions that the mask closes are never taken.

    `model_config={"hidden": 32}` says how many units each layer has.
    """

    def setup(self) -> None:
        """Make the networks."""
        told: Any = self.model_config or {}
        hidden = int(dict(told).get("hidden", 32))
        self.net = SlotsNet(self.observation_space, hidden)  # type: ignore[arg-type]
        self.actor = nn.Linear(self.net.features, int(self.action_space.n))  # type: ignore[union-attr]
        begin_with_scores(self.actor, self.net.slots)
        self.critic = nn.Sequential(nn.Linear(self.net.features, 64), nn.Tanh(), nn.Linear(64, 1))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = batch[Columns.OBS]
        features = self.net(seen)
        logits = self.actor(features).masked_fill(seen["action_mask"] == 0, _CLOSED)
        return {Columns.EMBEDDINGS: features, Columns.ACTION_DIST_INPUTS: logits}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Return the values of states `(B,)`."""
        features = self.net(batch[Columns.OBS]) if embeddings is None else embeddings
        return self.critic(features).squeeze(-1)


def on_slots(config: Any, env_id: str, num_envs: int, hidden: int = 32, gamma: float = 0.99, **arguments: Any) -> Any:
    """Return RLlib's configuration of an algorithm with actor and critic, on compiled environments.

    Rewards are divided by the spread of the returns: they come in seconds, and are far too large for the critic.

    Args:
        config: such as `PPOConfig()`.
        env_id: such as "llmqueue/MG1Preemptive-v0".
        num_envs: of each env runner, side by side in one kernel.
        hidden: units of each layer.
        gamma: discount of a decision.
        **arguments: of one environment.
    """

    def make(told: dict[str, Any]) -> NormalizeReward:
        register_all()  # in a process of Ray's, too
        side_by_side = told.get("num_envs", 1)
        # RLlib keeps the parts of an observation, so buffers that change in place will not do.
        return NormalizeReward(gymnasium.make_vec(env_id, side_by_side, copy=True, **arguments), gamma=gamma)

    name = f"{env_id}, rewards normalised"
    register_env(name, make)
    return (
        config.environment(name)
        .env_runners(num_envs_per_env_runner=num_envs, gym_env_vectorize_mode="vector_entry_point")
        .rl_module(rl_module_spec=RLModuleSpec(module_class=SlotsModule, model_config={"hidden": hidden}))
        .training(gamma=gamma)
    )
