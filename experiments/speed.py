"""How fast is the library, next to a hand-written compiled loop, SimPy, Ciw and Gymnasium's CartPole?

Everything is measured in one run, on one thread, and stored in `results/speed.json`. With `--only`, which may be given
several times, parts are measured and nothing is stored. With `--json` that object is printed too, with these keys:

* `jobs`: jobs in each engine run; `load_average`: of the machine, before and after, as a busy machine is a slow one;
* `rows`: list of {"what", "unit", "median", "best", "n"}: a rate (1/s) or a time (s) and how often it was measured;
* `ratios`: by name, of the medians of this run. `engine / hand-written loop` is the share of the loop's speed (SPRPT,
  exponential sizes and predictions, load .8; the median of the ratios of successive runs, and the ratio of the best
  runs, which other work on the machine disturbs less), `engine / SimPy` and `engine / Ciw` are of the same policy on
  the same jobs, on one server unless the name says another number, `serving engine / hand-written loop` is of
  iterations at a batch of 64 on the same backlog, and the others are of environment steps;
* `skipped`: what is not installed.

Engine and loop are timed in the kernel alone, compiled before, on arrays whose pages have been touched. A time is that
of the clock, but for `CPU s` of a command in a process of its own.
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

import gymnasium as gym
import handwritten
import numpy as np
import other_simulators
from environment_rates import cartpole_like, cartpole_like_vector, first_open, first_open_vector
from measured import Measured, report
from rich.console import Console

from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving import serve
from llmqueue_gym.profiles import profile
from llmqueue_gym.systems import Run, Scenario
from llmqueue_gym.workloads.requests import RequestWorkload, draw_requests

RESULTS = Path(__file__).parent / "results"
REPEATS = 15
OTHERS = {
    "fcfs": 1.0,
    "spjf": 1.0,
    "pspjf": 1.0,
    "srpt": 1.0,
    "ps": 1.0,
    "psbs": 0.5,
    "las": 0.2,
    "gittins": 0.2,
}  # share of the jobs
PAID = "cheap=0.01,expensive=0.05,where=server"
FEW = 20_000  # jobs for the slow simulators
SEATS = 64  # requests in a batch
BESIDE_CARTPOLE = ("llmqueue/MG1-v0", "llmqueue/MG1Preemptive-v0")
ENVS, FEWER_ENVS = 1024, 256  # the latter for all other environments
SHORT = 10  # jobs of an episode that is mostly resets
CENTRAL, QUEUES, POOL = 10, 1000, 8  # servers: of one queue, with a queue each, for jobs that need several
SIMULATE = {  # the commands of a new user
    "llmqueue simulate": "simulate --policy sprpt --jobs 10000 --json",
    "llmqueue simulate replica": "simulate replica --policy sprpt --json",
}
IMPORT = "import time; t = time.perf_counter(); import llmqueue_gym; print(time.perf_counter() - t)"


def engines(measured: Measured, jobs: int) -> None:
    """Time the engine and the hand-written loop by turns, then other policies."""
    scenario = Scenario(n_jobs=jobs)
    work, truth = scenario.draw(0)
    ours, loop = [], []
    handwritten.sprpt(*handwritten.tables(work[:1], truth["sizes"][:1]))
    for _ in range(REPEATS):
        run = scenario.simulate("sprpt")
        ours.append(jobs / run.elapsed)
        arrays = handwritten.tables(work, truth["sizes"])
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
        measured.add(f"engine, {name}", "jobs/s", rates(Scenario(n_jobs=int(share * jobs)), name, 3))
    paid = Scenario("predict", predictor_cost=PAID, n_jobs=jobs)
    for name in ("sprpt-paid", "skip-predict", "delay-predict"):
        measured.add(f"engine, {name}, predictions on the server", "jobs/s", rates(paid, name, 3))


def rates(scenario: Scenario, policy: str, repeats: int) -> list[float]:
    """Return the jobs/s of a policy in each of some runs."""
    runs = (scenario.simulate(policy) for _ in range(repeats))
    return [len(run) / run.elapsed for run in runs]


def simulators(measured: Measured) -> None:
    """Time SimPy and Ciw on the same jobs as the engine, which must give the same response times."""
    few = Scenario(n_jobs=FEW)
    work, truth = few.draw(0)
    arrival, sizes, predicted = work["arrival"], truth["sizes"], work["predicted"]
    theirs = {
        ("SimPy", "spjf"): lambda: other_simulators.simpy_spjf(arrival, sizes, predicted),
        ("Ciw", "fcfs"): lambda: other_simulators.ciw_fcfs(arrival, sizes),
    }
    for (rival, name), play in theirs.items():
        beside(measured, rival, name, play, lambda name=name: few.simulate(name))


def beside(
    measured: Measured,
    rival: str,
    what: str,
    theirs: Callable[[], tuple[np.ndarray, float]],
    ours: Callable[[], Run],
) -> None:
    """Time another simulator and the engine on the same few jobs, which must give the same response times."""
    try:
        played = [theirs() for _ in range(3)]
    except ImportError:
        measured.skipped.append(f"{rival} (pip install {rival.lower()})")
        return
    runs = [ours() for _ in range(3)]
    if not np.allclose(played[0][0], runs[0].response_times):
        raise AssertionError(f"{rival} and the engine disagree on {what}")
    slow = measured.add(f"{rival}, {what}, {FEW:,} jobs", "jobs/s", [FEW / seconds for _, seconds in played])
    fast = measured.add(f"engine, {what}, {FEW:,} jobs", "jobs/s", [FEW / run.elapsed for run in runs])
    _, comma, where = what.partition(", ")
    measured.ratios[f"engine / {rival}{comma}{where}"] = fast / slow


def servers(measured: Measured, jobs: int) -> None:
    """Time the engines of several servers."""
    crowd = Scenario("central", servers=CENTRAL, n_jobs=jobs)
    for name in ("fcfs", "spjf", "pspjf", "sprpt"):
        measured.add(f"engine, {name}, {CENTRAL} servers", "jobs/s", rates(crowd, name, 5))
    for sender in ("power-of-d", "least-work-left"):
        for name in ("fcfs", "sprpt"):
            many = Scenario("dispatch", servers=QUEUES, n_jobs=jobs, order=name)
            measured.add(f"engine, {name}, {sender} of two, {QUEUES} queues", "jobs/s", rates(many, sender, 5))
    pool = Scenario("packing", servers=POOL, load=0.9, n_jobs=jobs // 2)
    for name in ("server-filling", "server-filling-srpt"):
        measured.add(f"engine, {name}, needs of 1 to {POOL}, load {pool.load:g}", "jobs/s", rates(pool, name, 3))


def simulators_of_servers(measured: Measured) -> None:
    """Time SimPy and Ciw on several servers."""
    few, where = Scenario("central", servers=CENTRAL, n_jobs=FEW), f", {CENTRAL} servers"
    work, truth = few.draw(0)
    arrival, sizes, predicted = work["arrival"], truth["sizes"], work["predicted"]
    beside(
        measured,
        "SimPy",
        f"spjf{where}",
        lambda: other_simulators.simpy_spjf(arrival, sizes, predicted, CENTRAL),
        lambda: few.simulate("spjf"),
    )
    beside(
        measured,
        "Ciw",
        f"fcfs{where}",
        lambda: other_simulators.ciw_fcfs(arrival, sizes, CENTRAL),
        lambda: few.simulate("fcfs"),
    )
    queues = Scenario("dispatch", servers=QUEUES, n_jobs=FEW, order="fcfs")
    sent, told = queues.draw(0, "power-of-d")
    beside(
        measured,
        "SimPy",
        f"fcfs, power of two, {QUEUES} queues",
        lambda: other_simulators.simpy_shortest(sent["arrival"], told["sizes"], told["choices"], QUEUES),
        lambda: queues.simulate("power-of-d"),
    )
    line = Scenario("packing", servers=POOL, load=0.5, n_jobs=FEW)
    jobs, durations = line.draw(0)
    beside(
        measured,
        "SimPy",
        f"fcfs, needs of 1 to {POOL}",
        lambda: other_simulators.simpy_needs(jobs["arrival"], durations["sizes"], jobs["need"], POOL),
        lambda: line.simulate("fcfs"),
    )


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
        if iterations != served.totals["iterations"] or not np.allclose(completion, served.outcome["completion"]):
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


def environments(measured: Measured, seconds: float = 1.0) -> None:
    """Time `step` of all environments but the large ones, those of one server beside CartPole."""
    rates = {}
    for name in (*BESIDE_CARTPOLE, "CartPole-v1"):
        slots = {"slots": 16} if name in BESIDE_CARTPOLE else {}
        in_place = {"copy": False} if slots else {}
        many = {"num_envs": ENVS, "vectorization_mode": "vector_entry_point", **slots, **in_place}
        scalar = [cartpole_like(gym.make(name, **slots), seconds) for _ in range(3)]
        vector = [cartpole_like_vector(gym.make_vec(name, **many), seconds) for _ in range(3)]
        rates[name] = (
            measured.add(f"{name}, scalar", "steps/s", scalar),
            measured.add(f"{name}, make_vec, {ENVS} runs", "steps/s", vector),
        )
    for name in BESIDE_CARTPOLE:
        measured.ratios[f"{name} / CartPole, scalar"] = rates[name][0] / rates["CartPole-v1"][0]
        measured.ratios[f"{name} / CartPole, make_vec"] = rates[name][1] / rates["CartPole-v1"][1]
    for name in ENVIRONMENTS:
        if "Azure" in name:
            continue
        if name not in BESIDE_CARTPOLE:
            measured.add(f"{name}, scalar", "steps/s", [first_open(gym.make(name), seconds) for _ in range(3)])
        vector = [first_open_vector(gym.make_vec(name, FEWER_ENVS, copy=False), seconds) for _ in range(3)]
        long = measured.add(f"{name}, make_vec, {FEWER_ENVS} runs", "steps/s", vector)
        brief = [first_open_vector(gym.make_vec(name, FEWER_ENVS, copy=False, n_jobs=SHORT), seconds) for _ in range(3)]
        short = measured.add(f"{name}, make_vec, {FEWER_ENVS} runs, episodes of {SHORT} jobs", "steps/s", brief)
        measured.ratios[f"{name}, make_vec, long episodes / episodes of {SHORT} jobs"] = long / short


def beginnings(measured: Measured) -> None:
    """Time the import, and the first and the second `llmqueue simulate` of a new user, of a replica too."""

    def python(code: str, **more: str) -> tuple[str, float, float]:
        """Return what a process prints, and its seconds by the clock and of CPU."""
        start, before = time.perf_counter(), os.times()
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **more}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return done.stdout, time.perf_counter() - start, spent

    measured.add("import llmqueue_gym", "s", [float(python(IMPORT)[0]) for _ in range(5)])
    for command, words in SIMULATE.items():
        code = f"from llmqueue_gym.cli import main; main({words.split()})"
        with tempfile.TemporaryDirectory() as empty:
            caches = {"NUMBA_CACHE_DIR": f"{empty}/numba", "LLMQUEUE_CACHE": f"{empty}/capacity"}
            cold, *warm = (python(code, **caches)[1:] for _ in range(4))
        for k, unit in enumerate(("s", "CPU s")):
            first = measured.add(f"{command}, cache empty", unit, [cold[k]])
            second = measured.add(f"{command}, cached", unit, [one[k] for one in warm])
            if unit == "s":
                measured.ratios[f"first / second `{command}`"] = first / second


PARTS: dict[str, Callable[[Measured, int], None]] = {
    "engine": engines,
    "simulators": lambda measured, jobs: simulators(measured),
    "servers": servers,
    "simulators-of-servers": lambda measured, jobs: simulators_of_servers(measured),
    "environments": lambda measured, jobs: environments(measured),
    "serving": lambda measured, jobs: serving(measured),
    "beginnings": lambda measured, jobs: beginnings(measured),
}


def main() -> None:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs in each engine run")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="measure this part; nothing is stored")
    options = parser.parse_args()
    measured, before = Measured(), os.getloadavg()[0]
    for name in options.only or PARTS:
        PARTS[name](measured, options.jobs)
    found = result({"jobs": options.jobs, "load_average": [before, os.getloadavg()[0]], **vars(measured)})
    if not options.only:
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / "speed.json", found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())


if __name__ == "__main__":
    main()
