"""Does a learned controller hold fewer replicas than Erlang's formula, or keep people waiting less, for its price?

PPO of Stable-Baselines3, as it sets it, on `llmqueue/Autoscaling-v0`: it departs from the controller `erlang` with a
window of 30 s, the best of those tried by hand on seeds 0 to 9, and sees a forecast of arrivals besides, with an error
of 30 %. Everybody plays the same requests on seeds that nobody was trained or chosen on. What counts is the mean
response time with the price of the replicas for a request, both in s; differences to that controller are paired.

After 20,480 decisions it does not: it holds fewer replicas, but people wait so much longer that it costs more than
three or four replicas that are always on. What an action does shows after a start of 20 decisions.

Writes `can_a_learner_hold_fewer_replicas.json` into `results`; minutes.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO

from llmqueue_gym.envs.rollout import rollouts
from llmqueue_gym.evaluation import across_seeds, paired_difference
from llmqueue_gym.evaluation.results import result, write_json
from llmqueue_gym.integrations.report import LAST_SEEDS, first_training_seed
from llmqueue_gym.integrations.sb3 import learner

OUT = Path(__file__).parent / "results" / "can_a_learner_hold_fewer_replicas"
NAME, RIVAL = "llmqueue/Autoscaling-v0", "erlang:window=30"
BY_HAND = (RIVAL, "erlang", "utilisation", "utilisation:up=0.5,down=0.2,cool=6,steady=30", "none")
BY_HAND += ("fixed:replicas=2", "fixed:replicas=3")
FIRST = LAST_SEEDS + 2000


def main() -> None:
    """Train, play, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20_480, help="decisions of the training")
    parser.add_argument("--seeds", type=int, default=12, help="on which everybody is measured")
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored, without ending")
    options = parser.parse_args()
    inner: Any = gymnasium.make(NAME).unwrapped
    view, seeds = inner.view, range(FIRST, FIRST + options.seeds)
    runs = {}
    for name in BY_HAND:
        scenario = replace(inner.scenario, controller=name)
        runs[name] = [scenario.simulate(view.router, seed) for seed in seeds]
    torch.set_num_threads(1)
    env = learner(NAME, 8, RIVAL)
    model = PPO("MlpPolicy", env, seed=first_training_seed(0), device="cpu").learn(options.steps)
    runs["PPO"] = rollouts(env.agent(model), inner.scenario, seeds, **vars(view))
    rows, costs = [], {}
    for name, played in runs.items():
        response = [float(run.response_times.mean()) for run in played]
        on = [run.totals["on_time"] for run in played]
        costs[name] = [x + view.price * y / 3600 / len(run) for x, y, run in zip(response, on, played, strict=True)]
        replicas = [y / run.totals["clock"] for y, run in zip(on, played, strict=True)]
        row: dict[str, Any] = {"controller": name}
        for key, values in (("cost", costs[name]), ("response_time", response), ("replicas", replicas)):
            found = across_seeds(values)
            row[key] = {"mean": found.mean, "ci95": [found.low, found.high]}
        found = paired_difference(costs[name], costs[RIVAL])
        row["cost_above_erlang"] = {"mean": found.mean, "ci95": [found.low, found.high]}
        rows.append(row)
    told = {"scenario": inner.scenario.to_dict(), "price": view.price, "steps": options.steps, "rows": rows}
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out.with_suffix(".json"), result(told, None, seeds))
    table = Table("controller", "cost, s", "response time, s", "replicas", "cost above erlang's, s")
    for row in rows:
        low, high = row["cost_above_erlang"]["ci95"]
        numbers = [f"{row[key]['mean']:.2f}" for key in ("cost", "response_time", "replicas")]
        above = f"{row['cost_above_erlang']['mean']:+.2f} ({low:+.2f} to {high:+.2f})"
        table.add_row(row["controller"], *numbers, above)
    Console().print(table)


if __name__ == "__main__":
    main()
