"""DQN of Stable-Baselines3 on the compiled environments, measured on common random numbers, and distilled to a rank.

    python agents/sb3_dqn.py --out runs/dqn                                      # M/G/1 with preemption, load 0.8
    tensorboard --logdir runs

It leaves `<name>.zip`, which `DQN.load` reads, `<name>.json`, the card, and, where an action is the slot of a job,
`<name>/`, the rank that chooses most like it, which `policies.learned.load` reads.

DQN has no masks. An action that is not open stands for the first that is, so its value is that of the first, and what
the network says of it counts for nothing.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from stable_baselines3 import DQN

from llmqueue_gym.errors import BadInput
from llmqueue_gym.integrations.sb3 import SlotsDQNPolicy
from llmqueue_gym.integrations.sb3_run import Training


@dataclass
class Options:
    """What is trained, and how.

    Attributes:
        out: folder of the run: checkpoint, TensorBoard logs, and what is left of it.
        name: of the agent, and of the rank that is distilled.
        env_id: environment.
        env_args: its arguments, such as `load=0.8 predictor=lognormal:sigma=0.5`.
        total_steps: decisions to train for, those of runs that are resumed included.
        num_envs: environments side by side.
        buffer: decisions that are remembered.
        begin: decisions before learning begins.
        gradient_steps: after each decision of all environments.
        batch_size: decisions in each of them.
        target_every: decisions between copies of the network whose values are aimed at.
        explored: share of the training in which random actions become rare.
        hidden: units of each layer.
        lr: first step size of Adam; falls linearly to 0.
        gamma: discount of a decision.
        eval_every: decisions between points of the curve and checkpoints.
        eval_seeds: runs behind a point; five times as many behind the last figures.
        eval_jobs: jobs of such a run.
        seed: of training.
        threads: of torch.
        resume: go on from the checkpoint in `out`, with fresh episodes and an empty memory.
        quiet: print nothing.
    """

    out: Path
    name: str = "learned-sb3-dqn"
    env_id: str = "llmqueue/MG1Preemptive-v0"
    env_args: tuple[str, ...] = ()
    total_steps: int = 200_000
    num_envs: int = 16
    buffer: int = 50_000
    begin: int = 2_000
    gradient_steps: int = 4
    batch_size: int = 256
    target_every: int = 2_000
    explored: float = 0.3
    hidden: int = 32
    lr: float = 1e-3
    gamma: float = 0.95
    eval_every: int = 50_000
    eval_seeds: int = 2
    eval_jobs: int = 1000
    seed: int = 0
    threads: int = 1
    resume: bool = False
    quiet: bool = False


if __name__ == "__main__":
    try:
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
    except BadInput as error:
        sys.exit(f"error: {error}")
