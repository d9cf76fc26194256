"""Does any small replica lose a request, a token or a block, run for ever, or depend on being watched?

Draws random requests, policies (those by name and wild ranks), rule sets, switches of them, pools and profiles, serves
the requests watched iteration by iteration and once more unwatched, and lets an agent play at random. Prints what broke
which promise, with the number by which `--only` plays it again; exits 1 if anything did.

    python experiments/fuzz_replicas.py --runs 30000 --seed 1
"""

import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from fuzzing import main
from random_replicas import Case, draw_case, draw_given
from watched_replica import watched

from llmqueue_gym import _jit
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.engines.batching.tables import REASONS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems import Run, Scenario
from llmqueue_gym.systems.serve import placed, serve


def check(case: Case) -> str:
    """Raise AssertionError where a case breaks a promise; return how it ended."""
    place, policy = placed(case.policy, case.profile, case.rules, {})
    rules = place.under(policy).bound_rules
    run = serve(case.given, policy, case.profile, case.rules)
    replica, count = watched(case.given, policy, case.profile, rules)
    conserved(run, rules, case.given, case.given.requests["weight"])
    assert run.reason == REASONS[int(replica.state["reason"][0])], "another end when watched"
    assert run.totals["iterations"] == count == replica.system["iterations"][0], "other iterations when watched"
    for name in run.outcome.dtype.names or ():
        np.testing.assert_array_equal(run.outcome[name], replica.service[name], f"other {name} when watched")
    np.testing.assert_array_equal(run.jobs["generated"], replica.requests["generated"])
    if run.reason == "drained":
        assert replica.system["free"][0] == rules.blocks, "blocks not given back"
    return run.reason


def conserved(run: Run, rules: Rules, given: Requests, weights: np.ndarray | float) -> None:
    """Check what came of a run, whose requests cost `weights` a second: every token and every second is there."""
    wanted = np.minimum(given.outputs, rules.longest - given.requests["prompt"])
    assert np.isfinite(run.totals["clock"]) and run.totals["integral"] >= 0, "time lost"
    assert (run.jobs["generated"] <= wanted).all() or rules.forget_unread, "tokens that nobody asked for"
    assert run.reason != "stuck", "requests wait on an idle replica for ever"
    if run.reason != "drained":
        return
    assert run.done.all(), "drained, but somebody is not done"
    assert (run.jobs["generated"] == wanted).all() or rules.forget_unread, "tokens missing"
    weighted = float((run.response_times * weights).sum())
    np.testing.assert_allclose(run.totals["integral"], weighted, rtol=1e-9, err_msg="the cost is not that of the times")
    assert (run.outcome["first_token"] >= run.outcome["scheduled"]).all(), "a token before the start"
    assert (run.outcome["completion"] >= run.outcome["first_token"]).all(), "done before the first token"
    if run.totals["preemptions"] == 0:
        assert run.outcome["recomputed"].sum() == run.outcome["swapped"].sum() == 0


@dataclass(frozen=True, eq=False)
class Given:
    """A workload that always gives the same requests."""

    given: Requests

    def sample(self, n: int, arrival_rng: Any, length_rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return them."""
        return self.given.requests.copy(), self.given.outputs.copy()

    def output_sample(self) -> np.ndarray:
        """Return their outputs."""
        return self.given.outputs


def check_agent(case: Case, rng: np.random.Generator) -> str:
    """Let an agent play at random, closed actions among them; return how the episode ended."""
    case = replace(case, rules=replace(case.rules, horizon=np.inf))  # else it may be over before it begins
    told = {"profile": case.profile, "rules": case.rules, "workload": Given(case.given)}
    told |= {"n_requests": len(case.given.outputs), "predictor": str(rng.choice(["exact", "trail", "lognormal"]))}
    view = {"window": int(rng.integers(1, 9)), "seats": int(rng.integers(1, 9)), "levels": int(rng.integers(1, 9))}
    env = Scenario("replica", load=None, **told).env(decides=str(rng.choice(["admit", "evict", "rank"])), **view)
    _, info = env.reset(seed=int(rng.integers(1000)))
    keen, over = rng.random(env.action_space.n), False  # so that some agents hold on to a habit
    keen **= float(rng.choice([0, 8]))
    while not over:
        mask = np.maximum(info["action_mask"], 0.0 if rng.random() < 0.95 else 1.0) * keen
        _, _, terminated, truncated, info = env.step(int(rng.choice(len(mask), p=mask / mask.sum())))
        over = terminated or truncated
    run = env.run()
    conserved(run, case.rules, case.given, 1.0)
    assert terminated == (run.reason == "drained")
    return run.reason


def play(number: int, seed: int) -> str:
    """Play run `number`; return its kind and how it ended."""
    rng = np.random.default_rng([seed, number])
    case = draw_case(rng)
    kind = str(rng.choice(["policy", "agent"], p=np.array([8, 1]) / 9))
    try:
        return f"{kind}: {check(case) if kind == 'policy' else check_agent(case, rng)}"
    except BadInput as error:
        return f"{kind}: refused, {' '.join(str(error).split()[:3])} ..."
    except Exception as error:
        raise AssertionError(f"run {number}, {kind}: {case}: {error}") from error


def compile_loops() -> None:
    """Compile all but the functions of policies, each of which is compiled once: wild ones read no globals."""
    _jit.pointer = cache(_jit.pointer)
    rules = Rules(blocks=40)
    first = Case(draw_given(np.random.default_rng(0), rules), SERVING_POLICIES("fcfs"), profile("unit"), rules)
    check(first)
    check_agent(first, np.random.default_rng(0))


if __name__ == "__main__":
    compile_loops()
    sys.exit(main(__doc__.splitlines()[0], play))
