"""Requests: the same ones under every predictor; laws of lengths keep their means; the toy is solved by brute force."""

import pickle
from itertools import product

import numpy as np
import pytest
import solved_requests as solved
from recorded import recorded

from llmqueue_gym.columns import read_columns
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS, length_predictor
from llmqueue_gym.requests import REQUEST
from llmqueue_gym.workloads.contexts import of_blocks
from llmqueue_gym.workloads.requests import (
    LENGTHS,
    McSf,
    RequestWorkload,
    TraceRequests,
    draw_requests,
    length_law,
)
from llmqueue_gym.workloads.requests.lengths import LEVELS, MEASURED, Measured, tables
from llmqueue_gym.workloads.streams import streams
from llmqueue_gym.workloads.traces import Trace

MEANS = {  # file and mean prompt and output of its rows, tokens
    "azure-conv": ("azure2023_conv", 1154.7, 211.1),
    "azure-code": ("azure2023_code", 2047.8, 27.9),
    "mooncake-conv": ("mooncake_conversation", 12035.1, 342.6),
    "deepseek-r1": ("servegen_deepseek-r1_sampled", 1130.7, 2906.6),
    "sharegpt": ("sharegpt_8k_lengths", 2344.7, 435.6),
    "lmsys-arena": ("vtc_lmsys_arena", 136.3, 256.2),
}
MORE = ["lognormal:prompt=50,output=20,prompt_sigma=0,output_sigma=0.5", "constant:prompt=7,output=3"]


def rng(seed=1):
    return np.random.default_rng(seed)


def trace(rows=100):
    return Trace(np.arange(rows) * 2.0, np.arange(rows) % 50, np.arange(rows) % 20, "t", "", "")


@pytest.fixture(scope="module")
def length_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lengths") / "lengths.csv"
    path.write_text(
        "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n74,918,992,0.1\n0,5,5,0\n3,0,3,0\n"
    )
    return path


@pytest.fixture(params=[*LENGTHS, *MORE])
def law(request, length_file):
    return length_law(f"file:{length_file}" if request.param == "file" else request.param)


WORKLOADS = {
    "rate": RequestWorkload("azure-conv", rate=3.0),
    "bursts": RequestWorkload("sharegpt", rate=3.0, arrivals="mmpp:ratio=4,period=100", max_tokens=4096),
    "at once": RequestWorkload("constant", rate=np.inf),
    "trace": TraceRequests.from_trace(trace()),
    "trace at a rate": TraceRequests.from_trace(trace(), rate=5.0, order="bootstrap"),
    "mc-sf": McSf(),
    "mc-sf online": McSf(online=True),
    "toy": solved.RequestToy(),
}


@pytest.fixture(params=WORKLOADS)
def workload(request):
    return WORKLOADS[request.param]


# One seed, one run.


def test_each_table_is_drawn_from_the_stream_of_its_name(workload):
    given, bound = draw_requests(workload, "lognormal", 30, 4), length_predictor("lognormal")
    arrivals, lengths, predictions = streams(4, "arrivals", "sizes", "predictions")
    requests, outputs = workload.sample(30, arrivals, lengths)
    forecast = bound.bind(workload.output_sample()).predict(requests, outputs, predictions)
    np.testing.assert_array_equal(given.requests["arrival"], requests["arrival"])
    np.testing.assert_array_equal(given.requests["predicted"], forecast.predicted)


@pytest.mark.parametrize("spec", [name for name in LENGTH_PREDICTORS if name != "pairs"])
def test_another_predictor_sees_the_same_requests(workload, spec):
    if spec == "ranking" and isinstance(workload, RequestWorkload) and str(workload.lengths).startswith("constant"):
        spec = "lognormal"  # equal lengths have no order
    first, other = draw_requests(workload, "exact", 30, 4), draw_requests(workload, spec, 30, 4)
    for column in ("arrival", "prompt", "place", "weight"):
        np.testing.assert_array_equal(first.requests[column], other.requests[column])
    np.testing.assert_array_equal(first.outputs, other.outputs)
    for column in ("predicted", "first_predicted", "lower", "upper"):
        np.testing.assert_array_equal(first.requests[column], first.outputs)
        assert np.all(other.requests[column] >= 1)
    np.testing.assert_array_equal(other.requests["predicted"], other.requests["first_predicted"])
    assert len(other.refreshed.start) == len(other.outputs) + 1


