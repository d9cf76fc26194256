"""MaskablePPO of sb3-contrib on the compiled environments, measured on common random numbers, and distilled to a rank.

    python agents/sb3_maskable_ppo.py --out runs/sb3                             # M/G/1 with preemption, load 0.8
    python agents/sb3_maskable_ppo.py --out runs/sb3-mgk --env-id llmqueue/MGk-v0 --env-args servers=4
    python agents/sb3_maskable_ppo.py --out runs/llm --env-id llmqueue/LLMBatching-v0 --env-args relative_to=sjf-total
    tensorboard --logdir runs

It leaves `<name>.zip`, which `MaskablePPO.load` reads, `<name>.json`, the card, and, where an action is the slot of a
job, `<name>/`, the rank that chooses most like it, which `policies.learned.load` reads. Both play on the leaderboard,
with `llmqueue leaderboard run --agent`. Any other algorithm of Stable-Baselines3 fits in here, as the adapter is an
ordinary `VecEnv`.

Rewards are divided by the spread of the returns, as `VecNormalize` does it. Stable-Baselines3 discounts by the decision
and not by the time between decisions, which costs a little; `agents/ppo.py` discounts by time, and is faster too.
On serving environments that pays for putting costs off by empty steps; `relative_to` takes that away, and
`agents/learn.py` begins from a policy by hand.
Seeds of training, of the curve, of the last figures and of the distillation are disjoint, and all at least 1 000 000.
"""

from dataclasses import dataclass

import tyro
from sb3_contrib import MaskablePPO

from llmqueue_gym.errors import in_one_line
from llmqueue_gym.integrations import report
from llmqueue_gym.integrations.sb3 import SlotsMaskablePolicy
from llmqueue_gym.integrations.sb3_run import Training


@dataclass
class Options(report.Options):
    """What is trained, and how; see `--help` for all.

    Attributes:
        num_steps: decisions of each environment in one iteration.
        epochs: passes over the decisions of an iteration.
        lam: lambda of the advantages.
        clip: largest change of a probability that is rewarded.
    """

    name: str = "learned-sb3-maskable-ppo"
    num_steps: int = 64
    epochs: int = 4
    lam: float = 0.95
    clip: float = 0.2


if __name__ == "__main__":
    with in_one_line():
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
