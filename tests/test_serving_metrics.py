"""Metrics of serving and capacity, against sums by hand, Little's law and rates that rules fix."""

from dataclasses import replace

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.energy import LIFE
from llmqueue_gym.evaluation.metrics import WORDS
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving import LATENCIES, SERVING_METRICS, measure, per_request, serve
from llmqueue_gym.profiles import Power, profile
from llmqueue_gym.requests import Requests, never_refreshed, request_table
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.capacity import capacity, keeps_up, recorded_rate, repeated, stretched
from llmqueue_gym.systems.serve import as_drawn
from llmqueue_gym.workloads.requests import RequestWorkload

# Every iteration takes 1 s. A: prompt read in [0, 1], then two more tokens until 3. B waits for the iteration at 1 and
# is done with its only token at 2. C: from 10 to 12.
UNIT = replace(
    profile("unit:kv_tokens=160"),
    power=Power(idle=10, prefill=100, decode=50),
    price_per_hour=3.6,
    embodied_kg=LIFE / 1e6,
    kv_bytes_per_token=2,
)


def three(klass=(0, 1, 0)):
    requests = request_table(np.array([0, 0.5, 10.0]), np.array([10, 10, 5]), klass=np.array(klass))
    outputs = np.array([3, 1, 2])
    for column in ("predicted", "first_predicted", "lower", "upper"):
        requests[column] = outputs
    return Requests(requests, outputs, never_refreshed(3))


# Metrics.


def test_latencies_by_hand():
    found = per_request(serve(three(), "fcfs", UNIT))
    expected = {
        "wait": [0, 0.5, 0],
        "ttft": [1, 1.5, 1],
        "tpot": [1, np.nan, 1],
        "longest_gap": [1, np.nan, 1],
        "e2e": [3, 1.5, 2],
        "normalised_latency": [1, 1.5, 1],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name)
    later = np.array([2, 0, 1])
    np.testing.assert_allclose(found["e2e"], found["ttft"] + later * np.nan_to_num(found["tpot"]))


@pytest.mark.parametrize(("limit", "share"), [(1.9, 1 / 3), (2.0, 2 / 3), (9.0, 1.0)])
def test_an_objective_from_end_to_end(limit, share):
    run = serve(three(), "fcfs", UNIT)
    times = np.sort(per_request(run)["e2e"])
    found = measure(run, e2e_slo=limit)
    assert found["attainment"] == pytest.approx((times <= limit).mean()) == pytest.approx(share)
    assert found["goodput"] == pytest.approx((times <= limit).sum() / found["span"])
    assert found["e2e"]["p95"] == pytest.approx(np.percentile(times, 95))


