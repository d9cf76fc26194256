"""Metrics of serving, capacity and comparisons, against sums by hand, Little's law and rates that rules fix."""

from dataclasses import replace

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving.closed_loop import serve
from llmqueue_gym.evaluation.serving.compare import WORDS, compare, ratio_of_means
from llmqueue_gym.evaluation.serving.metrics import LATENCIES, SERVING_METRICS, measure, per_request
from llmqueue_gym.evaluation.serving.redraw import interval, rank_interval, redraw
from llmqueue_gym.evaluation.serving.scenario import (
    ServingScenario,
    capacity,
    keeps_up,
    recorded_rate,
    repeated,
    stretched,
)
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.profiles import Power, profile
from llmqueue_gym.requests import Requests, never_refreshed, request_table
from llmqueue_gym.workloads.requests import RequestWorkload

# Every iteration takes 1 s. A: prompt read in [0, 1], then two more tokens until 3. B waits for the iteration at 1 and
# is done with its only token at 2. C: from 10 to 12.
UNIT = replace(
    profile("unit:kv_tokens=160"),
    power=Power(idle=10, prefill=100, decode=50),
    price_per_hour=3.6,
    kv_bytes_per_token=2,
)


def three(klass=(0, 1, 0)):
    requests = request_table(np.array([0, 0.5, 10.0]), np.array([10, 10, 5]), klass=np.array(klass))
    outputs = np.array([3, 1, 2])
    for column in ("predicted", "first_predicted", "lower", "upper"):
        requests[column] = outputs
    return Requests(requests, outputs, never_refreshed(3))


def busy(n=2000, load=0.9, seed=1):
    """Requests that differ in their outputs alone, for 8 seats and iterations of 1 s, where only the order counts."""
    rng = np.random.default_rng(seed)
    outputs = 1 + rng.geometric(1 / 20, n)
    requests = request_table(np.cumsum(rng.exponential(outputs.mean() / (8 * load), n)), 4)
    return Fixed(requests, outputs)


class Fixed:
    """A workload that is one given table."""

    def __init__(self, requests, outputs):
        self.requests, self.outputs = requests, outputs

    def sample(self, n, arrival_rng, length_rng):
        return self.requests[:n].copy(), self.outputs[:n].copy()

    def output_sample(self):
        return self.outputs


def eight_seats(n=2000, load=0.9, **changes):
    return ServingScenario(busy(n, load), profile="unit", rules="vllm-v1:max_seqs=8", n=n, **changes)


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


def test_metrics_by_hand():
    found = measure(serve(three(), "fcfs", UNIT), ttft_slo=1, tpot_slo=1)
    assert (found["requests"], found["done"], found["reason"], found["truncated"]) == (3, 3, "drained", False)
    assert found["latencies_of"] == "all requests"
    assert found["ttft"]["mean"] == pytest.approx(3.5 / 3) and found["e2e"]["p50"] == 2
    assert found["tpot"] == {"mean": 1, "p50": 1, "p90": 1, "p99": 1}  # B has no token after its first
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
        "dollars_per_million_output_tokens": 12 * 0.001 / 6 * 1e6,
        "busy_share": 5 / 12,
        "useful_share": 5 / 12,
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
    scenario = eight_seats()
    served = scenario.serve("fcfs")
    found = measure(served)
    assert found["mean_in_system"] == pytest.approx(found["requests_per_second"] * found["e2e"]["mean"], rel=1e-9)