def test_runs_have_their_form(workload):
    requests, outputs, *_ = draw_requests(workload, "exact", 30, 4)
    n = len(requests)
    assert 1 <= n <= 30 and requests.dtype == REQUEST and outputs.dtype == np.int64 and outputs.shape == (n,)
    assert np.all(np.diff(requests["arrival"]) >= 0) and requests["arrival"][0] >= 0
    assert requests["prompt"].min() >= 1 and outputs.min() >= 1
    again = draw_requests(workload, "exact", 30, 4)
    np.testing.assert_array_equal(again.requests, requests)
    np.testing.assert_array_equal(workload.output_sample(), workload.output_sample())
    assert workload.output_sample().min() >= 1
    if not isinstance(workload, solved.RequestToy):
        others = [draw_requests(workload, "exact", 30, seed).outputs.tolist() for seed in range(5, 9)]
        assert outputs.tolist() not in others or str(getattr(workload, "lengths", "")).startswith("constant")
    for n, seed, message in ((0, 1, "n=0"), (3, -1, "seed=-1")):
        with pytest.raises(BadInput, match=message):
            draw_requests(workload, "exact", n, seed)


def test_a_spec_is_bound_and_a_model_is_taken_as_it_is(workload):
    bound = length_predictor("none").bind(workload.output_sample())
    told = draw_requests(workload, "none", 5, 4).requests["predicted"]
    np.testing.assert_array_equal(told, draw_requests(workload, bound, 5, 4).requests["predicted"])
    np.testing.assert_allclose(told, workload.output_sample().mean())
    with pytest.raises(BadInput, match="before bind"):
        draw_requests(workload, length_predictor("none"), 5, 4)


# Laws of lengths.


def test_laws_draw_whole_tokens(law):
    prompts, outputs = law.sample(500, rng())
    for lengths in (prompts, outputs):
        assert lengths.shape == (500,) and lengths.dtype == np.int64 and lengths.min() >= 1
    np.testing.assert_array_equal(law.sample(500, rng())[0], prompts)
    assert str(length_law(str(law))) == str(law) and length_law(law) is law
    assert str(pickle.loads(pickle.dumps(law))) == str(law)


@pytest.mark.parametrize("name", MEASURED)
def test_tables_keep_the_means(name):
    _, prompt, output = MEANS[name]
    prompts, outputs = length_law(name).sample(400_000, rng())
    assert prompts.mean() == pytest.approx(prompt, rel=0.03)
    assert outputs.mean() == pytest.approx(output, rel=0.03)
    table = tables()[name]
    assert table.prompt.shape == (33,) == LEVELS.shape and table.output.shape == (8, 33)
    assert np.all(np.diff(LEVELS) > 0) and LEVELS[0] == 0 and LEVELS[-1] == 1
    assert np.all(np.diff(table.prompt) >= 0) and np.all(np.diff(table.output) >= 0)


@pytest.mark.parametrize("name", MEASURED)
def test_tables_agree_with_the_data(name):
    file, prompt, output = MEANS[name]
    path = recorded("traces", "data", f"{file}.csv.gz")
    true_prompts, true_outputs = (c.counts() for c in read_columns(path, ["prompt_tokens", "output_tokens"]))
    assert true_prompts.mean() == pytest.approx(prompt, abs=0.051)
    assert true_outputs.mean() == pytest.approx(output, abs=0.051)
    prompts, outputs = length_law(name).sample(200_000, rng())
    for drawn, true in ((prompts, true_prompts), (outputs, true_outputs)):
        assert drawn.std() == pytest.approx(true.std(), rel=0.06)
        assert drawn.max() <= true.max() * 1.001  # four digits
    # What ties the two together: the mean output of each eighth by prompt.
    order, true_order = np.argsort(prompts, kind="stable"), np.argsort(true_prompts, kind="stable")
    drawn = [part.mean() for part in np.array_split(outputs[order], 8)]
    true = [part.mean() for part in np.array_split(true_outputs[true_order], 8)]
    np.testing.assert_allclose(drawn, true, rtol=0.06)


