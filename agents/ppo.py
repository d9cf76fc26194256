"""Proximal policy optimisation that learns a rank: trained on a compiled vector environment, exported as a policy.

    python agents/ppo.py --out runs/ppo                                          # M/G/1 with preemption, load 0.8
    python agents/ppo.py --out runs/mgk --env-id llmqueue/MGk-v0 --env-args servers=4 predictor=lognormal:sigma=0.5
    tensorboard --logdir runs

* **Actor**: one small network gives each job its rank, and the job of slot i is served with probability proportional
  to exp(-rank i). It sees one job at a time, so it takes any number of slots, and it is the very network that
  `policies.learned` replays: export copies its weights.
* **Critic**: sums and means over the jobs of what another network says of each, and the system's features. Only
  training needs it, so it may see all jobs at once.
* **Time**: decisions are `info["dt"]` apart, so rewards are discounted by gamma^dt and advantages by (gamma lambda)^dt.
* **Reward**: relative to the mean cost rate so far, over the spread of the returns, as the average-reward problem that
  a queue is wants it (Dai and Gluzman, "Queueing Network Controls via Deep Reinforcement Learning", Stochastic Systems
  2022). How long an episode lasts hardly depends on the order of service, so the order that is best stays the best.
* **Score**: (FCFS - x) / (FCFS - bound) of the exported policy on the same jobs; nobody undercuts the bound.

The algorithm is that of Schulman et al., arXiv 1707.06347, in the form of cleanrl: one file, read from top to bottom,
beside the networks and the advantages, which are in `llmqueue_gym.integrations.rank_net`.
Seeds of training, of the curve and of the last figures are disjoint, and all are at least 1 000 000.
"""

import os
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from llmqueue_gym.envs import register_all
from llmqueue_gym.errors import BadInput, in_one_line
from llmqueue_gym.evaluation import across_seeds, paired_difference
from llmqueue_gym.evaluation.results import provenance
from llmqueue_gym.integrations.rank_net import Actor, Critic, Order, States, gae, log_chances
from llmqueue_gym.integrations.report import (
    CURVE_SEEDS,
    LAST_SEEDS,
    curve_yardstick,
    env_arguments,
    first_training_seed,
)
from llmqueue_gym.integrations.score import Yardstick
from llmqueue_gym.policies.learned import save
from llmqueue_gym.policies.learned.artefact import KINDS
from llmqueue_gym.systems.view import columns_of

LONGEST_PLAYED = 5000  # jobs of a run in which the policy plays as an agent, where no closed loop has its rules


@dataclass
class Options:
    """What is trained, and how.

    Attributes:
        out: folder of the run: checkpoint, TensorBoard logs and `<name>/`, the best policy so far.
        name: of the policy.
        env_id: environment.
        env_args: its arguments, such as `load=0.8 predictor=lognormal:sigma=0.5`.
        shape: of the rank in age. "falling" keeps it from rising, so that the compiled closed loop takes the decisions
            of the environment one by one; "general" lets it rise, which wants a `quantum` among `env_args`.
        warm_start: begin near shortest predicted first; from scratch otherwise.
        total_steps: decisions to train for, those of runs that are resumed included.
        num_envs: environments side by side.
        num_steps: decisions of each in one iteration.
        epochs: passes over the decisions of an iteration.
        minibatches: in each of these passes, of some steps of all environments each.
        hidden: units of the rank.
        critic_hidden: units of each layer of the critic.
        lr: first step size of Adam; falls linearly to 0.
        gamma: discount of one mean size of time.
        lam: lambda of the advantages, likewise.
        clip: largest change of a probability that is rewarded.
        eval_every: iterations between points of the curve.
        eval_seeds: runs behind a point.
        eval_jobs: jobs of such a run; 5000 at most where deadlines are firm, which no closed loop plays.
        seed: of training.
        threads: of torch; on a busy machine several wait for one another at every small operation.
        resume: go on from the checkpoint in `out`, with fresh episodes.
        quiet: print nothing.
    """

    out: Path = Path("results/runs/ppo")
    name: str = "learned-ppo"
    env_id: str = "llmqueue/MG1Preemptive-v0"
    env_args: tuple[str, ...] = ()
    shape: Literal["falling", "general"] = "falling"
    warm_start: bool = False
    total_steps: int = 3_000_000
    num_envs: int = 512
    num_steps: int = 64
    epochs: int = 1
    minibatches: int = 8
    hidden: int = 16
    critic_hidden: int = 24
    lr: float = 5e-3
    gamma: float = 0.98
    lam: float = 0.95
    clip: float = 0.2
    eval_every: int = 5
    eval_seeds: int = 4
    eval_jobs: int = 50_000
    seed: int = 0
    threads: int = 1
    resume: bool = False
    quiet: bool = False


