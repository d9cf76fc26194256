"""Does any small queue lose a job or service, idle beside work, break a tie wrongly, or run for ever?

Draws random jobs, orders (wild ranks among them: infinite, tied, jumping, rising, fickle) and servers, plays them in
every engine of queues, and lets agents play at random in every environment of them. Where a slow reference simulator of
the tests knows the answer, each job must fare as it says. Prints what broke which promise, with the number by which
`--only` plays it again; exits 1 if anything did.

    python experiments/fuzz_queues.py --runs 30000 --seed 1
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import main
from random_queues import (
    STEP,
    Given,
    constant,
    draw_jobs,
    draw_order,
    draw_scenario,
    draw_sender,
    falling,
    levels,
    looked_up,
    offer_score,
    pick,
    stepwise,
    weighed,
)

from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import DONE, LOST
from llmqueue_gym.policies import Policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES
from llmqueue_gym.policies.moldable import MOLDABLE, MoldablePolicy
from llmqueue_gym.policies.packing import PackingPolicy
from llmqueue_gym.policies.packing.base import PACKINGS
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.systems import SYSTEMS, Drawn, Run, Scenario

_TESTS = Path(__file__).parents[1] / "tests"
_servers = runpy.run_path(str(_TESTS / "reference_servers.py"))
_packing = runpy.run_path(str(_TESTS / "reference_packing.py"))
_predicting = runpy.run_path(str(_TESTS / "reference_predicting.py"))
_moldable = runpy.run_path(str(_TESTS / "reference_moldable.py"))


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
    kind, told, view = draw_scenario(rng)
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


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], play))
