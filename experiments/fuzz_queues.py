"""Does any small queue lose a job or service, idle beside work, break a tie wrongly, or run for ever?

Draws random jobs, orders (wild ranks among them: infinite, tied, jumping, rising, fickle) and servers, plays them in
every engine of queues, and lets agents play at random in every environment of them. Where a slow reference simulator of
the tests knows the answer, each job must fare as it says. Prints what broke which promise, with the number by which
`--only` plays it again; exits 1 if anything did.

    python experiments/fuzz_queues.py --runs 30000 --seed 1
"""

import argparse
import os
import runpy
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import DONE, LOST, job_table
from llmqueue_gym.policies import Policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES, DispatchPolicy
from llmqueue_gym.policies.moldable import MOLDABLE, MoldablePolicy
from llmqueue_gym.policies.packing import PackingPolicy
from llmqueue_gym.policies.packing.base import PACKINGS
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.systems import SYSTEMS, Drawn, Run, Scenario

SECONDS = 120  # after which a run counts as one without end; most take milliseconds, and those that compile seconds
STEP = 0.5  # s of age between the jumps of `stepwise`
QUEUES = ("mg1", "central", "dispatch", "packing", "moldable", "predict")

_TESTS = Path(__file__).parents[1] / "tests"
_servers = runpy.run_path(str(_TESTS / "reference_servers.py"))
_packing = runpy.run_path(str(_TESTS / "reference_packing.py"))
_predicting = runpy.run_path(str(_TESTS / "reference_predicting.py"))
_moldable = runpy.run_path(str(_TESTS / "reference_moldable.py"))


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


def conserved(run: Run, drawn: Drawn, fastest: float = 1.0) -> None:
    """Check that every job that did not give up got exactly its size, in no less time than that takes."""
    outcome, done = run.outcome, run.done
    assert set(run.jobs["status"].tolist()) <= {DONE, LOST}, "somebody is neither done nor lost"
    assert ((run.jobs["status"] == DONE) == done).all(), "somebody is done without an end"
    np.testing.assert_array_equal(run.jobs["age"][done], drawn.sizes[done], "not its size")
    assert np.isfinite(outcome["completion"][done]).all(), "no time"
    assert (outcome["start"][done] >= run.jobs["arrival"][done]).all(), "a start before the arrival"
    slack = outcome["completion"] - outcome["start"] - drawn.sizes / fastest
    assert (slack[done] >= -1e-9 * (1 + outcome["completion"][done])).all(), "done too soon"
    assert (outcome["preemptions"] >= 0).all()


def busy(arrival: np.ndarray, completion: np.ndarray, servers: int) -> float:
    """Return the server-seconds in use where nobody idles beside work, by who is in system when."""
    times = np.concatenate([arrival, completion])
    order = np.argsort(times, kind="stable")
    present = np.cumsum(np.repeat([1, -1], len(arrival))[order])
    return float((np.minimum(present[:-1], servers) * np.diff(times[order])).sum())


def no_idling(arrival: np.ndarray, completion: np.ndarray, sizes: np.ndarray, servers: int, speed: float = 1.0) -> None:
    """Check that servers of one speed never idled beside work."""
    found = speed * busy(arrival, completion, servers)
    np.testing.assert_allclose(found, sizes.sum(), rtol=1e-7, atol=1e-9 * (1 + completion.max()), err_msg="idles")


def same(found: np.ndarray, expected: Any, what: str) -> None:
    """Check times, but for rounding."""
    np.testing.assert_allclose(found, np.array(expected, float), rtol=1e-9, atol=1e-9, err_msg=what)


def play_stepwise(rng: np.random.Generator) -> str:
    """One server, ranks that jump: job by job."""
    columns, rows = int(rng.integers(1, 8)), int(rng.integers(1, 5))
    numbers = (float(rng.integers(0, 2)), float(columns), float(rows), *levels(rng, rows * columns))
    order, drawn = Policy("stepwise", stepwise, numbers), draw_jobs(rng, exact=True)
    run = SYSTEMS("mg1").simulate(drawn, order)
    conserved(run, drawn)
    after = 1e-6 if numbers[0] else 0.0
    same(run.outcome["completion"], _servers["stepwise_schedule"](drawn, order, STEP, after), "another order")
    return "one server, ranks that jump"


