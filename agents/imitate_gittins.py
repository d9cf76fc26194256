"""Learns the Gittins order of one queue from pairs of (size, prediction) alone; the laws behind them are never told.

    python agents/imitate_gittins.py --name learned-gittins-exponential --size exponential --load 0.8

1. A hazard network learns the rate at which a job of prediction y that has run for a seconds ends, by the likelihood
   of the pairs: a piecewise exponential model, which needs no form of the law.
2. From the hazard come survival and mean work left, and from those the Gittins rank of each (y, a) of a grid.
3. A small network learns the logarithm of that rank, weighted by where jobs are; its numbers are the policy.

At the end it plays against SPRPT on training seeds. `evolve_rank.py --start FOLDER` improves it in the closed loop.

Sources: Gittins 1979; Aalto, Ayesta, Righter 2009 (the index as a least slope); Friedman, "Piecewise exponential models
for survival data with covariates", Annals of Statistics 1982.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from llmqueue_gym.errors import BadInput, in_one_line
from llmqueue_gym.evaluation.results import provenance
from llmqueue_gym.evaluation.statistics import across_seeds
from llmqueue_gym.policies.learned import load, save
from llmqueue_gym.policies.learned.artefact import CARD
from llmqueue_gym.policies.learned.network import Weights
from llmqueue_gym.policies.learned.order import FEATURES, NEAR, features
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory.gittins import least_ratios

TRAINING_SEEDS = 1_000_000  # and up; reports use seeds below 10,000
MARKS = 5  # times that the policy is played while it is fitted, for the curve


@dataclass(frozen=True)
class Args:
    """Where to learn, and how long."""

    name: str = "learned-gittins"
    """name of the policy, which says what it was trained on"""
    size: str = "exponential"
    """law that the pairs are drawn from"""
    predictor: str = "exponential"
    """likewise"""
    load: float = 0.8
    """of the queue in which the policy is played; the Gittins rank does not depend on it"""
    pairs: int = 50_000
    """pairs to learn from"""
    hazard_steps: int = 2000
    hazard_width: int = 32
    bins: int = 60
    """ages at which the hazard may change"""
    fit_steps: int = 4000
    hidden: int = 24
    """units of the policy's network"""
    grid: int = 120
    """predictions and ages at which the rank is computed"""
    check_jobs: int = 50_000
    """jobs in each run of the closed loop"""
    check_seeds: int = 4
    seed: int = 0
    folder: Path = Path("runs/order")
    """the policy is written to FOLDER/NAME, where there must be none yet"""
    runs: Path = Path("results/runs")
    """checkpoint and TensorBoard logs go to RUNS/NAME"""
    resume: bool = False
    """go on from the checkpoint"""


class Hazard(nn.Module):
    """Log of the rate at which a job ends, from the logarithms of its prediction and age, both standardised."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return log rates `(...)` of points `(..., 2)`."""
        return self.layers(x).squeeze(-1)