def test_lognormal_keeps_its_means_and_its_correlation():
    law = length_law("lognormal:prompt=800,output=300,prompt_sigma=0.6,output_sigma=0.4,correlation=0.7")
    prompts, outputs = law.sample(200_000, rng())
    assert prompts.mean() == pytest.approx(800, rel=0.01) and outputs.mean() == pytest.approx(300, rel=0.01)
    assert np.corrcoef(np.log(prompts), np.log(outputs))[0, 1] == pytest.approx(0.7, abs=0.01)


def test_lengths_of_a_file(length_file):
    law = length_law(f"file:{length_file}")
    assert law.dropped == 1
    assert set(zip(*law.sample(100, rng()), strict=True)) == {(74, 918), (1, 5)}  # a prompt of 0 counts as 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("azure", "did you mean 'azure-"),
        ("lognormal:prompt=0", "prompt=0"),
        ("lognormal:output_sigma=-1", "output_sigma=-1"),
        ("lognormal:correlation=2", "correlation=2"),
        ("constant:output=0", "output=0"),
        ("file:none.csv", "cannot read none.csv"),
    ],
)
def test_bad_laws(spec, message):
    with pytest.raises(BadInput, match=message):
        length_law(spec)


def test_unknown_tables_and_empty_files(tmp_path):
    with pytest.raises(BadInput, match="unknown table"):
        Measured("azure")
    (tmp_path / "empty.csv").write_text("prompt_tokens,output_tokens\n3,0\n")
    with pytest.raises(BadInput, match="every row has 0 output tokens"):
        length_law(f"file:{tmp_path / 'empty.csv'}")


# Arrivals at a rate.


def test_requests_come_at_their_rate():
    requests, _ = RequestWorkload("constant", rate=4.0).sample(40_000, rng(), rng(2))
    assert 40_000 / requests["arrival"][-1] == pytest.approx(4, rel=0.03)
    requests, _ = RequestWorkload("constant", rate=np.inf).sample(10, rng(), rng(2))
    assert not requests["arrival"].any()


def test_lengths_and_arrivals_do_not_disturb_each_other():
    slow, fast = (RequestWorkload("azure-conv", rate=rate).sample(50, rng(), rng(2)) for rate in (1.0, 2.0))
    np.testing.assert_array_equal(slow[1], fast[1])
    np.testing.assert_allclose(slow[0]["arrival"], 2 * fast[0]["arrival"])
    other = RequestWorkload("sharegpt", rate=1.0).sample(50, rng(), rng(2))
    np.testing.assert_array_equal(slow[0]["arrival"], other[0]["arrival"])


def test_long_requests_are_drawn_again():
    free, bounded = RequestWorkload("azure-conv", 1.0), RequestWorkload("azure-conv", 1.0, max_tokens=2048)
    requests, outputs = bounded.sample(5000, rng(), rng(2))
    assert (requests["prompt"] + outputs).max() <= 2048
    prompts, free_outputs = (part for part in length_law("azure-conv").sample(5000, rng(2)))
    share = np.mean(prompts + free_outputs > 2048)
    assert bounded.redrawn_share == pytest.approx(share, abs=0.02) and free.redrawn_share == 0
    kept = prompts + free_outputs <= 2048
    np.testing.assert_array_equal(outputs[kept], free_outputs[kept])  # the others stay as they were
    with pytest.raises(BadInput, match="max_tokens=100: next to no request of constant"):
        RequestWorkload("constant", 1.0, max_tokens=100).sample(3, rng(), rng(2))


@pytest.mark.parametrize(("change", "message"), [({"rate": 0.0}, "rate=0"), ({"max_tokens": 1}, "max_tokens=1")])
def test_bad_request_workloads(change, message):
    with pytest.raises(BadInput, match=message):
        RequestWorkload(**{"lengths": "constant", "rate": 1.0, **change})


# Recorded requests.


def test_rows_that_cannot_be_served_are_counted():
    workload = TraceRequests(
        np.arange(5.0), np.array([0, 10, 10, 90, 95]), np.array([5, 0, 5, 10, 10]), order="first", max_tokens=100
    )
    assert (len(workload), workload.without_output, workload.too_long) == (3, 1, 1)
    requests, outputs = workload.sample(9, rng(), rng(2))
    np.testing.assert_array_equal(requests["prompt"], [1, 10, 90])
    np.testing.assert_array_equal(requests["arrival"], [0, 2, 3])
    np.testing.assert_array_equal(outputs, [5, 5, 10])
    np.testing.assert_array_equal(workload.output_sample(), [5, 5, 10])