def play_wild(rng: np.random.Generator) -> str:
    """One or several servers, ranks of any shape."""
    drawn, order, servers = draw_jobs(rng, most=pick(rng, 12, 60)), draw_order(rng, True), int(rng.integers(1, 5))
    system = SYSTEMS("mg1") if servers == 1 else SYSTEMS.builder("central")(servers=servers)
    run = system.simulate(drawn, order)
    conserved(run, drawn)
    no_idling(run.jobs["arrival"], run.outcome["completion"], drawn.sizes, servers)
    return f"{system.name}, any rank"


def play_central(rng: np.random.Generator) -> str:
    """Several servers and impatient jobs: job by job."""
    drawn, order = draw_jobs(rng, exact=True), draw_order(rng, False)
    drawn.truth["patience"] = np.array([pick(rng, 0.25, 1.0, np.inf) for _ in drawn.sizes])
    speeds = tuple(float(pick(rng, 0.5, 1.0, 2.0)) for _ in range(rng.integers(1, 5)))
    run = SYSTEMS.builder("central")(speeds=speeds).simulate(drawn, order)
    conserved(run, drawn, max(speeds))
    _servers["same_outcome"](run.outcome, _servers["central_schedule"](drawn, order, speeds))
    if len(speeds) == 1 and speeds[0] == 1 and not (drawn.truth["patience"] < np.inf).any():
        _servers["same_outcome"](SYSTEMS("mg1").simulate(drawn, order).outcome, run.outcome)
    return "central, ranks that never rise"


def draw_sender(rng: np.random.Generator, servers: int) -> DispatchPolicy:
    """Draw a dispatcher by name, or a wild one."""
    if rng.random() < 0.5:
        names = ("random", "round-robin", "join-shortest-queue", "join-idle-queue", "least-work:d=0", "least-work:d=1")
        return DISPATCH_POLICIES(pick(rng, *names))
    looks, numbers = pick(rng, "sample", "turn", "all"), (float(rng.integers(0, 3)), float(rng.integers(0, 3)))
    return DispatchPolicy("wild", score, looks, int(rng.integers(1, servers + 1)), 1.0, numbers)


def play_dispatch(rng: np.random.Generator) -> str:
    """A queue each: job by job where no rank rises, else no queue idles."""
    rising = bool(rng.random() < 0.3)
    drawn, order = draw_jobs(rng, exact=not rising), draw_order(rng, rising)
    speeds = sorted((float(pick(rng, 0.5, 1.0, 2.0)) for _ in range(rng.integers(1, 5))), reverse=True)
    sender, n = draw_sender(rng, len(speeds)), len(drawn.sizes)
    drawn.truth["choices"] = sender.choices(n, len(speeds), rng)
    drawn.truth["ties"] = rng.random(n) if sender.looks == "all" else np.zeros(n)
    run = SYSTEMS.builder("dispatch")(speeds=tuple(speeds), order=order).simulate(drawn, sender)
    conserved(run, drawn, speeds[0])
    if not rising:
        sent, expected = _servers["dispatch_schedule"](drawn, sender, sender.params, order, speeds)
        np.testing.assert_array_equal(run.jobs["site"], sent, "sent elsewhere")
        _servers["same_outcome"](run.outcome, expected)
    for s in set(run.jobs["site"].tolist()):
        mine = run.jobs["site"] == s
        no_idling(run.jobs["arrival"][mine], run.outcome["completion"][mine], drawn.sizes[mine], 1, speeds[s])
    return f"dispatch, {'any rank' if rising else 'ranks that never rise'}"


