"""A run of an algorithm of Stable-Baselines3: a curve, checkpoints to go on from, and at the end scores and a card."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from llmqueue_gym.errors import BadInput
from llmqueue_gym.integrations.report import Options, curve_yardstick, env_arguments, first_training_seed, report
from llmqueue_gym.integrations.sb3 import LLMQueueVecEnv


class Training(BaseCallback):
    """The run, which the algorithm calls before it plays on.

    Attributes:
        agent: the algorithm.
        curve: rows of (s, decisions, score).
    """

    def __init__(self, options: Options, algorithm: type[BaseAlgorithm], **told: Any):
        """Begin, or go on from the checkpoint, in fresh episodes.

        Args:
            options: of a script.
            algorithm: its class.
            **told: arguments of the algorithm beside these.

        Raises:
            BadInput: an option is wrong, or there is no checkpoint.
        """
        super().__init__()
        self.options = o = options
        torch.set_num_threads(o.threads)
        self.folder = Path(o.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        envs = LLMQueueVecEnv(o.env_id, o.num_envs, **env_arguments(o.env_args))
        self.env = envs.env
        self.yardstick, self.first_seed = curve_yardstick(o, self.env), first_training_seed(o.seed)
        self.curve: list[list[float]] = []
        self.before = 0.0  # seconds of the runs that this one goes on from
        self.agent: Any = self._load(algorithm, envs) if o.resume else self._begin(algorithm, envs, told)

    def _begin(self, algorithm: Callable[..., BaseAlgorithm], envs: LLMQueueVecEnv, told: dict[str, Any]) -> Any:
        o = self.options
        return algorithm(
            env=VecNormalize(envs, norm_obs=False, gamma=o.gamma),
            learning_rate=_Falling(o.lr),
            gamma=o.gamma,
            policy_kwargs={"features_extractor_kwargs": {"hidden": o.hidden}},
            tensorboard_log=str(self.folder),
            seed=self.first_seed,
            device="cpu",
            **told,
        )

    def _load(self, algorithm: type[BaseAlgorithm], envs: LLMQueueVecEnv) -> Any:
        if not self.checkpoint.is_file():
            raise BadInput(f"{self.checkpoint}: no such file; leave out --resume to begin")
        env = VecNormalize.load(str(self.checkpoint.with_suffix(".pkl")), envs)
        agent: Any = algorithm.load(self.checkpoint, env, device="cpu")
        agent.set_random_seed(self.first_seed + self.options.num_envs + agent.num_timesteps)
        self.curve, self.before = agent.curve, agent.curve[-1][0]
        return agent

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept, with the spread of its returns beside it."""
        return self.folder / "checkpoint.zip"

    def _save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.agent.curve = self.curve  # is kept with the agent
        spread = self.checkpoint.with_suffix(".pkl")
        for path, write in ((self.checkpoint, self.agent.save), (spread, self.agent.get_vec_normalize_env().save)):
            made = path.with_name(f"new-{path.name}")
            write(str(made))
            os.replace(made, path)

    def learn(self) -> None:
        """Train until `total_steps` or Ctrl-C; what was learned until then is kept."""
        o, left = self.options, self.options.total_steps - self.agent.num_timesteps
        self.start, self.due = time.perf_counter(), self.agent.num_timesteps
        try:
            self.agent.learn(max(left, 0), self, reset_num_timesteps=False, tb_log_name="log", progress_bar=not o.quiet)
        except KeyboardInterrupt:
            print("stopped; go on with --resume", file=sys.stderr)
        self._mark()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.agent.num_timesteps >= self.due:
            self._mark()
            self.due = self.agent.num_timesteps + self.options.eval_every

    def _mark(self) -> None:
        """Add a point to the curve and write the checkpoint."""
        seconds = self.before + time.perf_counter() - self.start
        score = self.yardstick.score(self.agent).mean
        self.curve.append([round(seconds, 2), self.agent.num_timesteps, round(score, 5)])
        self.agent.logger.record("score", score)
        self._save()

    def report(self) -> dict[str, Any]:
        """Keep the agent, measure it and its rivals on fresh jobs, and print the scores."""
        self.agent.save(self.folder / f"{self.options.name}.zip")
        return report(self.options, self.env, self.agent, self.curve, Console(quiet=self.options.quiet))


class _Falling:
    """A step size that falls linearly to 0."""

    def __init__(self, first: float):
        self.first = first

    def __call__(self, left: float) -> float:
        return self.first * max(left, 0.0)
