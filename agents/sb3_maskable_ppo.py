"""MaskablePPO of sb3-contrib on the compiled environments, measured on common random numbers, and distilled to a rank.

    python agents/sb3_maskable_ppo.py --out runs/sb3                             # M/G/1 with preemption, load 0.8
    python agents/sb3_maskable_ppo.py --out runs/sb3-mgk --env-id llmqueue/MGk-v0 --env-args servers=4
    tensorboard --logdir runs

It leaves `<name>.zip`, which `MaskablePPO.load` reads, `<name>.json`, the card, and, where an action is the slot of a
job, `<name>/`, the rank that chooses most like it, which `policies.learned.load` reads. Both play on the leaderboard,
with `llmqueue leaderboard run --agent`. Any other algorithm of Stable-Baselines3 fits in here, as the adapter is an
ordinary `VecEnv`.

Rewards are divided by the spread of the returns, as `VecNormalize` does it. Stable-Baselines3 discounts by the decision
and not by the time between decisions, which costs a little; `agents/ppo.py` discounts by time, and is faster too.
Seeds of training, of the curve, of the last figures and of the distillation are disjoint, and all at least 1 000 000.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from sb3_contrib import MaskablePPO

from llmqueue_gym.errors import BadInput
from llmqueue_gym.integrations.sb3 import SlotsMaskablePolicy
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
        num_steps: decisions of each in one iteration.
        epochs: passes over the decisions of an iteration.
        batch_size: decisions in a minibatch.
        hidden: units of each layer.
        lr: first step size of Adam; falls linearly to 0.
        gamma: discount of a decision.
        lam: lambda of the advantages.
        clip: largest change of a probability that is rewarded.
        eval_every: decisions between points of the curve and checkpoints.
        eval_seeds: runs behind a point; five times as many behind the last figures.
        eval_jobs: jobs of such a run.
        seed: of training.
        threads: of torch.
        resume: go on from the checkpoint in `out`, with fresh episodes.
        quiet: print nothing.
    """

    out: Path
    name: str = "learned-sb3-maskable-ppo"
    env_id: str = "llmqueue/MG1Preemptive-v0"
    env_args: tuple[str, ...] = ()
    total_steps: int = 400_000
    num_envs: int = 64
    num_steps: int = 64
    epochs: int = 4
    batch_size: int = 1024
    hidden: int = 32
    lr: float = 2e-3
    gamma: float = 0.98
    lam: float = 0.95
    clip: float = 0.2
    eval_every: int = 100_000
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
            MaskablePPO,
            policy=SlotsMaskablePolicy,
            n_steps=o.num_steps,
            batch_size=o.batch_size,
            n_epochs=o.epochs,
            gae_lambda=o.lam,
            clip_range=o.clip,
        )
        run.learn()
        run.report()
    except BadInput as error:
        sys.exit(f"error: {error}")
