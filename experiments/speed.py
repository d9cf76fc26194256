"""How fast is the library, next to a hand-written compiled loop, SimPy, Ciw and Gymnasium's CartPole?

Everything is measured in one run, on one thread, and stored in `results/speed.json`. With `--json` that object is
printed too, with these keys:

* `jobs`: jobs in each engine run; `load_average`: of the machine, before and after, as a busy machine is a slow one;
* `rows`: list of {"what", "unit", "median", "best", "n"}: a rate (1/s) or a time (s) and how often it was measured;
* `ratios`: by name, of the medians of this run. `engine / hand-written loop` is the share of the loop's speed (SPRPT,
  exponential sizes and predictions, load .8; the median of the ratios of successive runs, and the ratio of the best
  runs, which other work on the machine disturbs less), `engine / SimPy` and `engine / Ciw` are of the same policy on
  the same jobs, `serving engine / hand-written loop` is of iterations at a batch of 64 on the same backlog, and the
  others are of environment steps;
* `skipped`: what is not installed.

Engine and loop are timed in the kernel alone, compiled before, on arrays whose pages have been touched.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import handwritten
import numpy as np
import other_simulators
from rich.console import Console
from rich.table import Table

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.evaluation import Scenario, result, simulate, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving import serve
from llmqueue_gym.policies import policy
from llmqueue_gym.profiles import profile
from llmqueue_gym.workloads.requests import RequestWorkload, draw_requests

RESULTS = Path(__file__).parent / "results"
REPEATS = 15
OTHERS = {"fcfs": 1.0, "spjf": 1.0, "pspjf": 1.0, "srpt": 1.0, "las": 0.2, "gittins": 0.2}  # share of the jobs
FEW = 20_000  # jobs for the slow simulators
ENVS = 1024
SEATS = 64  # requests in a batch
SERVING_ENVS = ("llmqueue/LLMBatching-v0", "llmqueue/LLMPreemptive-v0", "llmqueue/LLMRank-v0")
SERVING_RUNS = 256
SIMULATE = "from llmqueue_gym.cli import main; main(['simulate', '--policy', 'sprpt', '--jobs', '10000', '--json'])"
IMPORT = "import time; t = time.perf_counter(); import llmqueue_gym; print(time.perf_counter() - t)"


class Measured:
    """The rows and ratios of this run."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.ratios: dict[str, float] = {}
        self.skipped: list[str] = []

    def add(self, what: str, unit: str, values: list[float]) -> float:
        """Add a row for repeated measurements and return their median; the best is the largest rate or least time."""
        best = min(values) if unit == "s" else max(values)
        middle = float(np.median(values))
        self.rows.append({"what": what, "unit": unit, "median": middle, "best": best, "n": len(values)})
        return middle


def engines(measured: Measured, jobs: int) -> None:
    """Time the engine and the hand-written loop by turns, then other policies."""
    scenario = Scenario(n_jobs=jobs)
    instance = scenario.draw(None, seed=0)
    ours, loop = [], []
    handwritten.sprpt(*handwritten.tables(instance.jobs[:1], instance.sizes[:1]))
    for _ in range(REPEATS):
        run = simulate(instance, policy("sprpt"))
        ours.append(jobs / run.elapsed)
        arrays = handwritten.tables(*instance)
        start = time.perf_counter()
        handwritten.sprpt(*arrays)
        loop.append(jobs / (time.perf_counter() - start))
        if not np.allclose(arrays[3], run.outcome["completion"]):
            raise AssertionError("the hand-written loop and the engine disagree")
    measured.add("engine, sprpt", "jobs/s", ours)
    measured.add("hand-written loop, sprpt", "jobs/s", loop)
    measured.ratios["engine / hand-written loop"] = float(np.median(np.divide(ours, loop)))
    measured.ratios["engine / hand-written loop, best of each"] = max(ours) / max(loop)
    for name, share in OTHERS.items():
        discipline, told = policy(name), Scenario(n_jobs=int(share * jobs))
        instance = told.draw(discipline, seed=0)
        rates = []
        for _ in range(3):
            run = simulate(instance, discipline, told.law, told.bound_predictor(discipline))
            rates.append(len(run) / run.elapsed)
        measured.add(f"engine, {name}", "jobs/s", rates)


