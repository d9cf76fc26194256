"""PPO of Tianshou on any environment, several side by side; what is not open stands for what the policy by hand does.

    python agents/tianshou_ppo.py --env-id llmqueue/MG1Preemptive-v0 --total-steps 100000

`Learnable` makes of the environment what a standard learner wants. Prints the mean cost of what was learnt beside that
of the policy from which it departs, on jobs that it was not trained on. Needs
`pip install -r agents/requirements-clients.txt`.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

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
    num_envs: int = 4
    frames: int = 4096
    """decisions of an iteration"""
    eval_seeds: int = 4
    eval_jobs: int = 1000
    seed: int = 0


class Predicts:
    """The likeliest action of a network, as other libraries ask for it."""

    def __init__(self, actor: DiscreteActor):
        self._actor = actor

    def predict(self, features: np.ndarray, deterministic: bool = True) -> tuple[np.ndarray, None]:
        """Return the likeliest actions `(E,)`."""
        with torch.no_grad():
            return self._actor(features)[0].argmax(-1).numpy(), None


def main(o: Options) -> dict[str, float]:
    """Train; return the mean costs."""
    torch.manual_seed(o.seed)
    torch.set_num_threads(1)

    def made() -> Learnable:
        return Learnable(gymnasium.make(o.env_id, relative_to=order_of(o.env_id)))

    envs, one = DummyVectorEnv([made] * o.num_envs), made()
    envs.seed(first_training_seed(o.seed))
    shape, n = one.observation_space.shape, int(one.action_space.n)  # type: ignore[attr-defined]
    bodies = [Net(state_shape=shape, hidden_sizes=(64, 64), activation=torch.nn.Tanh) for _ in range(2)]
    actor = DiscreteActor(preprocess_net=bodies[0], action_shape=n, softmax_output=False)
    critic = DiscreteCritic(preprocess_net=bodies[1])
    policy = DiscreteActorPolicy(actor=actor, action_space=one.action_space)
    algorithm: Any = PPO(policy=policy, critic=critic, optim=AdamOptimizerFactory(lr=3e-4), return_scaling=True)
    collector = Collector(algorithm, envs, VectorReplayBuffer(o.frames + o.num_envs, o.num_envs))
    told = {"max_epochs": 1, "epoch_num_steps": o.total_steps, "collection_step_num_env_steps": o.frames}
    told |= {"update_step_num_repetitions": 10, "batch_size": 64, "test_collector": None, "show_progress": False}
    algorithm.run_training(OnPolicyTrainerParams(training_collector=collector, verbose=False, **told))
    inner: Any = one.unwrapped
    measure = Yardstick(inner.scenario, inner.view, range(LAST_SEEDS, LAST_SEEDS + o.eval_seeds), o.eval_jobs)
    players = {"learnt": one.agent(Predicts(actor)), order_of(o.env_id): order_of(o.env_id)}
    return {name: float(measure.costs(player).mean()) for name, player in players.items()}


if __name__ == "__main__":
    with in_one_line():
        for name, cost in main(tyro.cli(Options, description=__doc__.partition("\n")[0])).items():
            print(f"{name:20} {cost:.4f}")
