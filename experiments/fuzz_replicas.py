"""Does any small replica lose a request, a token or a block, run for ever, or depend on being watched?

Draws random requests, policies (those by name and wild ranks), rule sets, switches of them, pools and profiles, serves
the requests watched iteration by iteration and once more unwatched, and lets an agent play at random. Prints what broke
which promise, with the number by which `--only` plays it again; exits 1 if anything did.

    python experiments/fuzz_replicas.py --runs 30000 --seed 1
"""

import argparse
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from random_replicas import Case, draw_case, draw_given

from llmqueue_gym import _jit
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.engines.batching.tables import ENDLESS, LOOK, REASONS, WATCHING, queue
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import DONE, Requests
from llmqueue_gym.systems import Run, Scenario
from llmqueue_gym.systems.replica import kernel_arguments, loaded
from llmqueue_gym.systems.serve import as_drawn, placed, serve

SECONDS = 30  # of CPU time after which a run counts as one without end; watched at a token an iteration some take ten


def watched(case: Case, rules: Rules) -> tuple[Any, int]:
    """Serve a case one iteration after another, and check each; return the replica at the end, and the iterations."""
    replica = loaded(as_drawn(case.given), rules, case.policy.merged)
    record, conduct, form, numbers, functions = kernel_arguments(case.policy, case.profile, rules)
    system, state, requests = replica.system[0], replica.state[0], replica.requests[0]
    clock, count = 0.0, 0
    tokens = requests["generated"].copy()
    go_on = partial(proceed, 0, replica, record, conduct, form, numbers, WATCHING, 0, *functions, ENDLESS)
    while go_on() == LOOK:
        running, waiting = replica.running[0, : system["running"]].tolist(), queue(replica, 0).tolist()
        there = running + waiting
        assert len(there) == len(set(there)) == state["arrived"] - state["done"], "somebody stands twice or nowhere"
        assert system["free"] >= 0, "blocks beyond the pool"
        assert system["free"] + requests["blocks"].sum() == rules.blocks, "blocks lost"
        holds = requests["computed"] <= requests["blocks"] * rules.block_size
        assert (holds | (requests["status"] == DONE))[running].all(), "keys and values nowhere"
        assert requests["scheduled"].sum() == state["batch"]["tokens"] <= rules.token_budget, "beyond the budget"
        seats = (requests["scheduled"] > 0).sum() if case.policy.merged else len(running)
        assert seats <= rules.max_seqs, "one seat too many"
        assert (requests["scheduled"][[i for i in there if i not in running]] == 0).all(), "who waits computes"
        go_on()
        count += 1
        assert clock <= system["clock"] < np.inf, "time runs back"
        growth = requests["generated"] - tokens
        assert ((growth >= 0) & (growth <= 1)).all() or rules.forget_unread, "a token twice"
        clock, tokens = system["clock"], requests["generated"].copy()
    return replica, count


def check(case: Case) -> str:
    """Raise AssertionError where a case breaks a promise; return how it ended."""
    place, policy = placed(case.policy, case.profile, case.rules, {})
    rules = place.under(policy).bound_rules
    run = serve(case.given, policy, case.profile, case.rules)
    replica, count = watched(replace(case, policy=policy), rules)
    conserved(run, rules, case.given, case.given.requests["weight"])
    assert run.reason == REASONS[int(replica.state["reason"][0])], "another end when watched"
    assert run.totals["iterations"] == count == replica.system["iterations"][0], "other iterations when watched"
    for name in run.outcome.dtype.names or ():
        np.testing.assert_array_equal(run.outcome[name], replica.service[0][name], f"other {name} when watched")
    np.testing.assert_array_equal(run.jobs["generated"], replica.requests[0]["generated"])
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


def play(number: int, seed: int, kinds: dict[str, Callable[[Case, np.random.Generator], str]]) -> str:
    """Play run `number`; return its kind and how it ended."""
    rng = np.random.default_rng([seed, number])
    case = draw_case(rng)
    kind = str(rng.choice(list(kinds), p=np.array([8, 1]) / 9))

    def too_long(*_: Any) -> None:
        raise AssertionError(f"no end within {SECONDS} s")

    signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        return f"{kind}: {kinds[kind](case, rng)}"
    except BadInput as error:
        return f"{kind}: refused, {' '.join(str(error).split()[:3])} ..."
    except Exception as error:
        raise AssertionError(f"run {number}, {kind}: {case}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


KINDS = {"policy": lambda case, rng: check(case), "agent": check_agent}


def compile_loops() -> None:
    """Compile all but the functions of policies, which takes longer than a run may."""
    rules = Rules(blocks=40)
    first = Case(draw_given(np.random.default_rng(0), rules), SERVING_POLICIES("fcfs"), profile("unit"), rules)
    for kind in KINDS.values():
        kind(first, np.random.default_rng(0))


def main() -> int:
    """Play the runs and print how they ended; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="play this one alone, and show where it breaks")
    told = parser.parse_args()
    ends, broken, start = Counter(), 0, time.monotonic()
    _jit.pointer = cache(_jit.pointer)  # wild functions read no globals, so they need not be compiled anew each time
    compile_loops()
    for number in range(told.runs) if told.only is None else [told.only]:
        try:
            ends[play(number, told.seed, KINDS)] += 1
        except AssertionError as error:
            broken += 1
            print(f"--seed {told.seed} --only {number}: {' '.join(str(error).split())[:400]}", flush=True)
            if told.only is not None:
                traceback.print_exc()
    for end, count in ends.most_common():
        print(f"{count:8,} {end}")
    print(f"{broken} of {sum(ends.values()) + broken:,} runs broke a promise, {time.monotonic() - start:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