def test_parts_of_a_trace_are_its_rows_in_order_with_what_they_share():
    work = TraceRequests.from_trace(trace(), order="first")
    early, late = work.part(0, 0.5), work.part(0.5, 1)
    assert len(early) == round(len(work) / 2) and len(early) + len(late) == len(work)
    np.testing.assert_array_equal(np.concatenate([early.times, late.times]), work.times)
    np.testing.assert_array_equal(np.concatenate([early.prompts, late.prompts]), work.prompts)
    contexts = of_blocks([[0, 1], [0, 2], [0, 1]], np.full(3, 4), 2)
    shared = TraceRequests(np.arange(3.0), np.full(3, 4), np.ones(3), contexts=contexts).part(1 / 3, 1)
    assert shared.contexts.segments["text"].tolist() == [0, 2, 0, 1]
    for begin, end in ((0.5, 0.5), (-0.1, 1), (0, 1.1)):
        with pytest.raises(BadInput, match="no part of"):
            work.part(begin, end)


def test_replay_keeps_rows_together_and_scales_the_rate():
    plain, twice = (TraceRequests.from_trace(trace(), rate_scale=scale) for scale in (1.0, 2.0))
    assert len(plain) == 95 and plain.without_output == 5
    requests, outputs = plain.sample(30, rng(), rng(2))
    np.testing.assert_array_equal(requests["arrival"] / 2, twice.sample(30, rng(), rng(2))[0]["arrival"])
    start = np.flatnonzero([np.array_equal(plain.outputs[i : i + 30], outputs) for i in range(66)])
    assert len(start)  # consecutive rows, with their own times
    np.testing.assert_array_equal(requests["arrival"], plain.times[start[0] : start[0] + 30] - plain.times[start[0]])
    starts = {plain.sample(30, rng(), rng(seed))[0]["prompt"][0] for seed in range(20)}
    assert len(starts) > 5
    first = TraceRequests.from_trace(trace(), order="first").sample(30, rng(), rng(2))
    np.testing.assert_array_equal(first[1], plain.outputs[:30])
    assert len(plain.sample(1000, rng(), rng(2))[1]) == 95


def test_recorded_lengths_at_a_rate():
    workload = TraceRequests.from_trace(trace(), rate=5.0)
    requests, outputs = workload.sample(30, rng(), rng(2))
    np.testing.assert_array_equal(outputs, TraceRequests.from_trace(trace()).sample(30, rng(), rng(2))[1])
    faster = TraceRequests.from_trace(trace(), rate=10.0).sample(30, rng(), rng(2))[0]
    np.testing.assert_allclose(requests["arrival"], 2 * faster["arrival"])
    many, outputs = TraceRequests.from_trace(trace(), rate=5.0, order="bootstrap").sample(20_000, rng(), rng(2))
    assert len(outputs) == 20_000 and 20_000 / many["arrival"][-1] == pytest.approx(5, rel=0.04)
    assert outputs.mean() == pytest.approx(workload.outputs.mean(), rel=0.03)
    pairs = set(zip(workload.prompts.tolist(), workload.outputs.tolist(), strict=True))
    assert set(zip(many["prompt"].tolist(), outputs.tolist(), strict=True)) <= pairs  # prompt and output stay together
    assert not TraceRequests.from_trace(trace(), rate=np.inf).sample(9, rng(), rng(2))[0]["arrival"].any()
    replayed = TraceRequests.from_trace(trace(), order="bootstrap").sample(30, rng(), rng(2))[0]["arrival"]
    assert replayed[0] == 0 and np.all(np.diff(replayed) >= 2)


