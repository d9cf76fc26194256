"""Small queues and jobs at random, for `fuzz_queues`: jobs, orders, dispatchers, scenarios, and wild functions."""

from typing import Any

import numpy as np

from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies import Policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES, DispatchPolicy
from llmqueue_gym.systems import Drawn

STEP = 0.5  # s of age between the jumps of `stepwise`
QUEUES = ("mg1", "central", "dispatch", "packing", "moldable", "predict")


def stepwise(job, params):
    """Look the rank up by age and prediction, in a table of `params[1]` columns; it jumps at or just after an age."""
    steps = job.age / STEP
    column = np.floor(steps) if params[0] == 0 else np.ceil(steps) - 1.0
    column = min(max(column, 0.0), params[1] - 1.0)
    row = int(job.predicted * 4.0) % int(params[2])
    return params[3 + row * int(params[1]) + int(column)]


def constant(job, params):
    """Look the rank up by prediction."""
    return params[int(job.predicted * 4.0) % len(params)]


def falling(job, params):
    """Fall from the prediction, below a bound at once to minus infinity."""
    value = job.predicted - params[0] * job.age
    return -np.inf if value < params[1] else value


def weighed(job, stage, params):
    """Rank by a sum of what is known, what it is in and what it has had, in which much ties."""
    return params[0] * job.predicted - params[1] * job.age + params[2] * stage.kind + params[3] * job.klass


def looked_up(job, stage, params):
    """Look up what comes next by what is known, by chance and by the number in system."""
    return params[4 + stage.known + 4 * int(2.0 * stage.coin) + 8 * (stage.in_system % 2)]


def wild(job, params):
    """Jump, rise, swing, be infinite or fickle, as the first parameter says."""
    kind, x = int(params[0]), params[1]
    if kind == 0:
        return np.inf if job.age > x else job.predicted
    if kind == 1:
        return 1e9 if job.age > x else job.predicted
    if kind == 2:
        return np.sin(50.0 * x * job.age) * job.predicted
    if kind == 3:
        return x * job.age + job.predicted
    if kind == 4:
        return np.floor(job.age / x)
    if kind == 5:
        return (job.age * 7919e6) % 101.0
    if kind == 6:
        return 1e308 * (job.predicted - 1.0) * (1.0 + job.age)
    if kind == 7:
        return abs(job.predicted - job.age)
    return np.inf if int(4.0 * job.predicted) % 2 == 0 else -np.inf


def score(job, queue, params):
    """Rank queues by jobs and work, or like none of them."""
    kind = int(params[0])
    if kind == 0:
        return queue.jobs + params[1] * queue.left / queue.speed
    if kind == 1:
        return np.inf if queue.jobs > params[1] else -np.inf
    return (queue.index * 7919.0 + job.predicted * 104729.0) % 11.0


def offer_score(job, offer, params):
    """Rank offers by time and servers, and decline some; nobody is left behind at idle servers."""
    if offer.free < offer.total and offer.servers > params[0]:
        return np.inf
    return offer.time * offer.servers ** params[1] + params[2] * offer.wait + params[3] * job.predicted


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    """Return one of the choices."""
    return choices[rng.integers(len(choices))]


def draw_jobs(rng: np.random.Generator, exact: bool = False, most: int = 12) -> Drawn:
    """Draw jobs whose times tie often, in quarters of a second that add up exactly, or others unless told `exact`."""
    n = int(rng.integers(1, most + 1))
    predicted = rng.integers(1, 13, n) / 4
    if exact or rng.random() < 0.5:
        arrivals, sizes = np.sort(rng.integers(0, pick(rng, 1, 8, 4 * n), n)) / 4, rng.integers(1, 13, n) / 4
    else:
        arrivals = np.cumsum(rng.exponential(pick(rng, 0.0, 0.3, 1.0, 10.0), n))
        sizes = pick(rng, rng.exponential(1.0, n), rng.pareto(1.1, n), np.full(n, 1e-9), np.full(n, 1.0), np.zeros(n))
        predicted = predicted if rng.random() < 0.5 else np.maximum(sizes, 1e-12)
    jobs = job_table(arrivals, predicted, rng.integers(1, 4, n).astype(float))
    jobs["klass"] = rng.integers(0, 3, n)
    return Drawn(jobs, {"sizes": sizes})


