"""DQN of Stable-Baselines3 on the compiled environments, measured on common random numbers, and distilled to a rank.

    python agents/sb3_dqn.py --out runs/dqn                                      # M/G/1 with preemption, load 0.8
    tensorboard --logdir runs

It leaves `<name>.zip`, which `DQN.load` reads, `<name>.json`, the card, and, where an action is the slot of a job,
`<name>/`, the rank that chooses most like it, which `policies.learned.load` reads.

DQN has no masks. An action that is not open stands for the first that is, so its value is that of the first, and what
the network says of it counts for nothing.
"""

from dataclasses import dataclass

import tyro
from stable_baselines3 import DQN

from llmqueue_gym.errors import in_one_line
from llmqueue_gym.integrations import report
from llmqueue_gym.integrations.sb3 import SlotsDQNPolicy
from llmqueue_gym.integrations.sb3_run import Training


@dataclass
class Options(report.Options):
    """What is trained, and how; see `--help` for all.

    Attributes:
        buffer: decisions that are remembered.
        begin: decisions before learning begins.
        gradient_steps: after each decision of all environments.
        target_every: decisions between copies of the network whose values are aimed at.
        explored: share of the training in which random actions become rare.
    """

    name: str = "learned-sb3-dqn"
    total_steps: int = 200_000
    num_envs: int = 16
    batch_size: int = 256
    lr: float = 1e-3
    gamma: float = 0.95
    eval_every: int = 50_000
    buffer: int = 50_000
    begin: int = 2_000
    gradient_steps: int = 4
    target_every: int = 2_000
    explored: float = 0.3


if __name__ == "__main__":
    with in_one_line():
        o = tyro.cli(Options, description=__doc__.partition("\n")[0])
        run = Training(
            o,
            DQN,
            policy=SlotsDQNPolicy,
            buffer_size=o.buffer,
            learning_starts=o.begin,
            batch_size=o.batch_size,
            train_freq=1,
            gradient_steps=o.gradient_steps,
            target_update_interval=o.target_every,
            exploration_fraction=o.explored,
            exploration_final_eps=0.02,
            max_grad_norm=1.0,
        )
        run.learn()
        run.report()
