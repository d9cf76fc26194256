"""Trained at one load, on one law and one predictor: how do learned policies do at others?

* One server: every learned order, at three loads, under laws and predictors that it was not trained on; exact mean
  response times by SOAP over those of Gittins, which knows the laws, and SPRPT beside them.
* Impatient jobs and dispatch: every learned policy of the kind, in settings around those it was trained in, over the
  best policy by hand with the same information in each setting (the least mean over the same seeds, which flatters the
  one by hand a little). Ratios of costs on common random numbers with Student's t at 95 % over seeds.

Below 1 the learned policy is better. LLM policies on recordings that they were not trained for are in
`learned_policies_on_traces.py`. Writes `results/do_learned_policies_generalise.json` and `.md`; about six minutes.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import across_seeds, result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.storage import write_text
from llmqueue_gym.systems import Scenario

OUT = Path(__file__).parent / "results" / "do_learned_policies_generalise"
SIZES, LOADS = ("exponential", "weibull:shape=0.5", "hyperexponential"), (0.5, 0.8, 0.95)
PREDICTORS = ("exponential", "lognormal:sigma=0.5", "lognormal:sigma=1.5", "exact")
SEEDS = 8
IMPATIENT = ("fcfs", "spjf", "two-class", "edf", "least-slack")
SENDERS = ("random", "power-of-d", "least-work", "least-work-left", "one-bit-count")
OVERLOADS = {
    f"{size.partition(':')[0]} sizes, {told}, {patience} patience, {servers} servers, load {load:g}": Scenario(
        "central", size=size, predictor=told, load=load, servers=servers, patience=patience, told=True, n_jobs=30_000
    )
    for size, told, patience, servers, load in (
        ("exponential", "lognormal:sigma=1.5", "exponential", 50, 1.2),
        ("exponential", "lognormal:sigma=1.5", "exponential", 50, 1.05),
        ("exponential", "lognormal:sigma=1.5", "exponential", 50, 2.0),
        ("exponential", "lognormal:sigma=0.5", "exponential", 50, 1.2),
        ("exponential", "exponential", "exponential", 50, 1.2),
        ("exponential", "lognormal:sigma=1.5", "uniform:mean=2", 50, 1.2),
        ("exponential", "lognormal:sigma=1.5", "exponential:mean=5", 50, 1.2),
        ("exponential", "lognormal:sigma=1.5", "exponential", 5, 1.2),
        ("weibull:shape=0.5", "lognormal:sigma=1.5", "exponential", 50, 1.2),
    )
}
QUEUES = {
    f"{size.partition(':')[0]} sizes, {told}, {order} queues, load {load:g}": Scenario(
        "dispatch", size=size, predictor=told, load=load, servers=100, order=order, n_jobs=100_000
    )
    for size, told, order, load in (
        ("weibull:shape=0.5", "exponential", "sprpt", 0.9),
        ("weibull:shape=0.5", "exponential", "sprpt", 0.7),
        ("weibull:shape=0.5", "exponential", "sprpt", 0.95),
        ("weibull:shape=0.5", "lognormal:sigma=0.5", "sprpt", 0.9),
        ("exponential", "exponential", "sprpt", 0.9),
        ("exponential", "lognormal:sigma=0.5", "sprpt", 0.9),
        ("weibull:shape=0.5", "exponential", "fcfs", 0.9),
        ("exponential", "lognormal:sigma=0.5", "fcfs", 0.9),
    )
}


def one_server(job: tuple[str, str, float]) -> dict[str, Any]:
    """Return exact means over that of Gittins in one setting."""
    size, told, load = job
    law = size_law(size)
    bound = predictor(told).bind(law)
    names = ["gittins", "sprpt", *stored("order")]
    means = {name: analyse(policy(name), law, bound, load).mean_response_time for name in names}
    ratios = {name: mean / means["gittins"] for name, mean in means.items()}
    return {"setting": f"{size} sizes, {told} predictions, load {load:g}", "over_gittins": ratios}


def impatient(job: tuple[str, int]) -> dict[str, Any]:
    """Hold learned orders against those by hand in one setting of overload."""
    return {"setting": job[0], **against(OVERLOADS[job[0]], IMPATIENT, list(stored("cluster-order")), job[1])}


def dispatched(job: tuple[str, int]) -> dict[str, Any]:
    """Hold learned dispatchers against those by hand in one setting."""
    return {"setting": job[0], **against(QUEUES[job[0]], SENDERS, list(stored("dispatch")), job[1])}


def against(where: Scenario, by_hand: tuple[str, ...], learned: list[str], seeds: int) -> dict[str, Any]:
    """Return each learned policy's cost over that of the best by hand: share of jobs that give up, or mean response."""

    def cost(name: str, seed: int) -> float:
        return where.system.numbers(where.simulate(name, seed).after_warmup())["cost"]

    costs = {name: np.array([cost(name, seed) for seed in range(seeds)]) for name in (*by_hand, *learned)}
    best = min(by_hand, key=lambda name: float(costs[name].mean()))
    found = {}
    for name in learned:
        ratio = across_seeds(costs[name] / costs[best])
        found[name] = {"ratio": ratio.mean, "low": ratio.low, "high": ratio.high}
    return {"best_by_hand": best, "cost": float(costs[best].mean()), "over_best": found}


def markdown(found: dict[str, Any]) -> str:
    """Return the tables."""
    names = list(found["one_server"][0]["over_gittins"])
    lines = ["Exact mean response time over that of Gittins, one server.", ""]
    lines += [f"| setting | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in found["one_server"]:
        cells = [f"{row['over_gittins'][name]:.4f}" for name in names]
        lines.append(f"| {row['setting']} | {' | '.join(cells)} |")
    for key, title in (("impatient", "Share of jobs that give up"), ("dispatch", "Mean response time")):
        names = list(found[key][0]["over_best"])
        lines += ["", f"{title} over that of the best policy by hand with the same information.", ""]
        lines += [f"| setting | best by hand | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
        for row in found[key]:
            cells = [f"{r['ratio']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for r in row["over_best"].values()]
            lines.append(f"| {row['setting']} | {row['best_by_hand']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Compute, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="where results are stored, without ending")
    options = parser.parse_args()
    grid = list(product(SIZES, PREDICTORS, LOADS))
    work = [
        *((one_server, one) for one in grid),
        *((impatient, (setting, options.seeds)) for setting in OVERLOADS),
        *((dispatched, (setting, options.seeds)) for setting in QUEUES),
    ]
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        futures = [pool.submit(call, job) for call, job in work]
        done = [future.result() for future in track(futures, "settings", console=Console(stderr=True))]
    first, second = len(grid), len(grid) + len(OVERLOADS)
    values = {"one_server": done[:first], "impatient": done[first:second], "dispatch": done[second:]}
    found = result(values, None, range(options.seeds))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out.with_suffix(".json"), found)
    write_text(options.out.with_suffix(".md"), markdown(values))
    print(json.dumps(plain(found)) if options.json else markdown(values))


if __name__ == "__main__":
    main()