class Order(nn.Module):
    """The network of `policies.learned.network`, on standardised features."""

    def __init__(self, hidden: int):
        super().__init__()
        self.direct, self.inner = nn.Linear(len(FEATURES), 1), nn.Linear(len(FEATURES), hidden)
        self.out = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return values `(n,)` of features `(n, F)`."""
        return (self.direct(x) + self.out(nn.functional.softsign(self.inner(x)))).squeeze(-1)

    def export(self, mean: np.ndarray, spread: np.ndarray, scale: float) -> np.ndarray:
        """Return the vector of the policy; the standardising goes into the weights, the constant is of no matter."""
        linear, inner, bias, out = (
            tensor.detach().double().numpy()
            for tensor in (self.direct.weight[0], self.inner.weight, self.inner.bias, self.out.weight[0])
        )
        weights = inner / spread
        return Weights(linear / spread, weights, bias - weights @ mean, out, scale).pack()


class Checkpoint:
    """What is needed to go on: the state of both fits, the seconds so far and the curve."""

    def __init__(self, path: Path, resume: bool):
        self.path, self.started = path, time.perf_counter()
        self.state: dict[str, Any] = {"fits": {}, "seconds": 0.0, "curve": []}
        if resume:
            if not path.exists():
                raise BadInput(f"{path}: no such checkpoint; leave out --resume")
            self.state = torch.load(path, weights_only=True)

    @property
    def seconds(self) -> float:
        """Time spent, in all sessions."""
        return self.state["seconds"] + time.perf_counter() - self.started

    def write(self) -> None:
        """Write it, whole or not at all."""
        self.state["seconds"], self.started = self.seconds, time.perf_counter()
        torch.save(self.state, self.path.with_suffix(".new"))
        self.path.with_suffix(".new").replace(self.path)

    def fit(
        self,
        name: str,
        net: nn.Module,
        loss_at: Callable[[torch.Generator], torch.Tensor],
        steps: int,
        log: SummaryWriter,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """Fit a network by Adam at a rate that falls to zero as a cosine; Ctrl-C leaves a checkpoint."""
        optimiser = torch.optim.Adam(net.parameters())
        fits = self.state["fits"]
        start = 0
        if name in fits:
            start = fits[name]["step"]
            net.load_state_dict(fits[name]["net"])
            optimiser.load_state_dict(fits[name]["optimiser"])
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        step = start
        try:
            with Progress(*columns, console=Console(stderr=True)) as progress:
                bar = progress.add_task(name, total=steps, completed=start)
                for step in range(start, steps):
                    for group in optimiser.param_groups:
                        group["lr"] = 0.01 * 0.5 * (1 + np.cos(np.pi * step / steps))
                    loss = loss_at(torch.Generator().manual_seed(step))
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    progress.update(bar, advance=1)
                    if step % 50 == 0:
                        log.add_scalar(f"{name}/loss", loss.item(), step)
                    if (step + 1) % max(1, steps // MARKS) == 0:
                        watch()
                step = steps
        finally:
            state = {"step": step, "net": net.state_dict(), "optimiser": optimiser.state_dict()}
            fits[name] = state
            self.write()


def exposures(sizes: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds that each size spends between edges `(n, bins)` and the bin in which it ends `(n,)`."""
    spent = np.clip(sizes[:, None] - edges[:-1], 0, np.diff(edges))
    return spent, np.clip(np.searchsorted(edges, sizes) - 1, 0, len(edges) - 2)


