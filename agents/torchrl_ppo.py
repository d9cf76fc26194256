"""PPO of TorchRL on any environment, discounted by the decision, with masks.

    python agents/torchrl_ppo.py --env-id llmqueue/MG1Preemptive-v0 --total-steps 100000

`Learnable` makes of the environment what a standard learner wants; TorchRL's own wrapper, collector, advantage and loss
do the rest. Prints the mean cost of what was learnt beside that of the policy from which it departs, on jobs that it
was not trained on. Needs `pip install -r agents/requirements-clients.txt`.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.learnable import Learnable
from llmqueue_gym.envs.opened import order_of
from llmqueue_gym.errors import in_one_line
from llmqueue_gym.integrations.report import LAST_SEEDS, first_training_seed
from llmqueue_gym.integrations.score import Yardstick


@dataclass
class Options:
    """What is trained, and how."""

    env_id: str = "llmqueue/MG1Preemptive-v0"
    total_steps: int = 100_000
    frames: int = 4096
    """decisions of an iteration"""
    batch_size: int = 64
    epochs: int = 10
    gamma: float = 0.99
    lam: float = 0.95
    lr: float = 3e-4
    eval_seeds: int = 4
    eval_jobs: int = 1000
    seed: int = 0


class Predicts:
    """The likeliest action of a network, as other libraries ask for it."""

    def __init__(self, network: nn.Module):
        self._network = network

    def predict(self, features: np.ndarray, action_masks: np.ndarray, deterministic: bool = True) -> tuple[Any, None]:
        """Return the likeliest open actions `(E,)`."""
        with torch.no_grad():
            logits = self._network(torch.from_numpy(features)).masked_fill(~torch.from_numpy(action_masks), -torch.inf)
        return logits.argmax(-1).numpy(), None


class Masked(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The vector and the mask as parts of one observation, which is what TorchRL reads."""

    def __init__(self, env: Learnable):
        super().__init__(env)
        mask = gymnasium.spaces.MultiBinary(int(env.action_space.n))  # type: ignore[attr-defined]
        self.observation_space = gymnasium.spaces.Dict({"features": env.observation_space, "mask": mask})

    def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        """Return both."""
        return {"features": observation, "mask": self.env.action_masks().astype(np.int8)}  # type: ignore[attr-defined]


def mlp(features: int, outputs: int) -> nn.Module:
    """Return a network of two layers."""
    return nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def main(o: Options) -> dict[str, float]:
    """Train; return the mean costs."""
    torch.manual_seed(o.seed)
    torch.set_num_threads(1)
    learnable = Learnable(gymnasium.make(o.env_id, relative_to=order_of(o.env_id)))
    features, n = learnable.observation_space.shape[0], int(learnable.action_space.n)  # type: ignore[index,attr-defined]
    env = GymWrapper(Masked(learnable), categorical_action_encoding=True)
    env.set_seed(first_training_seed(o.seed))
    network, values = mlp(features, n), mlp(features, 1)
    scores = TensorDictModule(network, in_keys=["features"], out_keys=["logits"])
    opens = TensorDictModule(torch.Tensor.bool, in_keys=["mask"], out_keys=["open"])
    actor = ProbabilisticActor(
        TensorDictSequential(scores, opens),
        in_keys={"logits": "logits", "mask": "open"},
        spec=env.action_spec,
        distribution_class=MaskedCategorical,
        return_log_prob=True,
    )
    critic = ValueOperator(values, in_keys=["features"])
    advantage = GAE(gamma=o.gamma, lmbda=o.lam, value_network=critic)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.0, normalize_advantage=True)
    adam, as_it_is = torch.optim.Adam(loss.parameters(), lr=o.lr), {"auto_register_policy_transforms": False}
    for frames in Collector(env, actor, frames_per_batch=o.frames, total_frames=o.total_steps, **as_it_is):
        for _ in range(o.epochs):
            advantage(frames)
            for rows in torch.randperm(len(frames)).split(o.batch_size):
                found = loss(frames[rows])
                adam.zero_grad()
                (found["loss_objective"] + found["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                adam.step()
    inner: Any = learnable.unwrapped
    measure = Yardstick(inner.scenario, inner.view, range(LAST_SEEDS, LAST_SEEDS + o.eval_seeds), o.eval_jobs)
    players = {"learnt": learnable.agent(Predicts(network)), order_of(o.env_id): order_of(o.env_id)}
    return {name: float(measure.costs(player).mean()) for name, player in players.items()}


if __name__ == "__main__":
    with in_one_line():
        for name, cost in main(tyro.cli(Options, description=__doc__.partition("\n")[0])).items():
            print(f"{name:20} {cost:.4f}")