def simulators(measured: Measured) -> None:
    """Time SimPy and Ciw on the same jobs as the engine, which must give the same response times."""
    instance = Scenario(n_jobs=FEW).draw(None, seed=0)
    arrival, predicted = instance.jobs["arrival"], instance.jobs["predicted"]
    rivals: dict[str, tuple[str, Callable[[], tuple[np.ndarray, float]]]] = {
        "SimPy": ("spjf", lambda: other_simulators.simpy_spjf(arrival, instance.sizes, predicted)),
        "Ciw": ("fcfs", lambda: other_simulators.ciw_fcfs(arrival, instance.sizes)),
    }
    for name, (discipline, run) in rivals.items():
        try:
            played = [run() for _ in range(3)]
        except ImportError:
            measured.skipped.append(f"{name} (pip install {name.lower()})")
            continue
        ours = [simulate(instance, policy(discipline)) for _ in range(3)]
        if not np.allclose(played[0][0], ours[0].response_times):
            raise AssertionError(f"{name} and the engine disagree")
        slow = measured.add(f"{name}, {discipline}, {FEW:,} jobs", "jobs/s", [FEW / seconds for _, seconds in played])
        fast = measured.add(f"engine, {discipline}, {FEW:,} jobs", "jobs/s", [FEW / one.elapsed for one in ours])
        measured.ratios[f"engine / {name}"] = fast / slow


