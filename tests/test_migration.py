"""Requests that move between replicas: who moves, when, at what price, and that nothing is lost."""

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.fleet import Fleet

SECONDS = 1 / 64


def served(arrivals, prompts, outputs, kv_tokens=1600, **options):
    """Return the run of two replicas of constant iterations to which requests go in turn."""
    numbers = np.array([0.0, SECONDS, 0.0, 0.0, 0.0])
    constant = Profile("constant", "", "", "roofline", numbers, kv_tokens, 1000.0, "a test")
    options = {"bandwidth": 1e9, "latency": 0.0, "migrate_every": 1 / 16, **options}
    fleet = Fleet(constant, "vllm-v1", replicas=2, **options)
    n = len(arrivals)
    truth = {"sizes": np.array(outputs), "refreshed": never_refreshed(n)}
    truth |= {"choices": np.zeros((n, 0), np.int64), "ties": np.zeros(n)}
    return fleet.simulate(
        Drawn(request_table(np.array(arrivals, float), np.array(prompts)), truth), Fleet.policies("round-robin")
    )


def test_the_request_that_was_admitted_last_moves_once_to_the_freer_replica():
    # In turn: two long ones go to the first replica, short ones that end after a token to the second.
    run = served([0.001, 0.002, 0.02, 0.021], [400, 16, 320, 16], [40, 1, 40, 1])
    assert run.totals["migrations"] == run.totals["transfers"] == 1
    assert run.jobs["site"].tolist() == [0, 1, 1, 1]
    # It stops for the transfer of its cache, then decodes on: iterations of the first replica begin at .001 and then
    # every 1/64 s; the look at 1/16 s falls into the fourth, after which request 2 has two tokens, and 321 in the
    # cache, of 1,000 bytes each at 1e9 bytes/s.
    leaves = 0.001 + 4 * SECONDS
    assert run.outcome["scheduled"][2] == pytest.approx(0.001 + 2 * SECONDS)
    held = 320 + 1
    made = 2
    assert run.totals["transfer_bytes"] == 1000.0 * held
    assert run.outcome["completion"][2] == pytest.approx(leaves + held * 1e-6 + (40 - made) * SECONDS)
    assert run.outcome["completion"][0] == pytest.approx(0.001 + 40 * SECONDS)
    assert run.jobs["longest_gap"][2] == pytest.approx(SECONDS + held * 1e-6)


def test_nobody_moves_where_it_would_change_sides_or_leave_too_little():
    one = {"arrivals": [0.001, 0.002], "prompts": [400, 16], "outputs": [40, 1]}
    assert served(**one).totals["migrations"] == 0  # the only request of a replica
    both = {"arrivals": [0.001, 0.002, 0.02, 0.021], "prompts": [400, 16, 320, 16], "outputs": [40, 1, 40, 1]}
    assert served(**both, migrate_floor=90.0).totals["migrations"] == 0  # the target would last 79 iterations
    assert served(**both, migrate_every=0.0).totals["migrations"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_books_balance_where_requests_move(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 6))
    options = {"replicas": size, "migrate_every": 0.05, "order": str(rng.choice(["fcfs", "sprpt"]))}
    options |= {"profile": "a100-llama3-8b:kv_tokens=6000", "bandwidth": float(rng.choice([1e9, np.inf]))}
    options |= {"migrate_floor": float(rng.choice([0.0, 3.0])), "staleness": float(rng.choice([0.0, 0.3]))}
    scenario = Scenario("fleet", rate=4.0 * size, n_jobs=400, max_tokens=3000, lengths="azure-conv", **options)
    run = scenario.simulate("random", seed)
    assert run.totals["migrations"] > 0 and run.totals["transfers"] == run.totals["migrations"]
    assert run.reason == "drained" and run.done.all()
    assert (run.jobs["generated"] == run.sizes).all() and (run.jobs["blocks"] == 0).all()
    assert (run.outcome["completion"] >= run.outcome["first_token"]).all()
    # A request computes each of its tokens once, and what it lost to preemption again; a move computes nothing.
    computed = run.totals["prefill_tokens"] + run.totals["decode_tokens"]
    assert computed == (run.jobs["prompt"] + run.sizes - 1).sum() + run.outcome["recomputed"].sum()


def test_what_cannot_move_is_refused():
    with pytest.raises(BadInput, match="batching=blocks, in which nobody moves"):
        Fleet(rules="splitwise", migrate_every=0.05)
    with pytest.raises(BadInput, match="batching=turns, in which nobody moves"):
        Fleet(rules="distserve", migrate_every=0.05)
    with pytest.raises(BadInput, match="asynchronous"):
        Fleet(rules="vllm-v1:asynchronous=true", migrate_every=0.05)
    with pytest.raises(BadInput, match="never let go"):
        Fleet(rules="static", migrate_every=0.05)
    with pytest.raises(BadInput, match="migrate_every"):
        Fleet(migrate_every=-1.0)
