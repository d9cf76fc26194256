"""PPO of skrl on any environment, many side by side; a closed action stands for what the policy does.

    python agents/skrl_ppo.py --env-id llmqueue/MG1Preemptive-v0 --total-steps 100000

`LearnableVector` makes of the compiled vector environment what a standard learner wants. Prints the mean cost of what
was learnt beside that of the policy from which it departs, on jobs that it was not trained on. Needs
`pip install -r agents/requirements-clients.txt`.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer
from torch import nn

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.learnable import LearnableVector
from llmqueue_gym.envs.opened import order_of
from llmqueue_gym.errors import in_one_line
from llmqueue_gym.integrations.report import LAST_SEEDS, first_training_seed
from llmqueue_gym.integrations.score import Yardstick


@dataclass
class Options:
    """What is trained, and how."""

    env_id: str = "llmqueue/MG1Preemptive-v0"
    total_steps: int = 100_000
    num_envs: int = 8
    num_steps: int = 512
    """decisions of each in one iteration"""
    eval_seeds: int = 4
    eval_jobs: int = 1000
    seed: int = 0


def mlp(features: int, outputs: int) -> nn.Module:
    """Return a network of two layers."""
    return nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


class Actor(CategoricalMixin, Model):
    """Scores of the actions."""

    def __init__(self, **spaces: Any):
        Model.__init__(self, **spaces)
        CategoricalMixin.__init__(self)
        self.net = mlp(self.num_observations, self.num_actions)

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Return the scores `(E, n)`."""
        return self.net(inputs["observations"]), {}


class Critic(DeterministicMixin, Model):
    """The value of a state."""

    def __init__(self, **spaces: Any):
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = mlp(self.num_observations, 1)

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Return the values `(E, 1)`."""
        return self.net(inputs["observations"]), {}


class Predicts:
    """The likeliest action of a network, as other libraries ask for it."""

    def __init__(self, actor: Actor):
        self._net = actor.net

    def predict(self, features: np.ndarray, deterministic: bool = True) -> tuple[np.ndarray, None]:
        """Return the likeliest actions `(E,)`."""
        with torch.no_grad():
            return self._net(torch.from_numpy(features)).argmax(-1).numpy(), None


def main(o: Options) -> dict[str, float]:
    """Train; return the mean costs."""
    torch.manual_seed(o.seed)
    torch.set_num_threads(1)
    made = gymnasium.make_vec(o.env_id, o.num_envs, autoreset_mode="SameStep", relative_to=order_of(o.env_id))
    learnable = LearnableVector(made)
    learnable.reset(seed=first_training_seed(o.seed))
    env = wrap_env(learnable, wrapper="gymnasium", verbose=False)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": "cpu"}
    models = {"policy": Actor(**spaces), "value": Critic(**spaces)}
    quiet = {"write_interval": 0, "checkpoint_interval": 0}
    told = {"rollouts": o.num_steps, "learning_epochs": 10, "mini_batches": 64, "experiment": quiet}
    memory = RandomMemory(memory_size=o.num_steps, num_envs=o.num_envs, device="cpu")
    agent = PPO(models=models, memory=memory, cfg=told, **spaces)
    trainer = {"timesteps": o.total_steps // o.num_envs, "headless": True, "disable_progressbar": True}
    SequentialTrainer(env=env, agents=agent, cfg=trainer).train()
    inner: Any = learnable.unwrapped
    measure = Yardstick(inner.scenario, inner.view, range(LAST_SEEDS, LAST_SEEDS + o.eval_seeds), o.eval_jobs)
    players = {"learnt": learnable.agent(Predicts(models["policy"])), order_of(o.env_id): order_of(o.env_id)}
    return {name: float(measure.costs(player).mean()) for name, player in players.items()}


if __name__ == "__main__":
    with in_one_line():
        for name, cost in main(tyro.cli(Options, description=__doc__.partition("\n")[0])).items():
            print(f"{name:20} {cost:.4f}")