def test_metrics_by_hand():
    found = measure(serve(three(), "fcfs", UNIT), ttft_slo=1, tpot_slo=1)
    assert (found["requests"], found["done"], found["reason"], found["truncated"]) == (3, 3, "drained", False)
    assert found["latencies_of"] == "all requests"
    assert found["ttft"]["mean"] == pytest.approx(3.5 / 3) and found["e2e"]["p50"] == 2
    assert found["tpot"] == {"mean": 1, "p50": 1, "p90": 1, "p95": 1, "p99": 1}  # B has no token after its first
    expected = {
        "span": 12,
        "requests_per_second": 3 / 12,
        "output_tokens_per_second": 6 / 12,
        "tokens_per_second": 31 / 12,
        "goodput": 2 / 12,  # B's first token comes after 1.5 s
        "attainment": 2 / 3,
        "mean_in_system": 6.5 / 12,
        "mean_batch": 6 / 5,  # B rides along in one of five iterations
        "kv_share": (11 + 12 + 6) / (160 * 12),  # the three decodes read 11, 12 and 6 tokens
        "most_kv_share": 2 / 10,  # a block of 16 each for A and B
        "preemptions": 0,
        "longest_wait": 0.5,
        "max_over_mean_e2e": 3 / (6.5 / 3),
        "class_ratio": 1.5,
        "jain_index": 2.5**2 / (2 * 3.25),
        "joules_per_output_token": (3 * 100 + 2 * 50 + 7 * 10) / 6,
        "idle_joules_per_output_token": 7 * 10 / 6,
        "dollars_per_million_output_tokens": 12 * 0.001 / 6 * 1e6,
        "grams_per_thousand_output_tokens": (470 / 3.6e6 * 1.1 * 429 + 0.012) / 0.006,
        "embodied_grams_per_thousand_output_tokens": 0.012 / 0.006,
        "busy_share": 5 / 12,
        "useful_share": 5 / 12,
        "hit_share": 0,  # there is no cache
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert set(expected) | {"preemptions_per_request", "recomputed_tokens", "swapped_bytes"} == set(SERVING_METRICS)
    assert measure(serve(three((0, 0, 0)), "fcfs", UNIT))["class_ratio"] == 1


def test_preemption_costs_by_hand():
    # Two blocks of 4 tokens: A and B fill them at 4 tokens each, so B has to go and is read again, or moved twice.
    requests = request_table(np.zeros(2), np.array([3, 3]))
    given = Requests(requests, np.array([4, 4]), never_refreshed(2))
    rules = {"block_size": 4, "blocks": 2}
    found = measure(serve(given, "fcfs", UNIT, **rules))
    assert found["preemptions"] == 1 and found["preemptions_per_request"] == 0.5 and found["swapped_bytes"] == 0
    assert found["recomputed_tokens"] == 4 and found["useful_share"] < found["busy_share"] == 1
    moved = measure(serve(given, "fcfs", UNIT, preemption="swap", bandwidth=16.0, **rules))
    assert moved["swapped_bytes"] == 2 * 4 * 2 and moved["recomputed_tokens"] == 0  # there and back, 8 bytes a block
    assert moved["busy_share"] - moved["useful_share"] == pytest.approx(2 * 0.5 / moved["span"])


def test_what_is_not_done_is_counted():
    served = serve(three(), "fcfs", UNIT, horizon=2.5)
    found = measure(served, ttft_slo=2)
    assert (found["reason"], found["truncated"], found["done"]) == ("horizon", True, 2)
    assert found["latencies_of"] == "completed requests only, 2 of 3"
    assert found["attainment"] == pytest.approx(2 / 3) and found["e2e"]["mean"] == pytest.approx(4.5 / 2)
    assert found["longest_wait"] == 0.5  # C has not even come
    alone = measure(serve(three(), "fcfs", UNIT, horizon=1.5, max_seqs=1))
    assert alone["longest_wait"] == 1.5 and alone["done"] == 0  # B waits from 0.5 to the end at 2
    assert np.isnan(alone["e2e"]["mean"]) and plain(alone)["e2e"]["mean"] is None


def test_warm_up_leaves_out_the_first_requests():
    found = measure(serve(three(), "fcfs", UNIT), warmup=0.4)
    assert found["e2e"]["mean"] == pytest.approx(3.5 / 2) and found["span"] == 12


def test_littles_law():
    scenario = Scenario("replica", profile="unit", rules="vllm-v1:max_seqs=8", load=0.9, lengths=SHORT, n_requests=2000)
    found = measure(scenario.simulate("fcfs"))
    assert found["mean_in_system"] == pytest.approx(found["requests_per_second"] * found["e2e"]["mean"], rel=1e-9)


def test_objectives_are_checked():
    served = serve(three(), "fcfs", UNIT)
    for wrong in ({"ttft_slo": 0}, {"tpot_slo": -1}, {"warmup": 1}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            measure(served, **wrong)
    assert set(LATENCIES) <= set(WORDS)


# Capacity.

SHORT = "constant:prompt=20,output=10"
SEATS = Scenario("replica", lengths=SHORT, profile="unit", rules="vllm-v1:max_seqs=16", n_requests=1000)


def test_policies_meet_the_same_requests():
    scenario = Scenario("replica", n_requests=50, rate=2)
    plain_, told = scenario.draw(3, "fcfs"), scenario.draw(3, "srpt")
    np.testing.assert_array_equal(plain_.work["arrival"], told.work["arrival"])
    np.testing.assert_array_equal(plain_.sizes, told.sizes)
    np.testing.assert_array_equal(told.work["predicted"], told.sizes)  # srpt brings the exact predictor
    assert (plain_.work["predicted"] != plain_.sizes).any()
    slow = replace(scenario, rate=1).draw(3, "fcfs")
    np.testing.assert_allclose(slow.work["arrival"], 2 * plain_.work["arrival"])


def test_capacity_is_that_of_the_seats():
    # Each request needs 10 iterations of 1 s on one of 16 seats, and the budget is ample: 1.6 requests/s.
    found = capacity(SEATS)
    assert found == capacity(SEATS)
    assert found.rate == pytest.approx(1.6, rel=0.03) and found.backlog_rate == pytest.approx(1.6, rel=0.03)
    assert recorded_rate(replace(SEATS, load=0.5).draw(0).work) == pytest.approx(0.5 * found.rate)


@pytest.mark.parametrize("arrivals", ["poisson", "mmpp:ratio=8,period=400"])
def test_capacity_does_not_depend_on_bursts(arrivals):
    found = capacity(Scenario("replica", workload=RequestWorkload("azure-conv", 1.0, arrivals), n_requests=800))
    assert found.rate == pytest.approx(found.backlog_rate, rel=0.06)


def test_whether_it_keeps_up_is_seen_on_short_streams_too():
    given, most = replace(SEATS, n_requests=30, load=None, rate=1).draw(0, "fcfs"), 1.6
    rate = recorded_rate(given.work)
    assert keeps_up(given._replace(work=stretched(given.work, 0.95 * most / rate)), SEATS.system)
    assert not keeps_up(given._replace(work=stretched(given.work, 1.05 * most / rate)), SEATS.system)


def test_repeating_keeps_the_rate():
    given = as_drawn(three())
    twice = repeated(given, 2)
    np.testing.assert_allclose(np.diff(twice.work["arrival"]), [0.5, 9.5, 5, 0.5, 9.5])  # 5 s is the mean gap
    assert recorded_rate(twice.work) == pytest.approx(recorded_rate(given.work))


def test_requests_that_come_at_once_have_no_rate():
    with pytest.raises(BadInput, match="at one time"):
        capacity(Scenario("replica", workload=RequestWorkload("azure-conv", np.inf), n_requests=5))
