"""Which environments does a standard learner learn? PPO and MaskablePPO, as Stable-Baselines3 sets them, on every id.

    python agents/learn.py                                         # all ids, about half an hour on 2 cores (make learn)
    python agents/learn.py --ids MG1 LLMBatching --steps 1000000   # some, for longer
    python agents/learn.py --algorithms MaskablePPO --seeds 5      # interquartile means of five trainings

The environment is `learner(id)` of `llmqueue_gym.integrations.sb3`, the network an MLP, nothing is tuned. After each
part of a training the agent plays jobs that it was not trained on, and so do first come first served (a queue drawn at
random where each server has one, one server for each job where it could have more), a random choice among the open
actions, and every policy by hand that can do what the agent can and is told as much; the cost is that of the board of
the system. An id is *learnt* where the agent is better than first come first served, and *matched* where it is also
within 2 % of the best policy by hand.

Every training is a file of its own in `<out>/runs`; what is there is not trained again, so a run that was stopped goes
on. It ends with `<out>/<name>.json`, `.md`, `.png` and `.svg`, and says how many CPU seconds it took: half as many are
what it takes on 2 idle cores.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, Literal

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import track
from sb3_contrib import MaskablePPO
from scipy.stats import trim_mean
from stable_baselines3 import PPO

from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.errors import BadInput, in_one_line, nearest
from llmqueue_gym.evaluation.results import read_json, result, write_json
from llmqueue_gym.integrations.report import LAST_SEEDS, first_training_seed
from llmqueue_gym.integrations.sb3 import learner
from llmqueue_gym.integrations.score import Yardstick
from llmqueue_gym.storage import write_text
from llmqueue_gym.systems import SYSTEMS

ALGORITHMS = {"PPO": PPO, "MaskablePPO": MaskablePPO}
FIRST = LAST_SEEDS + 1000  # seed of the runs behind a point; those before were seen while `learner` was made
NEAR = 1.02  # times the cost of the best policy by hand


@dataclass
class Options:
    """What is trained.

    Attributes:
        out: folder.
        name: of what it ends with.
        ids: environments, without `llmqueue/` and `-v0`; all unless told otherwise.
        algorithms: what is trained on each.
        steps: decisions of a training.
        parts: points of a curve.
        num_envs: environments side by side.
        seeds: trainings of each algorithm on each id.
        eval_seeds: runs behind a point.
        eval_jobs: most jobs of such a run.
        processes: trainings at the same time.
    """

    out: Path = Path("results/learn")
    name: str = "learning_curves"
    ids: tuple[str, ...] = ()
    algorithms: tuple[Literal["PPO", "MaskablePPO"], ...] = ("PPO", "MaskablePPO")
    steps: int = 32_768
    parts: int = 4
    num_envs: int = 4
    seeds: int = 1
    eval_seeds: int = 3
    eval_jobs: int = 1000
    processes: int = 2


class Chance:
    """Takes any open action."""

    batched = True

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return actions `(E,)`."""
        mask = observation["action_mask"] > 0
        return np.where(mask, self._random.random(mask.shape), -1.0).argmax(axis=1)


def yardstick(name: str, o: Options) -> Yardstick:
    """Return what an environment is measured on; its seeds are none of training."""
    env: Any = gymnasium.make(name).unwrapped
    jobs = min(int(env.scenario.n_jobs), o.eval_jobs)
    return Yardstick(env.scenario, env.view, range(FIRST, FIRST + o.eval_seeds), jobs)


def rivals(name: str, o: Options) -> dict[str, float]:
    """Return the mean cost of a random choice, and of every policy by hand that is told no more than an agent."""
    measure = yardstick(name, o)
    costs = {"random choice": float(measure.costs(Chance()).mean())}
    policies = measure.view.policies(measure.scenario)
    for rival in measure.rivals():
        if getattr(policies(rival), "predictor", None) != "exact" and not rival.startswith("learned-"):
            costs[rival] = float(measure.costs(rival).mean())
    return costs