def serving(measured: Measured, n: int = 20_000) -> None:
    """Time the serving engine at a batch of 64 and a hand-written loop by turns, on the same backlog."""
    workload, rules = RequestWorkload("azure-conv", float("inf")), {"max_seqs": SEATS, "token_budget": 1 << 30}
    given = draw_requests(workload, "exact", n, seed=0)
    # Memory for all, so that the loop, which has no limit, takes the same decisions.
    gpu = profile(f"a100-llama3-8b:kv_tokens={1 << 26}")
    prompts, completion = given.requests["prompt"].astype(np.int64), np.zeros(n)
    ours, loop = [], []
    for k in range(REPEATS + 1):
        served = serve(given, "fcfs", gpu, "vllm-v1", **rules)
        start = time.perf_counter()
        iterations = handwritten.batches(prompts, given.outputs, SEATS, *gpu.numbers, completion)
        elapsed = time.perf_counter() - start
        if iterations != served.totals["iterations"] or not np.allclose(completion, served.service["completion"]):
            raise AssertionError("the hand-written loop and the serving engine disagree")
        if k:  # the first turn compiles
            ours.append(iterations / served.elapsed)
            loop.append(iterations / elapsed)
    measured.add(f"serving engine, vllm-v1, fcfs, batch {SEATS}", "iterations/s", ours)
    measured.add(f"hand-written loop, batch {SEATS}", "iterations/s", loop)
    measured.ratios["serving engine / hand-written loop"] = float(np.median(np.divide(ours, loop)))
    for name, spec in (("vllm-priority", "exact"), ("sprpt", "exact"), ("trail", "trail"), ("mc-sf", "exact")):
        told = draw_requests(RequestWorkload("azure-conv", 7.0), spec, n // 4, seed=0)
        rates = []
        for _ in range(4):
            served = serve(told, name, "a100-llama3-8b", "vllm-v1", max_seqs=SEATS)
            rates.append(served.totals["iterations"] / served.elapsed)
        measured.add(f"serving engine, {name}", "iterations/s", rates[1:])
    for name in SERVING_ENVS:
        scalar = [_open_rate(gym.make(name), 1.0) for _ in range(3)]
        vector = [_open_vector_rate(gym.make_vec(name, num_envs=SERVING_RUNS), 1.0) for _ in range(3)]
        measured.add(f"{name}, scalar", "steps/s", scalar)
        measured.add(f"{name}, make_vec, {SERVING_RUNS} runs", "steps/s", vector)


def _open_rate(env: gym.Env, seconds: float) -> float:
    """Return steps of a scalar environment whose agent takes the first open action; only steps are timed."""
    env, steps, spent = env.unwrapped, 0, 0.0
    _, info = env.reset(seed=0)
    env.step(int(info["action_mask"].argmax()))
    while spent < seconds:
        _, info = env.reset()
        over = False
        while not over:
            action = int(info["action_mask"].argmax())
            start = time.perf_counter()
            _, _, terminated, truncated, info = env.step(action)
            spent += time.perf_counter() - start
            steps, over = steps + 1, terminated or truncated
    return steps / spent


def _open_vector_rate(envs: gym.vector.VectorEnv, seconds: float) -> float:
    """Return steps of a vector environment, resets included, whose agents take the first open action."""
    _, infos = envs.reset(seed=0)
    steps, spent = 0, 0.0
    while spent < seconds:
        actions = infos["action_mask"].argmax(axis=1)
        start = time.perf_counter()
        *_, infos = envs.step(actions)
        spent += time.perf_counter() - start
        steps += len(actions)
    envs.close()
    return steps / spent


def environments(measured: Measured, seconds: float = 1.0) -> None:
    """Time `step` of the scalar and the vector environment and of CartPole; the agent's choice costs nothing."""
    rates = {}
    for name in ("llmqueue/MG1-v0", "llmqueue/MG1Preemptive-v0", "CartPole-v1"):
        slots = {} if name.startswith("CartPole") else {"slots": 16}
        many = {"num_envs": ENVS, "vectorization_mode": "vector_entry_point", **slots}
        scalar = [_scalar_rate(gym.make(name, **slots), seconds) for _ in range(3)]
        vector = [_vector_rate(gym.make_vec(name, **many), seconds) for _ in range(3)]
        rates[name] = (
            measured.add(f"{name}, scalar", "steps/s", scalar),
            measured.add(f"{name}, make_vec, {ENVS} runs", "steps/s", vector),
        )
    for name in ("llmqueue/MG1-v0", "llmqueue/MG1Preemptive-v0"):
        measured.ratios[f"{name} / CartPole, scalar"] = rates[name][0] / rates["CartPole-v1"][0]
        measured.ratios[f"{name} / CartPole, make_vec"] = rates[name][1] / rates["CartPole-v1"][1]


def _scalar_rate(env: gym.Env, seconds: float) -> float:
    env.reset(seed=0)
    env.step(0)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for k in range(200):
            _, _, terminated, truncated, _ = env.step(k & 1 if env.action_space.n == 2 else 0)  # the oldest job
            if terminated or truncated:
                env.reset()
        steps += 200
    env.close()
    return steps / elapsed


def _vector_rate(envs: gym.vector.VectorEnv, seconds: float) -> float:
    envs.reset(seed=0)
    actions = np.zeros(ENVS, np.int64)
    for _ in range(3):
        envs.step(actions)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(20):
            envs.step(actions)
        steps += 20 * ENVS
    envs.close()
    return steps / elapsed


def beginnings(measured: Measured) -> None:
    """Time the import, and the first and the second `llmqueue simulate` of a new user."""

    def python(code: str, **more: str) -> tuple[str, float]:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **more}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout, time.perf_counter() - start

    measured.add("import llmqueue_gym", "s", [float(python(IMPORT)[0]) for _ in range(5)])
    with tempfile.TemporaryDirectory() as empty:
        cold = measured.add("llmqueue simulate, cache empty", "s", [python(SIMULATE, NUMBA_CACHE_DIR=empty)[1]])
        warm = [python(SIMULATE, NUMBA_CACHE_DIR=empty)[1] for _ in range(3)]
        measured.ratios["first / second `llmqueue simulate`"] = cold / measured.add(
            "llmqueue simulate, cached", "s", warm
        )


def report(found: dict[str, Any], console: Console) -> None:
    """Print the rates and the ratios."""
    rates = Table("what", "median", "best", "unit", title="speed, one thread", title_justify="left")
    for row in found["rows"]:
        digits = ".3g" if row["unit"] == "s" else ",.0f"
        rates.add_row(row["what"], f"{row['median']:{digits}}", f"{row['best']:{digits}}", row["unit"])
    ratios = Table("ratio", "", title="ratios of this run", title_justify="left")
    for name, value in found["ratios"].items():
        ratios.add_row(name, f"{value:.3g}")
    console.print(rates, ratios)
    for what in found["skipped"]:
        console.print(f"skipped: {what}")


def main() -> None:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs in each engine run")
    options = parser.parse_args()
    measured, before = Measured(), os.getloadavg()[0]
    engines(measured, options.jobs)
    simulators(measured)
    environments(measured)
    serving(measured)
    beginnings(measured)
    found = result({"jobs": options.jobs, "load_average": [before, os.getloadavg()[0]], **vars(measured)})
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "speed.json", found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())


if __name__ == "__main__":
    main()