def play_packing(rng: np.random.Generator) -> str:
    """Jobs of several servers: job by job."""
    drawn, servers, rule = draw_jobs(rng, exact=True), int(rng.integers(1, 9)), str(rng.choice(PACKINGS))
    needs = np.array([1, servers]) if rule == "quickswap" else np.arange(1, servers + 1)
    drawn.work["need"] = rng.choice(needs, len(drawn.sizes))
    preemptive = rule in ("filling", "max-weight") or (rule in ("prefix", "skip") and rng.random() < 0.5)
    rank, numbers = pick(rng, (constant, levels(rng, 12)), (falling, (1.0, 0.0)))
    traits: dict[str, Any] = {"packing": rule, "preemptive": preemptive}
    traits |= {"quantum": float(pick(rng, 0.0, 2.0)), "threshold": int(rng.integers(0, servers))}
    policy = PackingPolicy("wild", rank, numbers, **traits)
    run = SYSTEMS.builder("packing")(servers=servers, needs=(1,)).simulate(drawn, policy)
    conserved(run, drawn)
    np.testing.assert_allclose(run.totals["busy"], (drawn.sizes * drawn.work["need"]).sum(), err_msg="servers in use")
    _servers["same_outcome"](run.outcome, _packing["packing_schedule"](drawn, policy, servers))
    return f"packing, {rule}"


def play_moldable(rng: np.random.Generator) -> str:
    """Jobs on servers of choice: job by job."""
    drawn, servers = draw_jobs(rng, exact=True), int(rng.integers(1, 6))
    n, many = len(drawn.sizes), np.arange(1, servers + 1)
    times = drawn.sizes[:, None] / many ** rng.choice([0.0, 1.0, 0.5], n)[:, None]
    drawn.truth["times"] = np.ceil(4 * times) / 4
    drawn.truth["predicted"] = np.ceil(4 * drawn.work["predicted"][:, None] / many) / 4
    policy = MOLDABLE(str(rng.choice([name for name in MOLDABLE])))
    if rng.random() < 0.6:
        numbers = tuple(float(pick(rng, 0.0, 1.0, 2.0)) for _ in range(4))
        policy = MoldablePolicy("wild", offer_score, numbers, int(rng.integers(0, 4)))
    system = SYSTEMS.builder("moldable")(servers=servers)
    run = system.simulate(drawn, policy)
    slow = _moldable["Slow"](drawn, servers, policy)
    same(run.outcome["start"], slow.start, "another start")
    same(run.outcome["completion"], slow.completion, "another end")
    np.testing.assert_array_equal(run.jobs["need"], slow.given, "other servers")
    return "moldable"


def play_predict(rng: np.random.Generator) -> str:
    """Predictions that cost: job by job, and what was bought."""
    given, where = draw_jobs(rng, exact=True), pick(rng, "outside", "server", "servers", "servers,servers=2")
    work, n = given.work.copy(), len(given.sizes)
    work["predicted"], work["klass"] = 0.0, -1
    truth = {"predictions": given.work["predicted"], "cheap": rng.integers(0, 9, n) / 4, "coin": rng.random(n)}
    drawn = Drawn(work, {"sizes": given.sizes, **truth})
    policy = PREDICTING(str(rng.choice([name for name in PREDICTING])))
    if rng.random() < 0.7:
        numbers = (*rng.integers(0, 3, 4).astype(float), *rng.integers(0, 4, 16).astype(float))
        traits = {"pause": float(pick(rng, 0.5, 1.0, np.inf)), "edges": (0.5, 1.5), "shape": "falling"}
        policy = PredictingPolicy("wild", weighed, looked_up, params=numbers, **traits)
    cheap, expensive, profile = rng.integers(0, 4, 3) / 4
    costs = f"cheap={cheap},expensive={expensive},where={where},profile={profile + 0.25},slow=0.5"
    system = SYSTEMS.builder("predict")(costs)
    run = system.simulate(drawn, policy)
    conserved(run, drawn)
    expected, known, bought = _predicting["predicting_schedule"](drawn, policy, system.costs)
    _servers["same_outcome"](run.outcome, expected, exactly=False)
    np.testing.assert_array_equal(run.jobs["predicted"], [y for y, _ in known], "other predictions bought")
    np.testing.assert_allclose(run.totals["price"], bought["price"], err_msg="another price")
    return f"predict, {where}"