def gittins(log_rates: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return survival and Gittins rank at the edges `(bins,)` but the last, of piecewise constant rates `(bins,)`.

    Beyond the last edge the last rate goes on.
    """
    rates, widths = np.exp(log_rates), np.diff(edges)
    passed = np.concatenate([[0.0], np.cumsum(rates * widths)])
    above = np.exp(-passed)
    parts = -np.expm1(-rates * widths) / rates * above[:-1]
    ranks = least_ratios(np.append(parts, above[-1] / rates[-1]), -np.diff(np.append(above, 0.0)))
    return above[:-1], ranks[: len(rates)]


def main(args: Args) -> None:
    """Learn, export and check."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    out, run = args.folder / args.name, args.runs / args.name
    if (out / CARD).exists() and not args.resume:
        raise BadInput(f"{out}: there is a policy already; take another --name or --folder, or --resume its training")
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(run / "checkpoint.pt", args.resume)
    log = SummaryWriter(str(run))

    # The pairs. Nothing below this paragraph knows the laws.
    first = TRAINING_SEEDS + 1000 * args.seed
    arena = Scenario(size=args.size, predictor=args.predictor, load=args.load, n_jobs=args.check_jobs)
    drawn = replace(arena, n_jobs=args.pairs).draw(first)
    predicted, sizes, scale = drawn.work["predicted"].copy(), drawn.sizes, float(drawn.sizes.mean())

    # 1. The hazard. Within a bin the rate is that of its middle.
    edges = np.concatenate([[0.0], np.geomspace(np.quantile(sizes, 0.005), sizes.max(), args.bins)])
    middles = np.concatenate([[edges[1] / 2], np.sqrt(edges[1:-1] * edges[2:])])
    spent, ends = (torch.tensor(column) for column in exposures(sizes, edges))
    about = np.log(predicted / scale + NEAR)
    centre, width = about.mean(), about.std()
    ages = np.log(middles / scale + NEAR)
    age_axis = torch.tensor((ages - ages.mean()) / ages.std(), dtype=torch.float32)
    y_axis = torch.tensor((about - centre) / width, dtype=torch.float32)
    unit = float(torch.log(spent.sum() / len(sizes)))

    def log_rates(net: nn.Module, y: torch.Tensor) -> torch.Tensor:
        grid = torch.stack(torch.broadcast_tensors(y[:, None], age_axis[None]), -1)
        return net(grid) - unit

    hazard = Hazard(args.hazard_width)

    def unlikelihood(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(sizes), (1024,), generator=generator)
        rates = log_rates(hazard, y_axis[rows])
        ended = rates.gather(1, ends[rows, None]).squeeze(1)
        return ((rates.exp() * spent[rows]).sum(1) - ended).mean()

    checkpoint.fit("hazard", hazard, unlikelihood, args.hazard_steps, log)

    # 2. The ranks, at predictions over all the range, weighted by how many jobs there are and how old they become.
    y = np.geomspace(max(predicted.min(), 1e-3 * scale), predicted.max(), args.grid)
    with torch.no_grad():
        at = torch.tensor((np.log(y / scale + NEAR) - centre) / width, dtype=torch.float32)
        estimated = log_rates(hazard, at).double().numpy()
    survival, ranks = (np.array(part) for part in zip(*(gittins(row, edges) for row in estimated), strict=True))
    near = np.histogram(predicted, np.concatenate([[0], np.sqrt(y[1:] * y[:-1]), [np.inf]]))[0] / len(predicted)
    weight = near[:, None] * survival
    weight += 1e-2 * weight.mean()  # so that the order is sane where nobody has been yet
    x = features(*np.broadcast_arrays(y[:, None], edges[None, :-1]), scale).reshape(-1, len(FEATURES))
    mean, spread = x.mean(0), x.std(0)
    inputs = torch.tensor((x - mean) / spread, dtype=torch.float32)
    target = np.log(ranks.ravel() / scale)
    target = torch.tensor(target - target.mean(), dtype=torch.float32)
    weights = torch.tensor(weight.ravel() / weight.sum(), dtype=torch.float32)

    # 3. The order. It is played now and then against SPRPT, whose runs are the same each time.
    order = Order(args.hidden)
    check_seeds = range(first + 1, first + 1 + args.check_seeds)
    base = [arena.simulate("sprpt", seed).after_warmup().response_times.mean() for seed in check_seeds]
    score: dict[str, Any] = {}

    def write() -> None:
        card = {
            "name": args.name,
            "kind": "order",
            "traits": {"preemptive": True},
            "description": f"Order learned from {args.pairs} pairs of size and prediction, by imitation of Gittins' "
            f"index: {args.size} sizes, {args.predictor} predictions.",
            "trained_on": {"size": args.size, "predictor": args.predictor, "load": args.load, "pairs": args.pairs},
            "seeds": [[first, check_seeds[-1] + 1]],
            "command": " ".join(["python", *sys.argv]),
            "commit": provenance()["commit"],
            "cost": {"seconds": round(checkpoint.seconds, 1), "jobs": args.pairs},
            "score": {"ratio to sprpt": score, "on": "training seeds"},
            "curve": checkpoint.state["curve"],
            "arguments": {k: v if isinstance(v, (int, float, str, bool)) else str(v) for k, v in asdict(args).items()},
        }
        save(out, order.export(mean, spread, scale), card)

    def play() -> None:
        write()  # so that Ctrl-C leaves a policy, too
        learned = load(out)
        means = [arena.simulate(learned, seed).after_warmup().response_times.mean() for seed in check_seeds]
        ratio = across_seeds(np.divide(means, base))
        score.update(mean=round(ratio.mean, 5), low=round(ratio.low, 5), high=round(ratio.high, 5))
        checkpoint.state["curve"].append([round(checkpoint.seconds, 1), round(ratio.mean, 5)])
        log.add_scalar("order/ratio_to_sprpt", ratio.mean, len(checkpoint.state["curve"]))

    def error(generator: torch.Generator) -> torch.Tensor:
        return (weights * (order(inputs) - target) ** 2).sum()

    checkpoint.fit("order", order, error, args.fit_steps, log, play)
    play()
    log.close()
    print(f"{out}: mean response time over SPRPT's {score['mean']:.4f} [{score['low']:.4f}, {score['high']:.4f}]")


if __name__ == "__main__":
    try:
        with in_one_line():
            main(tyro.cli(Args, description=__doc__))
    except KeyboardInterrupt:
        sys.exit("interrupted; --resume goes on")
