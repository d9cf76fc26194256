"""DQN of Stable-Baselines3 on the compiled environments, measured on common random numbers, and distilled to a rank.

    python agents/sb3_dqn.py --out runs/dqn                                      # M/G/1 with preemption, load 0.8
    tensorboard --logdir runs

It leaves `<name>.zip`, which `DQN.load` reads, `<name>.json`, the card, and for one server `<name>/`, the rank that
chooses most like it, which `policies.learned.load` reads.

DQN has no masks. An action that is not open stands for the first that is, so its value is that of the first, and what
the network says of it counts for nothing.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from llmqueue_gym.errors import BadInput
from llmqueue_gym.integrations.report import curve_yardstick, env_arguments, first_training_seed, report
from llmqueue_gym.integrations.sb3 import LLMQueueVecEnv, SlotsDQNPolicy


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


class Training(BaseCallback):
    """The run, which the algorithm calls after every iteration."""

    def __init__(self, options: Options):
        super().__init__()
        self.options = o = options
        torch.set_num_threads(o.threads)
        self.folder = Path(o.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        envs = LLMQueueVecEnv(o.env_id, o.num_envs, **env_arguments(o.env_args))
        self.config: Any = envs.get_attr("config")[0]
        self.yardstick, self.first_seed = curve_yardstick(o, self.config), first_training_seed(o.seed)
        self.curve: list[list[float]] = []
        self.before = 0.0  # seconds of the runs that this one goes on from
        self.agent = self.load(envs) if o.resume else self.begin(envs)

    def begin(self, envs: LLMQueueVecEnv) -> DQN:
        """Return an agent that knows nothing."""
        o = self.options
        return DQN(
            SlotsDQNPolicy,
            VecNormalize(envs, norm_obs=False, gamma=o.gamma),
            learning_rate=_Falling(o.lr),
            buffer_size=o.buffer,
            learning_starts=o.begin,
            batch_size=o.batch_size,
            gamma=o.gamma,
            train_freq=1,
            gradient_steps=o.gradient_steps,
            target_update_interval=o.target_every,
            exploration_fraction=o.explored,
            exploration_final_eps=0.02,
            max_grad_norm=1.0,
            policy_kwargs={"features_extractor_kwargs": {"hidden": o.hidden}},
            tensorboard_log=str(self.folder),
            seed=self.first_seed,
            device="cpu",
        )

    def load(self, envs: LLMQueueVecEnv) -> DQN:
        """Return the agent of the checkpoint, in fresh episodes."""
        if not self.checkpoint.is_file():
            raise BadInput(f"{self.checkpoint}: no such file; leave out --resume to begin")
        env = VecNormalize.load(str(self.checkpoint.with_suffix(".pkl")), envs)
        agent = DQN.load(self.checkpoint, env, device="cpu")
        agent.set_random_seed(self.first_seed + self.options.num_envs + agent.num_timesteps)
        self.curve, self.before = agent.curve, agent.curve[-1][0]
        return agent

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept, with the spread of its returns beside it."""
        return self.folder / "checkpoint.zip"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.agent.curve = self.curve  # is kept with the agent
        spread = self.checkpoint.with_suffix(".pkl")
        for path, write in ((self.checkpoint, self.agent.save), (spread, self.agent.get_vec_normalize_env().save)):
            made = path.with_name(f"new-{path.name}")
            write(str(made))
            os.replace(made, path)

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.before + time.perf_counter() - self.start

    def learn(self) -> None:
        """Train until `total_steps` or Ctrl-C; what was learned until then is kept."""
        o, left = self.options, self.options.total_steps - self.agent.num_timesteps
        self.start, self.due = time.perf_counter(), self.agent.num_timesteps
        try:
            self.agent.learn(max(left, 0), self, reset_num_timesteps=False, tb_log_name="log", progress_bar=not o.quiet)
        except KeyboardInterrupt:
            print("stopped; go on with --resume", file=sys.stderr)
        self.mark()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.agent.num_timesteps >= self.due:
            self.mark()
            self.due = self.agent.num_timesteps + self.options.eval_every

    def mark(self) -> None:
        """Add a point to the curve and write the checkpoint."""
        score = self.yardstick.score(self.agent).mean
        self.curve.append([round(self.seconds, 2), self.agent.num_timesteps, round(score, 5)])
        self.agent.logger.record("score", score)
        self.save()

    def report(self, console: Console) -> dict[str, Any]:
        """Keep the agent, measure it and its rivals on fresh jobs, and print the scores."""
        self.agent.save(self.folder / f"{self.options.name}.zip")
        return report(self.options, self.config, self.agent, self.choose, self.curve, console)

    def choose(self, observation: Any) -> Any:
        """Return the actions for a batch of observations."""
        return self.agent.predict(observation, deterministic=True)[0]


class _Falling:
    """A step size that falls linearly to 0."""

    def __init__(self, first: float):
        self.first = first

    def __call__(self, left: float) -> float:
        return self.first * max(left, 0.0)


if __name__ == "__main__":
    try:
        options = tyro.cli(Options, description=__doc__.partition("\n")[0])
        run = Training(options)
        run.learn()
        run.report(Console(quiet=options.quiet))
    except BadInput as error:
        sys.exit(f"error: {error}")