def train(name: str, algorithm: str, seed: int, o: Options) -> dict[str, Any]:
    """Train once; return a curve of rows (decisions, cost)."""
    torch.set_num_threads(1)
    env = learner(name, o.num_envs)
    model: Any = ALGORITHMS[algorithm]("MlpPolicy", env, seed=first_training_seed(seed), device="cpu")
    measure, curve = yardstick(name, o), list[list[float]]()
    for _ in range(o.parts):  # what has not been trained may take for ever: it may run a batch of one
        model.learn(o.steps // o.parts, reset_num_timesteps=False)
        curve.append([model.num_timesteps, float(measure.costs(env.agent(model)).mean())])
    return {"id": name, "algorithm": algorithm, "seed": seed, "curve": curve}


def kept(task: tuple[str, str, int, Options]) -> dict[str, Any]:
    """Return what a training gave, or the rivals of an id where no algorithm is told; from its file if there is one."""
    name, algorithm, seed, o = task
    short = name.removeprefix("llmqueue/").removesuffix("-v0")
    asked = {"steps": o.steps, "parts": o.parts, "num_envs": o.num_envs} if algorithm else {}
    asked |= {"eval_seeds": o.eval_seeds, "eval_jobs": o.eval_jobs}
    path = o.out / "runs" / f"{short}-{algorithm or 'by-hand'}-{seed}.json"
    if path.is_file() and (found := read_json(path))["asked"] == asked:
        return found
    start = process_time()
    found = train(name, algorithm, seed, o) if algorithm else {"id": name, "costs": rivals(name, o)}
    found |= {"cpu_seconds": round(process_time() - start, 1), "asked": asked}
    write_json(path, found)
    return found


def row(name: str, runs: list[dict[str, Any]], costs: dict[str, float]) -> dict[str, Any]:
    """Return what is known of an id: interquartile means of the last costs, and what they say."""
    usual = "fcfs", SYSTEMS.builder(ENVIRONMENTS[name].system).base, "none"
    base = next(one for one in usual if one in costs)
    by_hand = {rival: cost for rival, cost in costs.items() if rival != "random choice"}
    best = min(by_hand, key=by_hand.__getitem__)
    told: dict[str, Any] = {"id": name, "base": base, "base_cost": costs[base], "best": best, "best_cost": costs[best]}
    told |= {"random_choice": costs["random choice"], "agents": {}}
    for algorithm in dict.fromkeys(run["algorithm"] for run in runs):
        cost = float(trim_mean([run["curve"][-1][1] for run in runs if run["algorithm"] == algorithm], 0.25))
        near = cost <= NEAR * costs[best]
        said = "matched" if near else "learnt" if cost < costs[base] else "not learnt"
        told["agents"][algorithm] = {"cost": cost, "of_best": cost / costs[best], "verdict": said}
    return told


def table(rows: list[dict[str, Any]], o: Options) -> str:
    """Return the rows as a table of Markdown."""
    trained = f"After {o.steps:,} decisions; trainings of each: {o.seeds}."
    columns = ["id", "first come first served", "random choice", "best by hand", *o.algorithms]
    lines = [trained, "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for r in rows:
        base = f"{r['base_cost']:.4g}" + ("" if r["base"] == "fcfs" else f" ({r['base']})")
        cells = [base, f"{r['random_choice']:.4g}", f"{r['best_cost']:.4g} ({r['best']})"]
        for algorithm in o.algorithms:
            found = r["agents"][algorithm]
            cells.append(f"{found['cost']:.4g}, {100 * found['of_best'] - 100:+.1f} %, {found['verdict']}")
        lines.append(f"| {r['id'].removeprefix('llmqueue/')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], runs: list[dict[str, Any]]) -> plt.Figure:
    """Return the figure: a panel for each id, cost over that of the best policy by hand against decisions."""
    style = {"font.family": "sans-serif", "font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        lines = -(-len(rows) // 4)
        figure, panels = plt.subplots(lines, 4, figsize=(12.0, 2.3 * lines + 0.6), squeeze=False)
        for panel in panels.flat[len(rows) :]:
            panel.axis("off")
        for panel, r in zip(panels.flat, rows, strict=False):
            panel.axhline(1.0, color="0.3", lw=1.0)
            for cost, dashes in ((r["base_cost"], (4, 3)), (r["random_choice"], (1, 2))):
                panel.axhline(cost / r["best_cost"], color="0.55", lw=1.0, ls=(0, dashes))
            for algorithm, colour in zip(ALGORITHMS, ("#3465a4", "#c4560a"), strict=True):
                curves = [
                    np.array(run["curve"]) for run in runs if (run["id"], run["algorithm"]) == (r["id"], algorithm)
                ]
                for curve in curves:
                    panel.plot(
                        curve[:, 0] / 1000, curve[:, 1] / r["best_cost"], color=colour, marker="o", ms=2.5, lw=1.2
                    )
            panel.set_title(r["id"].removeprefix("llmqueue/"), loc="left", fontsize=8.5)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(plt.MaxNLocator(4))
            low, high = panel.get_ylim()
            panel.yaxis.set_major_formatter("{x:.2f}" if high > 1.05 * low else "{x:.4f}")
            panel.yaxis.set_minor_formatter("")
        handles = [plt.Line2D([], [], color=c) for c in ("#3465a4", "#c4560a", "0.3")]
        handles += [plt.Line2D([], [], color="0.55", ls=(0, dashes)) for dashes in ((4, 3), (1, 2))]
        names = [*ALGORITHMS, "best by hand", "first come first served", "random choice"]
        figure.legend(handles, names, ncols=5, loc="lower left", bbox_to_anchor=(0.03, 0.0), frameon=False)
        figure.suptitle("Cost over that of the best policy by hand; thousands of decisions", x=0.04, ha="left")
        figure.tight_layout(rect=(0, 0.03, 1, 0.99))
    return figure


def main(o: Options) -> None:
    """Train what is not there, measure, store and draw."""
    known = {name.removeprefix("llmqueue/").removesuffix("-v0"): name for name in ENVIRONMENTS}
    for one in o.ids:
        if one not in known:
            raise BadInput(f"ids: unknown environment {one!r}; {nearest(one, known)}")
    names = [known[one] for one in o.ids or known]
    (o.out / "runs").mkdir(parents=True, exist_ok=True)
    tasks = [(name, "", 0, o) for name in names]
    tasks += [(name, algorithm, seed, o) for seed in range(o.seeds) for algorithm in o.algorithms for name in names]
    console = Console(stderr=True)
    with ProcessPoolExecutor(o.processes) as pool:
        found = list(track(pool.map(kept, tasks), "learning", len(tasks), console=console, refresh_per_second=1))
    costs, runs = {one["id"]: one["costs"] for one in found[: len(names)]}, found[len(names) :]
    rows = [row(name, [run for run in runs if run["id"] == name], costs[name]) for name in names]
    cpu = sum(one["cpu_seconds"] for one in found)
    told = {"rows": rows, "runs": runs, "by_hand": costs, "cpu_seconds": round(cpu, 1)}
    write_json(o.out / f"{o.name}.json", result(told, None, range(FIRST, FIRST + o.eval_seeds)))
    write_text(o.out / f"{o.name}.md", table(rows, o) + "\n")
    figure = draw(rows, runs)
    figure.savefig(o.out / f"{o.name}.svg", metadata={"Date": None})
    figure.savefig(o.out / f"{o.name}.png", dpi=130)
    print(table(rows, o))
    print(f"{cpu:.0f} CPU seconds in all: about {cpu / 120:.0f} minutes on 2 idle cores")
    for algorithm in o.algorithms:
        said = [r["agents"][algorithm]["verdict"] for r in rows]
        learnt = len(said) - said.count("not learnt")
        print(f"{algorithm}: {learnt} of {len(said)} learnt, {said.count('matched')} of them matched")


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Options, description=__doc__.partition("\n")[0]))