class Minibatch(NamedTuple):
    """Decisions, B of them: what was seen and done `(B,)`, and which are decisions at all.

    Attributes:
        states: where they were taken.
        action: slot served.
        log_chance: logarithm of its probability then.
        advantage: of the action.
        value: of the state, by the critic then.
        real: False for the steps that only reset.
    """

    states: States
    action: torch.Tensor
    log_chance: torch.Tensor
    advantage: torch.Tensor
    value: torch.Tensor
    real: torch.Tensor

    @classmethod
    def of(cls, states: list[States], *columns: torch.Tensor) -> "Minibatch":
        """Put steps together: states of E environments each, and columns `(steps, E)`."""
        slots, size = states[0].slots, states[0].slots * len(states[0].system)
        at = torch.cat([state.at + k * size for k, state in enumerate(states)])
        jobs, system = torch.cat([state.jobs for state in states]), torch.cat([state.system for state in states])
        return cls(States(jobs, at, system, slots), *(column.flatten() for column in columns))


class Training:
    """The state of a run, from its options or its checkpoint."""

    def __init__(self, options: Options):
        self.options = o = options
        torch.set_num_threads(o.threads)
        torch.manual_seed(o.seed)
        self.folder = Path(o.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        register_all()
        told = {"copy": False, "scaled": False, **env_arguments(o.env_args)}
        self.env: Any = gymnasium.make_vec(o.env_id, num_envs=o.num_envs, **told)
        self.scenario, self.view = self.env.unwrapped.scenario, self.env.unwrapped.view
        self.order = Order.of(self.scenario, self.view)
        if o.shape not in ("falling", "general"):
            raise BadInput(f"shape={o.shape!r}; choose falling or general")
        features, system = len(self.order.names), len(self.view.system)
        aged = self.order.aged if o.shape == "falling" else ()
        self.actor = Actor(features, o.hidden, self.order.past, aged)
        self.critic = Critic(features, system, o.critic_hidden)
        if o.warm_start:
            with torch.no_grad():
                self.actor.linear[self.order.names.index("predicted")] = 1.0
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=o.lr, eps=1e-5)
        self.progress: dict[str, Any] = {"iteration": 0, "steps": 0, "seconds": 0.0, "cpu": 0.0, "rate": 0.0}
        self.progress |= {"spread": 0.0, "curve": [], "best": -np.inf, "params": []}
        if o.resume:
            self.load()

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        parts = {name: getattr(self, name).state_dict() for name in ("actor", "critic", "optimiser")}
        made = self.checkpoint.with_suffix(".new")
        torch.save({**parts, "progress": self.progress, "random": torch.get_rng_state()}, made)
        os.replace(made, self.checkpoint)

    def load(self) -> None:
        """Go back to the checkpoint."""
        if not self.checkpoint.is_file():
            raise BadInput(f"{self.checkpoint}: no such file; leave out --resume to begin")
        parts = torch.load(self.checkpoint, weights_only=True)
        for name in ("actor", "critic", "optimiser"):
            getattr(self, name).load_state_dict(parts[name])
        self.progress = parts["progress"]
        torch.set_rng_state(parts["random"])

    def begin(self) -> dict[str, np.ndarray]:
        """Begin episodes that no earlier part of the run has seen; return the first observation."""
        seed = first_training_seed(self.options.seed) + self.options.num_envs * self.progress["iteration"]
        self.over = np.zeros(self.options.num_envs, bool)
        return self.env.reset(seed=seed)[0]

    def read(self, observation: dict[str, np.ndarray]) -> States:
        """Return what a batch of environments shows."""
        slots = int(self.view.slots)
        rows, mask = observation["jobs"][:, :slots], observation["action_mask"][:, :slots]
        here = (mask > 0) & (rows[..., 0] > 0)  # once an episode is over, all actions may be open
        told = self.order.features(columns_of({"jobs": rows[here]}, "jobs", self.view.jobs))
        jobs = torch.from_numpy(told.astype(np.float32, copy=False))
        at = torch.from_numpy(here.ravel().nonzero()[0])
        return States(jobs, at, torch.from_numpy(observation["system"].copy()), slots)

    @torch.no_grad()
    def collect(self, observation: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[Minibatch]]:
        """Play `num_steps` decisions in every environment; return the last observation and what was met."""
        o, states, steps, actions, log_chance = self.options, [self.read(observation)], [], [], []
        for _ in range(o.num_steps):
            chances = log_chances(self.actor, states[-1])
            action = (chances - torch.empty_like(chances).exponential_().log()).argmax(1)  # Gumbel's way to sample
            actions.append(action)
            log_chance.append(chances.gather(1, action[:, None])[:, 0])
            observation, reward, terminated, truncated, info = self.env.step(action.numpy())
            real = ~self.over  # after an end the next step resets, and its action does nothing
            self.over = terminated | truncated
            steps.append((reward, info["dt"], terminated, self.over, real))
            states.append(self.read(observation))
        value = torch.stack([self.critic(state) for state in states]).numpy()
        reward, dt, terminated, over, real = (np.stack(column) for column in zip(*steps, strict=True))
        reward, dt = self.relative(reward, dt, real)
        advantage = gae(reward, value, dt, terminated, over, o.gamma, o.lam).astype(np.float32)
        columns = (torch.stack(actions), torch.stack(log_chance), *map(torch.from_numpy, (advantage, value[:-1], real)))
        # A minibatch is some of the decisions of all environments; neighbours in time are much alike.
        parts = torch.randperm(o.num_steps).chunk(o.minibatches)
        return observation, [Minibatch.of([states[t] for t in part], *(c[part] for c in columns)) for part in parts]

    def relative(self, reward: np.ndarray, dt: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rewards less their mean rate, over the spread of the returns, and times in mean sizes."""
        p, o, dt = self.progress, self.options, dt / self.order.scale
        new = 1.0 / min(p["iteration"] + 1, 20)  # a mean over all iterations, later over the last 20
        p["rate"] += new * (float((reward * real).sum() / (dt * real).sum()) - p["rate"])
        reward = (reward - p["rate"] * dt) * real
        nothing = np.zeros((len(reward) + 1, reward.shape[1]))
        spread = float(gae(reward, nothing, dt, ~real, ~real, o.gamma, 1.0).std())
        p["spread"] += new * (spread - p["spread"])
        return reward / max(p["spread"], 1e-8), dt

    def update(self, batch: list[Minibatch]) -> dict[str, float]:
        """Improve actor and critic on a batch; return figures for the log."""
        o, share = self.options, max(1.0 - self.progress["steps"] / self.options.total_steps, 0.0)
        for group in self.optimiser.param_groups:
            group["lr"] = o.lr * share
        for k in [k for _ in range(o.epochs) for k in torch.randperm(len(batch)).tolist()]:
            part = batch[k]
            chance = log_chances(self.actor, part.states).gather(1, part.action[:, None])[part.real, 0]
            change = chance - part.log_chance[part.real]
            ratio, a = change.exp(), part.advantage[part.real]
            a = (a - a.mean()) / (a.std() + 1e-8)
            gain = torch.minimum(ratio * a, ratio.clamp(1 - o.clip, 1 + o.clip) * a).mean()
            target = (part.advantage + part.value)[part.real]
            miss = (self.critic(part.states)[part.real] - target).square().mean()
            self.optimiser.zero_grad()
            (miss - gain).backward()
            nn.utils.clip_grad_norm_([*self.actor.parameters(), *self.critic.parameters()], 1.0)
            self.optimiser.step()
            self.actor.keep_falling()
        return {
            "entropy": -float(chance.detach().mean()),
            "explained_variance": 1.0 - float(miss.detach() / target.var()),
            "divergence": float((ratio - 1 - change).detach().mean()),  # an estimate of new from old
        }

    # ------------------------------------------------------------------------------------------ what has been learned

    @property
    def traits(self) -> dict[str, Any]:
        """Traits of the exported policy."""
        preemptive = bool(self.view.preemptive)
        moves = preemptive and bool(self.order.aged)
        return {"preemptive": preemptive, "shape": self.options.shape if moves else "constant"}

    @property
    def params(self) -> np.ndarray:
        """The numbers of the exported policy, as learned so far."""
        return self.actor.pack(self.order.scale)

    def policy(self, params: Any) -> Any:
        """Return the network as a compiled policy."""
        return KINDS.builder(self.order.kind)(self.options.name, np.asarray(params), "", **self.traits)

    def prepare_score(self) -> None:
        """Play first come first served and the bound on the jobs of the curve."""
        if self.view.own_rules:
            self.options.eval_jobs = min(self.options.eval_jobs, LONGEST_PLAYED)
        self.yardstick = curve_yardstick(self.options, self.env)
        self.yardstick.score(self.policy(self.params))  # loads its kernel

    def evaluate(self) -> float:
        """Add a point to the curve, keep the policy if it is the best so far, and write the checkpoint."""
        params, p = self.params, self.progress
        reached = self.yardstick.score(self.policy(params)).mean
        p["curve"].append([round(p["seconds"], 2), p["steps"], round(reached, 5)])
        if reached > p["best"]:
            p["best"], p["params"] = reached, params.tolist()
            save(self.folder / self.options.name, params, self.card())
        self.save()
        return reached

    def card(self) -> dict[str, Any]:
        """Return what is to be known of the policy; see `policies.learned.artefact`."""
        o, p = self.options, self.progress
        jobs = {"size": str(self.scenario.law), "predictor": str(self.scenario.fitted), "load": self.scenario.load}
        words = f"sizes {jobs['size']}, predictions {jobs['predictor']}, load {jobs['load']}"
        return {
            "name": o.name,
            "kind": self.order.kind,
            "description": f"A rank learned by PPO in {o.env_id.removeprefix('llmqueue/')}: {words}.",
            "traits": self.traits,
            "trained_on": {"env_id": o.env_id, "env_args": list(o.env_args), **jobs},
            "seeds": [[CURVE_SEEDS, CURVE_SEEDS + o.eval_seeds], [first_training_seed(o.seed), 2**63]],
            "options": {name: value for name, value in asdict(o).items() if name not in ("out", "quiet", "resume")},
            "command": shlex.join(["python", "agents/ppo.py", *sys.argv[1:]]),
            "commit": provenance()["commit"],
            "cost": {"seconds": round(p["seconds"], 2), "cpu_seconds": round(p["cpu"], 2), "steps": p["steps"]},
            "curve": p["curve"],
        }

    def report(self, console: Console) -> dict[str, Any]:
        """Play the best policy and its rivals on fresh jobs, add the figures to its card, and print them."""
        o, p, seeds = self.options, self.progress, range(LAST_SEEDS, LAST_SEEDS + 5 * self.options.eval_seeds)
        last = Yardstick(self.scenario, self.view, seeds, o.eval_jobs)
        costs = {o.name: last.costs(self.policy(p["params"]))}
        for name in last.rivals():
            try:
                costs[name] = last.costs(name)
            except BadInput as error:
                console.print(f"{name}: left out, {error}")
        scores = {name: last.score_of(values) for name, values in costs.items()}
        final = scores[o.name]
        reached = next((row for row in p["curve"] if row[2] >= 0.95 * final.mean), None)
        figures: dict[str, Any] = {
            "score": final._asdict(),
            "seconds_to_95_percent": reached and reached[0],
            "steps_per_second": p["steps"] / p["seconds"] if p["seconds"] else None,
            "costs": {name: across_seeds(values)._asdict() for name, values in costs.items()},
        }
        save(self.folder / o.name, np.array(p["params"]), {**self.card(), "figures": {**figures, "seeds": list(seeds)}})
        table = Table("policy", "cost of a job", "score", "cost above the learned", title="fresh jobs, 95 % intervals")
        for name, values in costs.items():
            above = paired_difference(values, costs[o.name])
            row = across_seeds(values), scores[name], above
            table.add_row(name, *(f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in row))
        console.print(table)
        if p["seconds"]:
            speed = f"{p['steps'] / p['seconds']:,.0f} steps/s end to end"
            console.print(f"{p['steps']:,} steps in {p['seconds']:.1f} s ({p['cpu']:.1f} CPU-s): {speed}")
            console.print(f"95 % of the final score after {reached and reached[0]} s")
        return figures


def train(options: Options) -> Training:
    """Train until `total_steps` or Ctrl-C, which leaves a checkpoint too; return the run."""
    run = Training(options)
    run.prepare_score()
    console, p = Console(quiet=options.quiet), run.progress
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with SummaryWriter(str(run.folder)) as log, Progress(*columns, console=console) as bar:
        task = bar.add_task("begins", total=options.total_steps, completed=p["steps"])
        observation, reached = run.begin(), run.evaluate() if not p["curve"] else p["curve"][-1][2]
        wall, cpu = time.perf_counter() - p["seconds"], time.process_time() - p["cpu"]
        try:
            while p["steps"] < options.total_steps:
                observation, batch = run.collect(observation)
                figures = run.update(batch)
                p["iteration"] += 1
                p["steps"] += sum(int(part.real.sum()) for part in batch)
                p["seconds"], p["cpu"] = time.perf_counter() - wall, time.process_time() - cpu
                if p["iteration"] % options.eval_every == 0 or p["steps"] >= options.total_steps:
                    reached = run.evaluate()
                speed = p["steps"] / p["seconds"]
                figures |= {"score": reached, "cost_rate": -p["rate"], "steps_per_second": speed}
                for name, value in figures.items():
                    log.add_scalar(name, value, p["steps"])
                bar.update(task, completed=p["steps"], description=f"score {reached:.3f}, {speed:,.0f} steps/s")
        except KeyboardInterrupt:
            console.print("stopped; go on with --resume")
        p["seconds"], p["cpu"] = time.perf_counter() - wall, time.process_time() - cpu
        run.save()
    run.report(console)
    return run


if __name__ == "__main__":
    with in_one_line():
        train(tyro.cli(Options, description=__doc__.partition("\n")[0]))