def test_a_file_as_a_workload(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n1.5,374,44\n2.5,396,109\n")
    requests, outputs, *_ = draw_requests(TraceRequests.from_trace(path), "exact", 9, 0)
    np.testing.assert_array_equal(requests["arrival"], [0, 1])
    np.testing.assert_array_equal(outputs, [44, 109])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": []}, "lists of one length"),
        ({"times": [1.0, 0.0]}, "finite and sorted"),
        ({"rate_scale": 0.0}, "rate_scale=0"),
        ({"rate": -1.0}, "rate=-1"),
        ({"rate": 1.0, "rate_scale": 2.0}, "leave it 1"),
        ({"order": "windw"}, "did you mean 'window'"),
        ({"outputs": [0, 0]}, "no request is left: 2 without output$"),
        ({"max_tokens": 3}, "no request is left: 1 without output, 1 above 3 tokens"),
    ],
)
def test_bad_trace_requests(change, message):
    with pytest.raises(BadInput, match=message):
        TraceRequests(**{"times": [0.0, 1.0], "prompts": [4, 4], "outputs": [4, 0], **change})


# Instances of papers.


@pytest.mark.parametrize("online", [False, True])
def test_mc_sf_instances(online):
    memories, counts = set(), set()
    for seed in range(60):
        (requests, outputs, *_), memory = McSf(online).draw("exact", seed)
        memories.add(memory)
        counts.add(len(requests))
        assert requests["prompt"].min() >= 1 and requests["prompt"].max() <= 5
        assert outputs.min() >= 1 and (requests["prompt"] + outputs).max() <= memory
        assert requests["arrival"].max() <= (59 if online else 0)
        assert np.array_equal(requests["arrival"], np.floor(requests["arrival"]))
    assert memories <= set(range(30, 51)) and len(memories) > 12
    assert online or counts <= set(range(40, 61))
    assert not online or np.mean(list(counts)) == pytest.approx(50, abs=10)  # 50 rounds, 1 a round


def peak(starts, newest):
    """Most tokens held in any round when the toy's requests start at these times."""
    rounds = range(1, 13)
    plan = list(zip(starts, solved.PROMPTS, solved.OUTPUTS, strict=True))
    return max(sum(p + t - k - (not newest) for k, p, o in plan if k < t <= k + o) for t in rounds)


@pytest.mark.parametrize(("newest", "optimum"), [(True, solved.OPTIMUM), (False, solved.OPTIMUM_WITHOUT_NEWEST)])
def test_the_toy_optimum(newest, optimum):
    best = {}
    for starts in product(*(range(int(arrival), 10) for arrival in solved.ARRIVALS)):
        if peak(starts, newest) <= solved.MEMORY:
            best.setdefault(sum(np.add(starts, solved.OUTPUTS)) - sum(solved.ARRIVALS), []).append(starts)
    assert min(best) == optimum
    assert best[optimum] == [solved.STARTS["optimum"] if newest else (0, 0, 3, 2)]


def test_the_toy_schedules():
    for name, starts in solved.STARTS.items():
        assert peak(starts, newest=True) <= solved.MEMORY
        times = np.add(starts, solved.OUTPUTS) - solved.ARRIVALS
        np.testing.assert_array_equal(times, solved.RESPONSE_TIMES[name])
    assert scan(lambda i: (solved.ARRIVALS[i], i)) == solved.STARTS["fcfs"]
    assert scan(lambda i: (solved.OUTPUTS[i], i)) == solved.STARTS["mc-sf"]


def scan(order):
    """Start times when each round takes waiting requests in an order, up to the first that would not fit later on."""
    starts, now = {}, 0
    while len(starts) < 4:
        for i in sorted((i for i in range(4) if i not in starts and solved.ARRIVALS[i] <= now), key=order):
            tentative = [{**starts, i: now}.get(j, 99) for j in range(4)]  # 99: not at all
            if peak_until(tentative, 30) > solved.MEMORY:
                break
            starts[i] = now
        now += 1
    return tuple(starts[i] for i in range(4))


def peak_until(starts, last):
    plan = list(zip(starts, solved.PROMPTS, solved.OUTPUTS, strict=True))
    return max(sum(p + t - k for k, p, o in plan if k < t <= k + o) for t in range(1, last))


def test_the_toy_gives_fewer_on_request():
    requests, outputs, *_ = draw_requests(solved.RequestToy(), "exact", 2, 0)
    np.testing.assert_array_equal(requests["prompt"], [2, 2])
    np.testing.assert_array_equal(outputs, [2, 3])
