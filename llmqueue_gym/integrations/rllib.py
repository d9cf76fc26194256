"""RLlib on the compiled environments: the network alone, as RLlib reaches `make_vec` by itself.

    from ray.rllib.algorithms.ppo import PPOConfig
    from llmqueue_gym.integrations.rllib import on_slots

    algorithm = on_slots(PPOConfig(), "llmqueue/MG1Preemptive-v0", num_envs=64, load=0.8).build_algo()
    algorithm.train()

RLlib pins Gymnasium, so it wants an environment of its own: see `agents/requirements-rllib.txt`.
"""

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Dict
from gymnasium.wrappers.vector import NormalizeReward
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.tune.registry import register_env
from torch import nn

from llmqueue_gym.envs import register_all
from llmqueue_gym.errors import BadInput
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


class ModuleAgent:
    """The network of an algorithm as an agent that takes the likeliest action.

    Attributes:
        module: its `RLModule`, such as `algorithm.get_module()`.
    """

    batched = True

    def __init__(self, module: Any):
        self.module, self.observation_space = module, module.observation_space
        if not isinstance(self.observation_space, Dict):
            raise BadInput(f"a module that sees {self.observation_space} is none of an environment here; see on_slots")

    def act(self, observation: dict[str, np.ndarray]) -> Any:
        """Return the action for an observation, or actions `(E,)` for a batch of them."""
        alone = observation["jobs"].ndim == 2
        parts = {name: np.ascontiguousarray(part[None] if alone else part) for name, part in observation.items()}
        with torch.no_grad():
            out = self.module.forward_inference({Columns.OBS: {name: torch.from_numpy(p) for name, p in parts.items()}})
        actions = out[Columns.ACTION_DIST_INPUTS].argmax(-1).numpy()
        return int(actions[0]) if alone else actions


def module_agent(checkpoint: str | os.PathLike[str]) -> ModuleAgent:
    """Return the agent of a checkpoint of RLlib, that of an algorithm or of a module alone."""
    path = Path(checkpoint).resolve()
    inner = path / "learner_group" / "learner" / "rl_module" / "default_policy"
    return ModuleAgent(RLModule.from_checkpoint(str(inner if inner.is_dir() else path)))


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