def levels(rng: np.random.Generator, n: int) -> tuple[float, ...]:
    """Draw ranks of which many are equal and some infinite."""
    some = rng.integers(0, pick(rng, 2, 4, 100), n).astype(float)
    some[rng.random(n) < 0.1] = np.inf
    some[rng.random(n) < 0.05] = -np.inf
    return tuple(some.tolist())


def draw_order(rng: np.random.Generator, rising: bool) -> Policy:
    """Draw an order: of any shape, or one that never rises."""
    lcfs = float(pick(rng, -np.inf, -np.inf, 1.0, np.inf))
    if rising:
        numbers = (float(rng.integers(0, 9)), float(pick(rng, 0.25, 0.3, 1.0)))
        return Policy(f"wild-{numbers[0]:g}", wild, numbers, lcfs_up_to=lcfs)
    preemptive = bool(rng.random() < 0.7)
    if rng.random() < 0.5:
        return Policy("constant", constant, levels(rng, 12), preemptive, "constant", lcfs)
    numbers = (float(pick(rng, 0.5, 1.0, 2.0)), float(pick(rng, -np.inf, 0.0, 1.0)))
    return Policy("falling", falling, numbers, preemptive, "falling", lcfs)


def draw_sender(rng: np.random.Generator, servers: int) -> DispatchPolicy:
    """Draw a dispatcher by name, or a wild one."""
    if rng.random() < 0.5:
        names = ("random", "round-robin", "join-shortest-queue", "join-idle-queue", "least-work:d=0", "least-work:d=1")
        return DISPATCH_POLICIES(pick(rng, *names))
    looks, numbers = pick(rng, "sample", "turn", "all"), (float(rng.integers(0, 3)), float(rng.integers(0, 3)))
    return DispatchPolicy("wild", score, looks, int(rng.integers(1, servers + 1)), 1.0, numbers)


def draw_scenario(rng: np.random.Generator) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Draw the kind of an environment, the arguments of its scenario, and what its agent sees and may do."""
    kind, n = pick(rng, *QUEUES), int(rng.integers(1, 30))
    told: dict[str, Any] = {
        "n_jobs": n,
        "load": float(pick(rng, 0.2, 0.9)),
        "predictor": pick(rng, "exact", "lognormal"),
    }
    view: dict[str, Any] = {} if kind == "dispatch" else {"slots": int(rng.integers(1, 9))}
    if kind not in ("mg1", "predict"):
        told["servers"] = int(rng.integers(1, 6))
    if kind == "predict":
        where = pick(rng, "outside", "server", "servers,servers=2")
        told["predictor_cost"] = f"cheap=0.1,expensive=0.5,where={where},profile={pick(rng, 0, 0.5)}"
        view["pause"] = float(pick(rng, 0.5, np.inf))
    if kind == "dispatch":
        told["order"] = pick(rng, "fcfs", "sprpt", "spjf")
    if kind == "packing":
        told["needs"] = tuple(range(1, told["servers"] + 1))
    if kind == "central" and rng.random() < 0.5:
        told["patience"] = "exponential"
        view |= {"firm": bool(rng.random() < 0.5), "may_drop": bool(rng.random() < 0.5)}
    if kind in ("mg1", "central", "packing"):
        view["preemptive"] = bool(rng.random() < 0.5)
    if kind in ("central", "packing"):
        view["may_pass"] = bool(rng.random() < 0.5)
    if kind == "mg1" and view["preemptive"]:
        view["quantum"] = float(pick(rng, 0.1, np.inf))
    return kind, told, view


class Given:
    """A workload that always gives the same jobs."""

    def __init__(self, drawn: Drawn):
        self.drawn = drawn

    def sample(self, n: int, arrival_rng: Any, size_rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return them."""
        return self.drawn.work.copy(), self.drawn.sizes.copy()
