"""Speed of the engines of queues, for `speed.py`: beside a hand-written loop, SimPy and Ciw, on one server and more."""

import time
from collections.abc import Callable

import handwritten
import numpy as np
import other_simulators
from measured import Measured

from llmqueue_gym.systems import Run, Scenario

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
CENTRAL, QUEUES, POOL = 10, 1000, 8  # servers: of one queue, with a queue each, for jobs that need several


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