def test_objectives_are_checked():
    served = serve(three(), "fcfs", UNIT)
    for wrong in ({"ttft_slo": 0}, {"tpot_slo": -1}, {"warmup": 1}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            measure(served, **wrong)
    assert set(WORDS) == set(LATENCIES)


# Scenario and capacity.


def test_policies_meet_the_same_requests():
    scenario = ServingScenario("azure-conv", n=50, rate_scale=2)
    plain_, told = scenario.draw("fcfs", 3), scenario.draw("srpt", 3)
    np.testing.assert_array_equal(plain_.requests["arrival"], told.requests["arrival"])
    np.testing.assert_array_equal(plain_.outputs, told.outputs)
    np.testing.assert_array_equal(told.requests["predicted"], told.outputs)  # srpt brings the exact predictor
    assert (plain_.requests["predicted"] != plain_.outputs).any()
    slow = replace(scenario, rate_scale=1.0).draw("fcfs", 3)
    np.testing.assert_allclose(slow.requests["arrival"], 2 * plain_.requests["arrival"])


def test_capacity_is_that_of_the_seats():
    # Each request needs 10 iterations of 1 s on one of 16 seats, and the budget is ample: 1.6 requests/s.
    scenario = ServingScenario("constant:prompt=20,output=10", profile="unit", rules="vllm-v1:max_seqs=16", n=1000)
    found = capacity(scenario)
    assert found == capacity(scenario)
    assert found.rate == pytest.approx(1.6, rel=0.03) and found.backlog_rate == pytest.approx(1.6, rel=0.03)
    assert found.rate == pytest.approx(found.rate_scale * recorded_rate(scenario.draw()), rel=1e-9)
    loaded = replace(scenario, load=0.5)
    assert recorded_rate(loaded.draw()) == pytest.approx(0.5 * found.rate)
    assert loaded.to_dict()["capacity"]["rate"] == found.rate


@pytest.mark.parametrize("arrivals", ["poisson", "mmpp:ratio=8,period=400"])
def test_capacity_does_not_depend_on_bursts(arrivals):
    workload = RequestWorkload("azure-conv", 1.0, arrivals)
    found = capacity(ServingScenario(workload, n=800))
    assert found.rate == pytest.approx(found.backlog_rate, rel=0.06)


def test_whether_it_keeps_up_is_seen_on_short_streams_too():
    scenario = ServingScenario("constant:prompt=20,output=10", profile="unit", rules="vllm-v1:max_seqs=16", n=30)
    given, most = scenario.draw(), 1.6
    rate = recorded_rate(given)
    assert keeps_up(stretched(given, 0.95 * most / rate), *scenario.replica)
    assert not keeps_up(stretched(given, 1.05 * most / rate), *scenario.replica)


def test_repeating_keeps_the_rate():
    given = three()
    twice = repeated(given, 2)
    np.testing.assert_allclose(np.diff(twice.requests["arrival"]), [0.5, 9.5, 5, 0.5, 9.5])  # 5 s is the mean gap
    assert recorded_rate(twice) == pytest.approx(recorded_rate(given))


def test_a_scenario_says_what_is_wrong():
    for wrong in ({"n": 0}, {"load": 0.0}, {"rate_scale": -1.0}, {"load": 0.5, "rate_scale": 2.0}, {"profile": "a"}):
        with pytest.raises(BadInput):
            ServingScenario(**wrong)
    with pytest.raises(BadInput, match="at one time"):
        capacity(ServingScenario(RequestWorkload("azure-conv", np.inf), n=5))


# Comparison.


def in_order_of_arrival(request, system, params):
    return request.arrival


def test_a_policy_against_itself():
    found = compare(eight_seats(1000), {"fcfs": "fcfs", "itself": in_order_of_arrival})
    itself = next(row for row in found["policies"] if row["policy"] == "itself")
    assert itself["difference_to_fcfs"] == {"mean": 0, "low": 0, "high": 0}
    assert itself["p99_over_fcfs"] == {"mean": 1, "low": 1, "high": 1}
    assert found["winner"]["mean"]["same"] == ["itself"] and not found["winner"]["mean"]["clear"]
    assert "nothing that differs" in found["conclusion"]


def test_the_shortest_first_wins_and_a_bound_does_not():
    found = compare(eight_seats(4000, predictor="lognormal:sigma=0.2"), ["sjf", "srpt"])
    rows = {row["policy"]: row for row in found["policies"]}
    assert set(rows) == {"fcfs", "sjf", "srpt"} and rows["srpt"]["told_truth"] and not rows["sjf"]["told_truth"]
    lead = found["winner"]["mean"]
    assert lead["policy"] == "sjf" and lead["clear"] and lead["over"]["fcfs"]["high"] < 1
    assert "mean end-to-end time: sjf wins" in found["conclusion"] and "srpt" not in found["conclusion"]
    assert rows["sjf"]["mean_over_fcfs"]["high"] < 1 and rows["fcfs"]["mean_rank"] == {"rank": 3, "low": 3, "high": 3}
    assert 1 <= rows["srpt"]["over_floor"] < rows["sjf"]["over_floor"] < rows["fcfs"]["over_floor"]
    for row in rows.values():
        assert row["mean"]["low"] < row["mean"]["mean"] < row["mean"]["high"]
        assert row["p99"]["low"] <= row["p99"]["mean"] <= row["p99"]["high"]


def test_paired_intervals_are_far_narrower():
    found = compare(ServingScenario("azure-conv", load=0.8, n=1000), ["vllm-priority"])
    row = next(row for row in found["policies"] if row["policy"] != "fcfs")
    alone, apart = row["mean"], row["difference_to_fcfs"]
    assert 10 * (apart["high"] - apart["low"]) < alone["high"] - alone["low"]


def test_ratios_stay_above_0_and_turn_round():
    rng = np.random.default_rng(2)
    heavy = rng.pareto(1.5, 400)
    ratio, other = ratio_of_means(heavy / 50, heavy[::-1]), ratio_of_means(heavy[::-1], heavy / 50)
    assert 0 < ratio["low"] < ratio["mean"] < ratio["high"]
    assert [1 / other[key] for key in ("mean", "high", "low")] == pytest.approx(list(ratio.values()))
    assert ratio_of_means(heavy, heavy) == {"mean": 1, "low": 1, "high": 1}


def test_too_few_requests_have_no_intervals():
    found = compare(eight_seats(60), ["sjf"])
    row = found["policies"][0]
    assert np.isnan(row["p99"]["low"]) and (row["mean_rank"]["low"], row["mean_rank"]["high"]) == (1, 2)
    assert "no clear winner" in found["conclusion"] or "nothing that differs" in found["conclusion"]


def test_who_leaves_requests_undone_has_no_rank():
    scenario = eight_seats(500)
    end = scenario.serve("fcfs").clock
    scenario = replace(scenario, rules=f"vllm-v1:max_seqs=8,horizon={end + 1}")
    found = compare(scenario, [ServingPolicy("one-seat", rules={"max_seqs": 1}), "sjf"])
    row = found["policies"][-1]
    assert row["policy"] == "one-seat" and "mean" not in row and "has no rank (horizon: " in row["note"]
    assert "one-seat" not in found["conclusion"] and found["policies"][0]["mean_rank"]["high"] <= 2


def test_comparisons_say_what_is_wrong():
    scenario = eight_seats(20)
    for policies, metric, told in (
        (["sfj"], "e2e", "did you mean 'sjf'"),
        (["sjf", "sjf"], "e2e", "named twice"),
        (["sjf"], "e2", "did you mean 'e2e'"),
    ):
        with pytest.raises(BadInput, match=told):
            compare(scenario, policies, metric=metric)
    with pytest.raises(BadInput, match="left requests undone"):
        compare(replace(scenario, rules="vllm-v1:horizon=1"), ["sjf"])


def test_redrawn_intervals():
    rng = np.random.default_rng(5)
    first = rng.exponential(size=3000)
    drawn = redraw({"a": first, "b": first + 0.05})
    low, high = interval(drawn.mean[..., 0], drawn.counts)
    assert low < 1 < high and high - low < 0.15  # the standard error is 1 / sqrt(3000) = 0.018
    low, high = interval(drawn.p99[..., 0], drawn.counts)
    assert low < -np.log(0.01) < high
    assert rank_interval(drawn.mean, 0, drawn.counts) == (1, 1) and rank_interval(drawn.p99, 1, drawn.counts) == (2, 2)


def test_labels_of_a_picture_stay_apart():
    pytest.importorskip("matplotlib")
    from llmqueue_gym.evaluation.serving.plot import draw_comparison

    found = compare(eight_seats(1500, predictor="lognormal:sigma=0.3"), ["sjf", "vllm-priority", "sjf-total", "srpt"])
    row = found["policies"][-1]
    for k in range(12):  # a cluster, and one that is far off
        place = 1 + 0.02 * (k % 4), 1.2 + 0.03 * (k // 4)
        near = {key: {"mean": x, "low": 0.9 * x, "high": 1.1 * x} for key, x in zip(PLACES, place, strict=True)}
        found["policies"].append({**row, "policy": f"policy-{k}", **near})
    far = {key: {"mean": 99.0, "low": 90.0, "high": 110.0} for key in PLACES}
    found["policies"].append({**row, "policy": "far-off", **far})
    figure = draw_comparison(found)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) >= 5
    for i, box in enumerate(boxes):
        assert not any(box.padded(-3).overlaps(other.padded(-3)) for other in boxes[:i])
    shown = ", ".join(text.get_text() for text in figure.axes[0].texts).replace("\u2011", "-").replace("\n", " ")
    for row in found["policies"][:-1]:
        assert row["policy"] in shown
    assert "far-off (99, 99)" in figure._supxlabel.get_text()


PLACES = ("mean_over_fcfs", "p99_over_fcfs")
