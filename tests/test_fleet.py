"""Fleets against what they have to be: a replica alone, the queue engine's dispatch, a tandem, and balanced books."""

import numpy as np
import pytest

from llmqueue_gym.evaluation.serving import measure
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.jobs import job_table
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.dispatch import Dispatch
from llmqueue_gym.systems.fleet import Fleet


def constant(seconds, per_token=0.0, kv_tokens=10**6):
    """A replica whose iterations take a constant time, and a time for each token."""
    numbers = np.array([0.0, seconds, per_token, 0.0, 0.0])
    return Profile("constant", "", "", "roofline", numbers, kv_tokens, 1.0, "a test")


@pytest.mark.parametrize(
    ("rules", "order"),
    [*((rules, order) for rules in ("vllm-v1", "sarathi") for order in ("fcfs", "trail", "ltr")), ("sglang", "fcfs")],
)
def test_a_fleet_of_one_is_the_replica(rules, order):
    given = {
        "profile": "a100-llama3-8b:kv_tokens=16000",
        "rate": 5.0,
        "n_jobs": 400,
        "max_tokens": 4096,
        "rules": rules,
    }
    alone = Scenario("replica", **given).simulate(order, 2)
    one = Scenario("fleet", replicas=1, order=order, **given).simulate("least-outstanding", 2)
    for name in alone.outcome.dtype.names:
        np.testing.assert_array_equal(one.outcome[name], alone.outcome[name])
    for name in ("generated", "preemptions", "longest_gap", "note"):
        np.testing.assert_array_equal(one.jobs[name], alone.jobs[name])
    assert one.totals["iterations"] == alone.totals["iterations"]
    # Sums over requests and over events differ in the last digits.
    wanted, found = ({**measure(run), "mean_in_system": 0.0} for run in (alone, one))
    assert all(repr(found[name]) == repr(wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    "later",
    [
        {"controller": "utilisation", "tick": 60.0},
        {"spot": 0.02},  # h; who vanished starts anew after 155 s
        {"migrate_every": 7.0},
        {"cut_off": 10.0},
        {"rules": "splitwise"},  # which end at a day
        {"rules": "splitwise", "prefill": 1},
    ],
)
def test_a_fleet_ends_with_its_last_request_and_is_paid_until_then(later):
    run = Scenario("fleet", replicas=2, rate=3.0, n_jobs=60, **later).simulate("least-outstanding", 1)
    last = run.outcome["completion"].max()
    assert run.done.all() and run.reason == "drained" and run.totals["clock"] == last
    assert run.totals["on_time"] <= 2 * last * (1 + 1e-12)


def test_clients_who_wait_find_the_replica_in_a_fleet_of_one():
    given = {"concurrency": 8, "n_jobs": 200, "max_tokens": 4096}
    alone = Scenario("replica", **given).simulate("fcfs", 2)
    one = Scenario("fleet", replicas=1, **given).simulate("round-robin", 2)
    np.testing.assert_array_equal(one.outcome["completion"], alone.outcome["completion"])


@pytest.mark.parametrize(
    ("router", "dispatcher"),
    [("least-outstanding", "join-shortest-queue"), ("power-of-d", "power-of-d:d=2"), ("round-robin", "round-robin")],
)
def test_replicas_with_one_seat_are_the_queues_of_dispatch(router, dispatcher):
    n, queues, seconds = 3000, 4, 1 / 64
    rng = np.random.default_rng(5)
    outputs = rng.geometric(1 / 20, n)
    arrivals = np.cumsum(rng.exponential(20 * seconds / queues / 0.85, n))
    fleet = Fleet(constant(seconds), "vllm-v1:max_seqs=1", replicas=queues)
    policy = Fleet.policies(router)
    choices, ties = policy.choices(n, queues, np.random.default_rng(7)), np.random.default_rng(8).random(n)
    drawn = {"sizes": outputs, "refreshed": never_refreshed(n), "choices": choices, "ties": ties}
    served = fleet.simulate(Drawn(request_table(arrivals, 1), drawn), policy)
    # The prompt of one token and the first output are one iteration.
    jobs = job_table(arrivals, outputs * seconds)
    truth = {"sizes": outputs * seconds, "choices": choices, "ties": ties}
    if router == "round-robin":
        truth["choices"] = np.arange(n)[:, None] % queues
    sent = Dispatch(servers=queues, order="fcfs").simulate(Drawn(jobs, truth), Dispatch.policies(dispatcher))
    np.testing.assert_allclose(served.outcome["completion"], sent.outcome["completion"], rtol=1e-9)
    np.testing.assert_array_equal(served.jobs["site"], sent.jobs["site"])


def test_prefill_and_decode_are_two_queues_in_tandem():
    # The work of each is nearly exponential: many tokens, each of a time that is small beside their sum.
    n, mean, seconds = 60_000, 400, 1 / 400
    rng = np.random.default_rng(3)
    prompts, outputs = (np.ceil(rng.exponential(mean, n)).astype(int) for _ in range(2))
    lam, mu = 0.7, 1.0
    arrivals = np.cumsum(rng.exponential(1 / lam, n))
    profile = constant(1e-9, seconds, kv_tokens=10**9)  # a token takes its time, whether it is read or made
    fleet = Fleet(
        profile, "vllm-v1:max_seqs=1,token_budget=1000000", replicas=2, prefill=1, latency=0.0, bandwidth=np.inf
    )
    drawn = {"sizes": outputs + 1, "refreshed": never_refreshed(n), "choices": np.zeros((n, 0), np.int64)}
    drawn["ties"] = np.zeros(n)
    served = fleet.simulate(Drawn(request_table(arrivals, prompts), drawn), Fleet.policies("round-robin"))
    assert served.done.all() and served.totals["transfers"] == n
    found = cautious_batch_means(served.response_times, warmup=0.1)
    wanted = 2 / (mu - lam)
    # Whole tokens make the mean work 1/800 longer.
    assert found.low < wanted * 1.01 and wanted * 0.99 < found.high
    reads = served.outcome["first_token"] - served.jobs["arrival"]
    assert reads.mean() == pytest.approx(1 / (mu - lam), rel=0.1)


@pytest.mark.parametrize("router", list(Fleet.policies))
def test_books_balance_in_small_fleets(router):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(2, 6))
        fleet = {
            "replicas": size,
            "prefill": int(rng.integers(0, size)),
            "order": str(rng.choice(["fcfs", "sprpt", "ltr"])),
        }
        fleet |= {"staleness": float(rng.choice([0.0, 0.3])), "local_below": int(rng.choice([0, 100]))}
        fleet |= {"profile": "a100-llama3-8b:kv_tokens=6000", "bandwidth": float(rng.choice([1e9, np.inf]))}
        scenario = Scenario("fleet", rate=6.0 * size, n_jobs=300, max_tokens=3000, lengths="azure-conv", **fleet)
        run = scenario.simulate(router, seed)
        assert run.reason == "drained" and run.done.all()
        assert (run.jobs["generated"] == run.sizes).all() and (run.jobs["blocks"] == 0).all()
        assert (run.outcome["completion"] >= run.outcome["first_token"]).all()
        assert (run.outcome["first_token"] > run.jobs["arrival"]).all()
        assert run.response_times.mean() >= scenario.bound(seed)
