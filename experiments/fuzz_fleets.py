"""Does any small fleet lose a request, a token or a block, serve somebody where there is no room, or run for ever?

Draws replicas of any rules, profiles and roles, links, routers, orders, reports and clients who wait, and serves
requests watched from one moment of the agenda to the next and once more unwatched; three in a hundred it holds against
slow simulators of the tests. Prints what broke which promise, with the number by which `--only` plays it again; exits 1
if anything did. With `--store` what came out is kept in `results/fuzz_fleets.json`.

    python experiments/fuzz_fleets.py --runs 100000 --seed 1 --processes 2
"""

import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from fuzzing import main
from random_fleets import UNIT, Case, draw_case
from random_members import CACHED, PLAIN, SLOW, STEERED, WILD
from watched_fleet import watched

from llmqueue_gym import _jit
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.requests import DECODE, MOVING, PREFILL
from llmqueue_gym.systems import Run

TESTS = Path(__file__).parents[1] / "tests"
HAD, REFUSED = Counter[str](), Counter[str]()  # features that runs had, and what was drawn but refused
OUT = Path(__file__).parent / "results" / "fuzz_fleets.json"


def check(case: Case, twice: bool = False) -> str:
    """Raise AssertionError where a case breaks a promise, `twice` if it shall run twice alike; say how it ended."""
    seen, first = watched(case.fleet, case.drawn, case.router, room(case), UNIT)
    run = case.fleet.simulate(case.drawn, case.router, unit=UNIT)
    assert run.reason == seen.reason, f"ends as {run.reason}, and as {seen.reason} when watched"
    for name in run.outcome.dtype.names or ():
        np.testing.assert_array_equal(run.outcome[name], seen.outcome[name], f"other {name} when watched")
    for name in ("generated", "site", "preemptions"):
        np.testing.assert_array_equal(run.jobs[name], seen.jobs[name], f"other {name} when watched")
    conserved(case, run, first)
    if twice:
        again = case.fleet.simulate(case.drawn, case.router, unit=UNIT)
        same = run.outcome.tobytes() == again.outcome.tobytes() and run.jobs.tobytes() == again.jobs.tobytes()
        assert same and run.totals == again.totals, "other bits the second time"
    return run.reason


def room(case: Case) -> np.ndarray:
    """Return the longest prompt of request i that replica q could hold to its end `(R, n)`.

    Where nobody of a role could, any may go anywhere. A prompt may become shorter on the way, as Vidur's trap makes
    output of what is not read yet; together they are as many.
    """
    prompts, outputs = case.drawn.work["prompt"].astype(np.int64), case.drawn.sizes
    members, first = case.fleet.members, np.ones_like(prompts)
    longest = np.array([[min(member.rules.longest - 1, member.rules.widest)] for member in members])
    longest = longest * np.array([member.rules.serves(first, prompts + outputs - first) for member in members])
    for role in (PREFILL, DECODE):  # nobody reads, or nobody decodes
        able = np.array([member.role != role for member in members])
        longest[:, ~((prompts <= longest) & able[:, None]).any(axis=0)] = np.iinfo(np.int64).max
    return longest


def conserved(case: Case, run: Run, first: np.ndarray) -> None:
    """Check what came of a run whose requests were sent to these replicas first."""
    members, forgets = case.fleet.members, any(m.rules.forget_unread for m in case.fleet.members)
    assert np.isfinite(run.totals["clock"]) and run.totals["integral"] >= 0, "time lost"
    blocked = any(member.rules.batching == "blocks" for member in members)  # Splitwise's rules may wait for ever
    moving = run.jobs["site"][run.jobs["status"] == MOVING]  # so may those who wait for each other's memory
    assert blocked or len(set(moving)) > 1 or run.reason != "stuck", "requests wait at idle replicas for ever"
    longest = np.array([member.rules.longest for member in members])[run.jobs["site"]]
    wanted = np.minimum(case.drawn.sizes, longest - case.drawn.work["prompt"])
    begun = run.jobs["generated"] > 0
    assert forgets or (run.jobs["generated"] <= wanted)[begun].all(), "tokens that nobody asked for"
    if run.reason != "drained":
        return
    assert run.done.all(), "drained, but somebody is not done"
    assert forgets or (run.jobs["generated"] == wanted).all(), "tokens missing"
    assert (run.jobs["blocks"] == 0).all(), "blocks kept"
    assert (run.outcome["scheduled"] >= run.jobs["arrival"]).all(), "served before it came"
    assert (run.outcome["first_token"] >= run.outcome["scheduled"]).all(), "a token before the start"
    assert (run.outcome["completion"] >= run.outcome["first_token"]).all(), "done before the first token"
    assert len(case.drawn.truth["vanishing"]) or run.totals["lost"] == 0, "lost, but nobody vanished"
    if run.totals["lost"] == run.totals["migrations"] == 0:
        moved = first != run.jobs["site"]
        moves = run.totals["transfers"] - moved.sum()
        again = (run.outcome["recomputed"] > 0).any()  # who is read once more may go on once more
        assert moves == 0 or (again and moves > 0), "transfers are not those who moved"
        bytes_each = np.array([member.profile.kv_bytes_per_token for member in members])[first]
        sent, spared = (bytes_each * case.drawn.work["prompt"])[moved].sum(), run.totals["spared_tokens"]
        least, most = sent - spared * bytes_each.max(initial=0.0), sent - spared * bytes_each.min(initial=0.0)
        bytes_moved = run.totals["transfer_bytes"]
        assert forgets or moves or least * (1 - 1e-9) <= bytes_moved <= most * (1 + 1e-9), "bytes lost"
    weighted = float((run.response_times * run.jobs["weight"]).sum())
    np.testing.assert_allclose(run.totals["integral"], weighted, rtol=1e-9, err_msg="the cost is not that of the times")
    if forgets or (wanted < case.drawn.sizes).any():
        return
    try:
        floor = case.fleet.bound(case.drawn)
    except NotApplicable:
        return
    assert run.response_times.mean() >= floor * (1 - 1e-9), f"mean below its floor of {floor:g} s"


def play(number: int, seed: int) -> str:
    """Play run `number`; return its kind and how it ended."""
    rng = np.random.default_rng([seed, number])
    kind, case = {0: PLAIN, 50: CACHED, 75: STEERED}.get(number % 100, WILD), None
    _jit._FAILURES.clear()  # where two functions failed in the run before, one is still there
    try:
        case = draw_case(rng, kind)
        ended = check(case, twice=number % 10 == 1)
        if kind != WILD:
            sys.path[:0] = [str(TESTS)] * (str(TESTS) not in sys.path)
            import test_fleet_reference

            agree = test_fleet_reference.agree if kind in SLOW else test_fleet_reference.agree_one_by_one
            agree(case)
    except BadInput as error:
        return f"refused, {' '.join(str(error).split()[:3])} ..."
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} {error}, in {case}") from error
    HAD.update(case.features)
    REFUSED.update(case.refused)
    return f"{kind}: {ended}"


def compile_loops() -> None:
    """Compile all but the functions of policies, each of which is compiled once: wild ones read no globals."""
    _jit.pointer = cache(_jit.pointer)
    check(draw_case(np.random.default_rng(0), PLAIN))


if __name__ == "__main__":
    compile_loops()
    sys.exit(main(__doc__.splitlines()[0], play, OUT))
