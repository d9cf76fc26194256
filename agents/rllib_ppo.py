"""PPO of Ray's RLlib on the compiled environments, measured on common random numbers, and distilled to a rank.

    python agents/rllib_ppo.py --out runs/rllib                                  # M/G/1 with preemption, load 0.8
    python agents/rllib_ppo.py --out runs/rllib --env-runners 4                  # four more processes that play

It wants a virtual environment of its own: see `agents/requirements-rllib.txt`. It leaves `checkpoint/`, which RLlib's
`Algorithm.from_checkpoint` reads, `<name>.json`, the card, and, where an action is the slot of a job, `<name>/`, the
rank that chooses most like it, which `policies.learned.load` reads. Seeds of the curve, of the last figures, of the
distillation and of training are disjoint, and all are at least 1 000 000.
"""

import logging
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else each start says what a later Ray will do

import gymnasium
import ray
import torch
import tyro
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from llmqueue_gym.errors import BadInput, in_one_line
from llmqueue_gym.integrations import report
from llmqueue_gym.integrations.rllib import ModuleAgent, on_slots


@dataclass
class Options(report.Options):
    """What is trained, and how; see `--help` for all.

    Attributes:
        env_runners: processes that play, each with `num_envs`; 0 for this one.
        num_steps: decisions of each environment in one iteration.
        epochs: passes over the decisions of an iteration.
        lam: lambda of the advantages.
        clip: largest change of a probability that is rewarded.
        eval_every: iterations between points of the curve and checkpoints.
    """

    name: str = "learned-rllib-ppo"
    env_runners: int = 0
    num_steps: int = 64
    epochs: int = 4
    lam: float = 0.95
    clip: float = 0.2
    eval_every: int = 25


class Training:
    """The state of a run, from its options or its checkpoint."""

    def __init__(self, options: Options):
        self.options = o = options
        torch.set_num_threads(o.threads)
        self.folder = Path(o.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.arguments = report.env_arguments(o.env_args)
        self.first_seed = report.first_training_seed(o.seed)
        self.progress: dict[str, Any] = {"steps": 0, "seconds": 0.0, "curve": []}
        notes = torch.load(self.notes, weights_only=True) if o.resume and self.notes.is_file() else None
        if o.resume and notes is None:
            raise BadInput(f"{self.notes}: no such file; leave out --resume to begin")
        self.progress |= notes or {}
        self.env: Any = gymnasium.make(o.env_id, **self.arguments)
        self.yardstick = report.curve_yardstick(o, self.env)
        self.algorithm: Algorithm = self.configuration().build_algo()
        if o.resume:
            self.algorithm.restore_from_path(str(self.checkpoint))
        self.agent = ModuleAgent(self.algorithm.get_module())

    def configuration(self) -> Any:
        """Return RLlib's configuration."""
        o, runners = self.options, max(self.options.env_runners, 1)
        return (
            on_slots(PPOConfig(), o.env_id, o.num_envs, o.hidden, o.gamma, **self.arguments)
            .env_runners(num_env_runners=o.env_runners, rollout_fragment_length=o.num_steps)
            .training(
                train_batch_size=o.num_envs * o.num_steps * runners,
                minibatch_size=o.batch_size,
                num_epochs=o.epochs,
                lr=o.lr,
                lambda_=o.lam,
                clip_param=o.clip,
                use_kl_loss=False,
                vf_clip_param=float("inf"),  # RLlib's 10 is a bound on squared errors
                vf_loss_coeff=0.5,
                grad_clip=0.5,
            )
            .debugging(seed=self.first_seed + self.progress["steps"], log_level="ERROR")
        )

    @property
    def checkpoint(self) -> Path:
        """Where RLlib keeps the run."""
        return (self.folder / "checkpoint").resolve()

    @property
    def notes(self) -> Path:
        """What is kept beside it."""
        return self.folder / "progress.pt"

    def mark(self) -> float:
        """Add a point to the curve, write the checkpoint, and return the score."""
        score, p = self.yardstick.score(self.agent).mean, self.progress
        p["curve"].append([round(p["seconds"], 2), p["steps"], round(score, 5)])
        self.algorithm.save_to_path(str(self.checkpoint))
        torch.save(p, self.notes)
        return score

    def learn(self, console: Console) -> None:
        """Train until `total_steps` or Ctrl-C; what was learned until then is kept."""
        o, p, iteration = self.options, self.progress, 0
        columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        with SummaryWriter(str(self.folder)) as log, Progress(*columns, console=console) as bar:
            task = bar.add_task("begins", total=o.total_steps, completed=p["steps"])
            score = self.mark() if not p["curve"] else p["curve"][-1][2]
            before = p["steps"]
            try:
                while p["steps"] < o.total_steps:
                    start = time.perf_counter()
                    self.algorithm.train()
                    p["seconds"] += time.perf_counter() - start
                    iteration += 1
                    p["steps"] = before + iteration * o.num_envs * o.num_steps * max(o.env_runners, 1)
                    if iteration % o.eval_every == 0 or p["steps"] >= o.total_steps:
                        score = self.mark()
                    speed = p["steps"] / p["seconds"]
                    log.add_scalar("score", score, p["steps"])
                    log.add_scalar("steps_per_second", speed, p["steps"])
                    bar.update(task, completed=p["steps"], description=f"score {score:.3f}, {speed:,.0f} steps/s")
            except KeyboardInterrupt:
                console.print("stopped; go on with --resume")
                self.mark()


if __name__ == "__main__":
    with in_one_line():
        options = tyro.cli(Options, description=__doc__.partition("\n")[0])
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        run, console = Training(options), Console(quiet=options.quiet)
        run.learn(console)
        report.report(options, run.env, run.agent, run.progress["curve"], console)
        run.algorithm.stop()
