"""Policies compared on the same work: ranks, intervals, words, pictures; in Python and on the command line."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.special import ndtri

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bootstrap import interval, rank_interval, resample
from llmqueue_gym.evaluation.compare import compare, latencies
from llmqueue_gym.evaluation.metrics import WORDS
from llmqueue_gym.evaluation.paired import ratio_of_means, sentence, winner
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.requests import request_table
from llmqueue_gym.systems import SYSTEMS, Scenario


class Fixed:
    """A workload that is one given table: requests that differ in their outputs alone, where only the order counts."""

    def __init__(self, n, load, seed=1):
        rng = np.random.default_rng(seed)
        self.outputs = 1 + rng.geometric(1 / 20, n)
        self.requests = request_table(np.cumsum(rng.exponential(self.outputs.mean() / (8 * load), n)), 4)

    def sample(self, n, arrival_rng, length_rng):
        return self.requests[:n].copy(), self.outputs[:n].copy()

    def output_sample(self):
        return self.outputs


def eight_seats(n=2000, load=0.9, **more):
    fields = {"profile": "unit", "rules": "vllm-v1:max_seqs=8", "n_requests": n, "workload": Fixed(n, load), **more}
    return Scenario("replica", **fields)


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


POLICIES = {
    "mg1": ["sprpt", "srpt"],
    "monitored": ["trust-until-alarm", "blend"],
    "central": ["sprpt", "las"],
    "dispatch": ["join-shortest-queue", "power-of-d:d=2"],
    "packing": ["first-fit", "server-filling"],
    "predict": ["skip-predict", "sprpt-paid"],
    "moldable": ["equal-share", "finish-soonest"],
    "model-choice": ["cascade", "budgeted"],
    "replica": ["sjf", "trail"],
    "programs": ["program-srpt", "sprpt"],
}


@pytest.mark.parametrize("kind", [SYSTEMS.builder(name) for name in SYSTEMS], ids=lambda kind: kind.name)
def test_policies_of_any_system_are_compared(kind):
    names = POLICIES.get(kind.name, [])
    rate = {"load": 0.6} if kind.name != "replica" else {"load": None, "rate": 5.0}
    scenario = Scenario(kind.name, n_jobs=1200, **rate)
    found = compare(scenario, names, seed=3, warmup=0.1)
    rows = {row["policy"]: row for row in found["policies"]}
    assert found["base"] == kind.base and set(rows) == {kind.base, *names}
    metric = latencies(scenario.system)[found["metric"]]
    for name, row in rows.items():
        values = metric(scenario.simulate(name, 3))[120:]
        assert row["mean"]["mean"] == pytest.approx(float(np.mean(values)))
        assert row.get("over_floor", 1) >= 1 - 1e-9
    assert min(rows.values(), key=lambda row: row["mean"]["mean"])["mean_rank"]["rank"] == 1


def test_where_jobs_are_lost_it_is_their_share_that_counts():
    scenario = Scenario("central", servers=4, patience="exponential", load=1.4, n_jobs=8000)
    found = compare(scenario, ["spjf"])
    rows = {row["policy"]: row for row in found["policies"]}
    lost = {name: 1 - scenario.simulate(name).done.mean() for name in rows}
    assert {name: row["mean"]["mean"] for name, row in rows.items()} == pytest.approx(lost)
    assert list(found["winner"]) == ["mean"] and "share of jobs lost: spjf wins with 0." in found["conclusion"]
    nobody = compare(replace(scenario, load=0.01, n_jobs=200), ["spjf"])  # nobody is lost, so there is no ratio
    assert "nothing that differs" in nobody["conclusion"]


def test_paired_intervals_are_far_narrower():
    found = compare(Scenario("replica", load=0.8, n_requests=1000), ["vllm-priority"])
    row = next(row for row in found["policies"] if row["policy"] != "fcfs")
    alone, apart = row["mean"], row["difference_to_fcfs"]
    assert 10 * (apart["high"] - apart["low"]) < alone["high"] - alone["low"]


def test_ratios_stay_above_0_and_turn_round():
    rng = np.random.default_rng(2)
    heavy, of_mean = rng.pareto(1.5, 400), partial(cautious_batch_means, warmup=0)
    ratio, other = (ratio_of_means(*pair, of_mean) for pair in ((heavy / 50, heavy[::-1]), (heavy[::-1], heavy / 50)))
    assert 0 < ratio["low"] < ratio["mean"] < ratio["high"]
    assert [1 / other[key] for key in ("mean", "high", "low")] == pytest.approx(list(ratio.values()))
    assert ratio_of_means(heavy, heavy, of_mean) == {"mean": 1, "low": 1, "high": 1}


def test_too_few_requests_have_no_intervals():
    found = compare(eight_seats(60), ["sjf"])
    row = found["policies"][0]
    assert np.isnan(row["p99"]["low"]) and (row["mean_rank"]["low"], row["mean_rank"]["high"]) == (1, 2)
    assert "no clear winner" in found["conclusion"] or "nothing that differs" in found["conclusion"]


def test_who_leaves_requests_undone_has_no_rank():
    scenario = eight_seats(500)
    end = scenario.simulate("fcfs").totals["clock"]
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


def test_resampled_intervals():
    rng = np.random.default_rng(5)
    first = rng.exponential(size=3000)
    drawn = resample({"a": first, "b": first + 0.05})
    low, high = interval(drawn.mean[..., 0], drawn.counts)
    assert low < 1 < high and high - low < 0.15  # the standard error is 1 / sqrt(3000) = 0.018
    low, high = interval(drawn.p99[..., 0], drawn.counts)
    assert low < -np.log(0.01) < high
    assert rank_interval(drawn.mean, 0, drawn.counts) == (1, 1) and rank_interval(drawn.p99, 1, drawn.counts) == (2, 2)


def test_a_resampled_interval_is_students_where_the_statistic_is_a_mean():
    resampled = ndtri((np.arange(20_000) + 0.5) / 20_000) * np.sqrt(9 / 10)  # of 10 batches, in standard errors
    assert interval(resampled[None], (10,)) == pytest.approx((-2.2622, 2.2622), rel=1e-3)
    wider = np.array([resampled, 3 * resampled + 1])
    assert interval(wider, (10, 10)) == pytest.approx((1 - 3 * 2.2622, 1 + 3 * 2.2622), rel=1e-3)


@pytest.mark.parametrize(("kind", "point"), [("mean", np.mean), ("p99", partial(np.percentile, q=99))])
def test_the_winner_is_ahead_by_the_ratio_of_what_is_compared(kind, point):
    first = np.random.default_rng(5).exponential(size=3000)
    values = {"b": 1.5 * first, "a": first, "same": first * (1 + 1e-12)}
    found = winner(kind, values, values, resample(values), cautious_batch_means)
    assert (found["policy"], found["same"], found["ties"], found["clear"]) == ("a", ["same"], [], True)
    assert list(found["over"]) == ["b"] and found["over"]["b"]["mean"] == pytest.approx(1 / 1.5)
    assert found["over"]["b"]["low"] <= 1 / 1.5 + 1e-9 and found["over"]["b"]["high"] >= 1 / 1.5 - 1e-9
    assert found["values"] == {name: pytest.approx(point(values[name])) for name in values}


@pytest.mark.parametrize(("ties", "more"), [(["b"], ""), (["b", "c"], ", and 1 more cannot be told from it")])
def test_who_cannot_be_told_from_the_winner_is_counted(ties, more):
    over = {name: {"mean": 0.98, "low": 0.95, "high": 1.01} for name in "bc"}
    found = {"policy": "a", "values": {"a": 2.0}, "same": [], "ties": ties, "over": over, "clear": False}
    words = "no clear winner, a is least with 2 s, 2 % below b (95 % interval -1 to 5 %)"
    assert sentence("mean", "e2e", found) == f"mean {WORDS['e2e']}: {words}{more}"


PLACES = ("mean_over_fcfs", "p99_over_fcfs")


def test_labels_of_a_picture_stay_apart():
    pytest.importorskip("matplotlib")
    from llmqueue_gym.evaluation.plot import draw_comparison

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


# On the command line.


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "trace.csv"
    rows = "".join(f"{k / 4},{40 + k % 7},{1 + k % 30}\n" for k in range(200))
    path.write_text(f"arrival_s,prompt_tokens,output_tokens\n{rows}")
    return path


def test_a_replica_is_compared_where_nothing_else_is_said(run, run_json, tmp_path):
    pytest.importorskip("matplotlib")
    options = (
        "--policies sjf,srpt --profile unit --rules vllm-v1:max_seqs=8 --load 0.9 --lengths constant --requests 300"
    )
    picture = tmp_path / "compared.svg"
    found = run_json(f"compare {options} --plot {picture}")
    assert {row["policy"] for row in found["policies"]} == {"fcfs", "sjf", "srpt"} and found["load"] == 0.9
    assert found["provenance"]["seeds"] == [0] and picture.read_text().count("<svg") == 1
    status, out, err = run("compare", *options.split(), "--ttft-slo", 60)
    assert (status, err) == (0, "") and "over fcfs" in out and "goodput" in out and "max_seqs=8" in out
    assert out.splitlines()[-1].startswith("By mean end-to-end time: ")


def test_queues_are_compared_on_the_command_line(run, run_json, tmp_path):
    pytest.importorskip("matplotlib")
    found = run_json("compare --policies sprpt,las --servers 3 --load .8 --jobs 3000")
    assert found["system"] == "central" and found["base"] == "fcfs" and found["metric"] == "response_time"
    picture = tmp_path / "queues.svg"
    options = f"compare dispatch --policies join-shortest-queue --servers 4 --jobs 2000 --plot {picture}"
    status, out, err = run(*options.split())
    assert (status, err) == (0, "") and "over random" in out and "dispatch; servers=4, order=sprpt" in out
    assert "By mean response time: join-shortest-queue wins" in out and "<svg" in picture.read_text()
    options = "--policies spjf --patience exponential --load 1.3 --servers 5 --jobs 4000"
    status, out, err = run("compare", *options.split())
    assert (status, err) == (0, "") and out.splitlines()[-1].startswith("By mean share of jobs lost: ")


@pytest.mark.parametrize("metric", latencies(Scenario("replica", rate=1).system))
def test_any_latency_can_be_compared(run, trace, metric):
    options = f"--profile unit --rules vllm-v1:max_seqs=8 --rate 0.4 --trace {trace} --metric {metric}"
    status, out, _ = run("compare", "--policies", "sjf", *options.split())
    assert status == 0 and f"By mean {WORDS[metric]}" in out


def test_a_comma_may_part_policies_or_their_parameters(run_json, trace):
    options = f"--profile unit --rules vllm-v1:max_seqs=64 --trace {trace}"
    found = run_json(f"compare {options} --policies", "trail:c=0.5,fcfs, sjf")
    assert {row["policy"] for row in found["policies"]} == {"trail:c=0.5", "fcfs", "sjf"}
    every = run_json(f"compare {options} --policies all --max-tokens 60")
    assert {row["policy"] for row in every["policies"]} == set(SERVING_POLICIES)


WRONG = [
    ("--policies fcfs,sfj", "did you mean 'sjf'?"),
    ("--policies ,", "has an empty name"),
    ("--policies sjf,sjf", "'sjf' is named twice"),
    ("--servers 3", "--policies is missing; for example fcfs"),
    ("--servers 3 --policies sjf,trail", "is a serving policy: add --profile"),
    ("--servers 3 --profile unit", "exclude one another"),
    ("--metric e2", "'e2e'"),
    ("mg1 --policies sprpt --metric ttft", "choose from: response_time, slowdown, wait"),
    ("--plot x.gif", ".png, .svg, .pdf"),
    ("--plot /nowhere/x.png", "no such folder"),
    ("--policies spjf --patience exponential --plot x.png", "no p99 to draw"),
    ("--load 2", "unstable"),
    ("--profile unit --trace {trace} --rules vllm-v1:horizon=3", "left requests undone"),
    ("centrl", "did you mean 'central'?"),
]


@pytest.mark.parametrize("options, told", WRONG, ids=[options for options, _ in WRONG])
def test_wrong_input_is_told_in_one_line(refused, trace, options, told):
    assert told in refused(f"compare {options}".format(trace=trace))