def play_agent(rng: np.random.Generator) -> str:
    """An agent that plays at random, closed actions among them: the return is that of the response times."""
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
    env = Scenario(kind, **told).env(**view)
    _, info = env.reset(seed=int(rng.integers(1000)))
    keen = rng.random(env.action_space.n) ** float(rng.choice([0, 8]))
    total, steps, over = 0.0, 0, False
    while not over:
        mask = np.maximum(info["action_mask"], 0.0 if rng.random() < 0.95 else 1.0) * keen
        action = rng.choice(len(mask), p=mask / mask.sum()) if mask.sum() > 0 else rng.integers(len(mask))
        _, reward, terminated, truncated, info = env.step(int(action))
        total, steps, over = total + reward, steps + 1, terminated or truncated
        assert steps <= 10_000, "steps without end"
    run = env.run()
    assert terminated and run.reason == "drained", "no end"
    if kind != "moldable":
        conserved(run, Drawn(run.jobs, {"sizes": run.sizes}))
    if run.done.all():
        cost = run.response_times.sum() + run.totals.get("price", 0.0)
        np.testing.assert_allclose(-total, cost, rtol=1e-9, err_msg="not what it cost")
    return f"agent in {kind}"


class Given:
    """A workload that always gives the same jobs."""

    def __init__(self, drawn: Drawn):
        self.drawn = drawn

    def sample(self, n: int, arrival_rng: Any, size_rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return them."""
        return self.drawn.work.copy(), self.drawn.sizes.copy()


def play_baseline(rng: np.random.Generator) -> str:
    """A policy as an agent that sees all jobs: job by job as in closed loop."""
    drawn, order, kind = draw_jobs(rng, exact=True), draw_order(rng, False), pick(rng, "mg1", "central", "dispatch")
    told: dict[str, Any] = {"workload": Given(drawn), "n_jobs": len(drawn.sizes), "load": None, "predictor": "exact"}
    view: dict[str, Any] = {"preemptive": order.preemptive, "slots": len(drawn.sizes)}
    player: Any = order
    if kind != "mg1":
        told["servers"] = int(rng.integers(1, 5))
    if kind == "dispatch":
        told["order"], view = pick(rng, "fcfs", "sprpt", "pspjf", "spjf"), {}
        player = DISPATCH_POLICIES(pick(rng, "join-shortest-queue", "join-idle-queue", "least-work:d=0"))
    here = Scenario(kind, **told)
    env = here.env(**view)
    agent, over, closed = baseline_agent(player, env), False, here.simulate(player, 5)
    env.reset(seed=5)
    while not over:
        _, _, terminated, truncated, _ = env.step(agent.act_env(env))
        over = terminated or truncated
    run = env.run()
    conserved(run, drawn)
    same(run.outcome["completion"], closed.outcome["completion"], "other times than in closed loop")
    if kind != "central":  # who goes on at an event, and on which server, may be counted otherwise
        np.testing.assert_array_equal(run.outcome["preemptions"], closed.outcome["preemptions"], "other preemptions")
    return f"baseline in {kind}"


KINDS: tuple[Callable[[np.random.Generator], str], ...] = (
    *(play_stepwise, play_wild, play_central, play_dispatch),
    *(play_packing, play_moldable, play_predict, play_agent, play_baseline),
)


def play(number: int, seed: int) -> str:
    """Play run `number`; return what it was."""
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    try:
        return kind(rng)
    except BadInput as error:
        return f"{kind.__name__}: refused, {' '.join(str(error).split()[:3])} ..."
    except Exception as error:
        raise AssertionError(f"{kind.__name__}: {error}") from error


def give_up(number: int, seed: int) -> None:
    """End the process with a word; compiled code looks at no signal."""
    print(f"--seed {seed} --only {number}: {KINDS[number % len(KINDS)].__name__}: no end in {SECONDS} s", flush=True)
    os._exit(1)


def main() -> int:
    """Play the runs and print what they were; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="play this one alone, and show where it breaks")
    told = parser.parse_args()
    kinds, broken, start = Counter(), 0, time.monotonic()
    for number in range(told.runs) if told.only is None else [told.only]:
        guard = threading.Timer(SECONDS, give_up, (number, told.seed))
        guard.start()
        try:
            kinds[play(number, told.seed)] += 1
        except AssertionError as error:
            broken += 1
            print(f"--seed {told.seed} --only {number}: {' '.join(str(error).split())[:400]}", flush=True)
            if told.only is not None:
                traceback.print_exc()
        finally:
            guard.cancel()
    for kind, count in kinds.most_common():
        print(f"{count:8,} {kind}")
    print(f"{broken} of {sum(kinds.values()) + broken:,} runs broke a promise, {time.monotonic() - start:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
