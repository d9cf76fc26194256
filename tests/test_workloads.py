"""Arrival processes keep their rate, workloads their load; the toy instance is solved again by brute force."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded
from scipy import stats
from solved_jobs import RESPONSE_TIMES, Toy

from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads import ARRIVALS, Poisson, TraceWorkload, Workload, arrival_process, load_trace
from llmqueue_gym.workloads.arrivals import MarkovModulated, Renewal, Replay
from llmqueue_gym.workloads.quantiles import azure_conv_gaps, azure_conv_sizes, ssjf_pairs

MORE = ["renewal:law=gamma:shape=0.5;mean=7", "renewal:law=deterministic", "mmpp:ratio=20,period=5", "mmpp:ratio=1"]


def rng(seed=1):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    times = np.cumsum(rng(4).gamma(0.5, 3.0, size=400))
    path.write_text(
        "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{t:.6f},10,{i + 1}\n" for i, t in enumerate(times))
    )
    return path


@pytest.fixture(params=[*ARRIVALS, *MORE])
def process(request, trace_file):
    return arrival_process(f"replay:{trace_file}" if request.param == "replay" else request.param)


@pytest.mark.parametrize("rate", [0.2, 30.0])
def test_arrivals_keep_their_rate(process, rate):
    n = 40_000
    times = process.times(n, rate, rng())
    assert times.shape == (n,) and times.dtype == np.float64
    assert times[0] >= 0 and np.all(np.diff(times) >= 0)
    # Spells of 100 s hold 3000 arrivals at rate 30, so few of them are seen: a wider tolerance there.
    assert n / times[-1] == pytest.approx(rate, rel=0.25 if isinstance(process, MarkovModulated) else 0.03)


def test_arrivals_are_reproducible(process):
    np.testing.assert_array_equal(process.times(50, 2.0, rng(3)), process.times(50, 2.0, rng(3)))
    assert process.times(1, 2.0, rng()).shape == (1,)
    assert pickle.loads(pickle.dumps(process)) == process
    assert arrival_process(process) is process


@pytest.mark.parametrize(("n", "rate", "message"), [(0, 1.0, "n=0"), (3, 0.0, "rate=0"), (3, np.inf, "rate=inf")])
def test_arrivals_refuse_bad_requests(process, n, rate, message):
    with pytest.raises(BadInput, match=message):
        process.times(n, rate, rng())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mmpp:ratio=0.5", "ratio=0.5"),
        ("mmpp:period=0", "period=0"),
        ("poison", "did you mean 'poisson'"),
        ("renewal:law=gama", "did you mean 'gamma'"),
        ("replay", "needs 'file'"),
        ("replay:none.csv", "cannot read none.csv"),
    ],
)
def test_bad_processes(spec, message):
    with pytest.raises(BadInput, match=message):
        arrival_process(spec)


@pytest.mark.parametrize("process", [Poisson(), MarkovModulated(ratio=1, period=3), Renewal("exponential")])
def test_poisson_gaps(process):
    gaps = np.diff(process.times(20_000, 5.0, rng(2)), prepend=0.0)
    assert stats.kstest(gaps * 5.0, "expon").pvalue > 1e-3


def test_renewal_gaps_follow_their_law():
    gaps = np.diff(Renewal("gamma:shape=0.5").times(20_000, 0.1, rng(2)), prepend=0.0)
    assert stats.kstest(gaps / 10, stats.gamma(0.5, scale=2).cdf).pvalue > 1e-3
    assert Renewal(azure_conv_gaps()).times(20_000, 3.0, rng(2))[-1] == pytest.approx(20_000 / 3, rel=0.03)


def test_mmpp_counts_have_the_known_variance():
    # Counts in a window t: variance / mean = 1 + (busy - calm)^2 (t - (1 - e^-2at) / 2a) / (4 a rate t), a = 1/period.
    rate, ratio, period, window = 2.0, 4.0, 10.0, 50.0
    times = MarkovModulated(ratio, period).times(1_000_000, rate, rng(0))
    counts = np.bincount((times / window).astype(int))[:-1]
    calm = 2 * rate / (1 + ratio)
    a = 1 / period
    spread = (calm * (ratio - 1)) ** 2 * (window - (1 - np.exp(-2 * a * window)) / (2 * a)) / (4 * a * rate * window)
    assert counts.var() / counts.mean() == pytest.approx(1 + spread, rel=0.05)
    assert rate == pytest.approx(counts.mean() / window, rel=0.02)


def test_replay_keeps_the_gaps_in_order_and_wraps(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,1,1\n1,1,1\n3,1,1\n9,1,1\n")
    gaps = np.diff(Replay(str(path)).times(8, 1 / 3, rng()), prepend=0.0)
    assert any(np.allclose(gaps, np.roll(np.tile([1, 2, 6], 3), shift)[:8]) for shift in range(3))
    path.write_text("arrival_s,prompt_tokens,output_tokens\n2,1,1\n2,1,1\n")
    with pytest.raises(BadInput, match="no gaps"):
        Replay(str(path))


# Workloads.


@given(load=st.floats(0.05, 3), mean=st.floats(0.01, 100))
def test_workload_has_its_load(load, mean):
    workload = Workload(size_law("exponential").scaled(mean), load)
    assert workload.rate * mean == pytest.approx(load)
    jobs, sizes = workload.sample(2000, rng(1), rng(2))
    assert jobs.shape == sizes.shape == (2000,)
    assert sizes.sum() / jobs["arrival"][-1] == pytest.approx(load, rel=0.2)
    assert np.all(jobs["predicted"] == 0) and np.all(sizes > 0)


def test_streams_are_separate():
    plain = Workload(size_law("exponential"), 0.8).sample(100, rng(1), rng(2))
    other_sizes = Workload(size_law("weibull:shape=0.5"), 0.8).sample(100, rng(1), rng(2))
    other_arrivals = Workload(size_law("exponential"), 0.8, arrival_process("mmpp")).sample(100, rng(1), rng(2))
    np.testing.assert_array_equal(plain.jobs["arrival"], other_sizes.jobs["arrival"])
    np.testing.assert_array_equal(plain.sizes, other_arrivals.sizes)


@pytest.mark.parametrize("load", [0.0, -1.0, np.inf, np.nan])
def test_bad_loads(load):
    with pytest.raises(BadInput, match="load="):
        Workload(size_law("exponential"), load)
    with pytest.raises(BadInput, match="load="):
        TraceWorkload([0.0, 1.0], [1.0, 1.0], load)


@pytest.mark.parametrize(
    "workload", [Workload(size_law("exponential"), 0.5), TraceWorkload([0.0, 1.0], [1.0, 1.0]), Toy()]
)
def test_workloads_refuse_no_jobs(workload):
    with pytest.raises(BadInput, match="n=0"):
        workload.sample(0, rng(), rng())


def test_trace_workload_replays_windows():
    arrivals, sizes = np.array([5.0, 6.0, 8.0, 8.0, 12.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    workload = TraceWorkload(arrivals, sizes)
    for n in (5, 9):  # the whole trace, whatever the streams
        jobs, truth = workload.sample(n, rng(n), rng())
        np.testing.assert_array_equal(jobs["arrival"], arrivals - 5)
        np.testing.assert_array_equal(truth, sizes)
    starts = set()
    for seed in range(40):
        jobs, truth = workload.sample(3, rng(seed), rng())
        start = int(truth[0]) - 1
        np.testing.assert_array_equal(truth, sizes[start : start + 3])
        np.testing.assert_array_equal(jobs["arrival"], arrivals[start : start + 3] - arrivals[start])
        starts.add(start)
    assert starts == {0, 1, 2}


def test_trace_workload_is_stretched_to_a_load(trace_file):
    workload = TraceWorkload.from_trace(load_trace(trace_file), seconds_per_token=0.02, load=0.7)
    jobs, sizes = workload.sample(10**6, rng(), rng())
    assert len(jobs) == 400 and sizes[3] == pytest.approx(0.08)
    assert sizes.sum() / (jobs["arrival"][-1] - jobs["arrival"][0]) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("arrivals", "sizes", "load", "message"),
    [
        ([], [], None, "not empty"),
        ([0.0, 1.0], [1.0], None, "one length"),
        ([1.0, 0.0], [1.0, 1.0], None, "sorted"),
        ([0.0, np.nan], [1.0, 1.0], None, "finite"),
        ([0.0, 1.0], [1.0, 0.0], None, "row 2: 0 must be positive"),
        ([2.0, 2.0], [1.0, 1.0], 0.5, "at one time"),
    ],
)
def test_bad_trace_workloads(arrivals, sizes, load, message):
    with pytest.raises(BadInput, match=message):
        TraceWorkload(arrivals, sizes, load)


def solve(jobs, sizes, key, preemptive):
    """Response times (n,) of whole-second jobs, one second at a time; key(i, remaining) ranks job i."""
    left, done, running = sizes.copy(), np.zeros(len(sizes)), None
    for now in range(100):
        here = [i for i in range(len(sizes)) if jobs["arrival"][i] <= now and left[i] > 0]
        if here and (preemptive or running not in here):
            running = min(here, key=lambda i: key(i, left[i]))
        if running in here:
            left[running] -= 1
            done[running] = now + 1
    return done - jobs["arrival"]


def test_toy_is_solved_right():
    jobs, sizes = Toy().sample(99, rng(), rng())
    rules = {
        "fcfs": (lambda i, left: jobs["arrival"][i], False),
        "sjf": (lambda i, left: sizes[i], False),
        "psjf": (lambda i, left: sizes[i], True),
        "srpt": (lambda i, left: left, True),
    }
    assert rules.keys() == RESPONSE_TIMES.keys()
    for name, (key, preemptive) in rules.items():
        np.testing.assert_array_equal(solve(jobs, sizes, key, preemptive), RESPONSE_TIMES[name])
    assert len(Toy().sample(3, rng(), rng()).jobs) == 3


# Embedded tables.


def test_azure_tables_are_laws_of_mean_one():
    for law, scv in ((azure_conv_sizes(), 0.595), (azure_conv_gaps(), 1.197)):
        assert law.mean == pytest.approx(1.0)
        assert law.moment(2) - 1 == pytest.approx(scv, rel=0.04)
        assert law.sample(1000, rng()).min() > 0


def test_ssjf_pairs_are_informative_and_calibrated():
    true, predicted = ssjf_pairs(200_000, rng())
    assert true.min() >= 1 and true.max() == 511 and np.all(true == true.round())
    assert true.mean() == pytest.approx(177.4, rel=0.01)
    for value in np.unique(predicted):
        assert true[predicted == value].mean() == pytest.approx(value, rel=0.03)
    assert len(np.unique(predicted)) == 5
    with pytest.raises(BadInput, match="n=0"):
        ssjf_pairs(0, rng())


def test_azure_tables_agree_with_the_trace():
    trace = load_trace(recorded("traces", "data", "azure2023_conv.csv.gz"))
    tokens = trace.output_tokens + rng().uniform(-0.5, 0.5, len(trace))  # the table's law is continuous
    for law, sample in ((azure_conv_sizes(), tokens), (azure_conv_gaps(), np.diff(trace.arrival_s))):
        assert stats.kstest(sample / sample.mean(), law.cdf).statistic < 0.01


def test_ssjf_table_agrees_with_the_file():
    path = recorded("traces", "data", "pred_ssjf_lmsys_vicuna13b.csv.gz")
    length, label = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1)).T
    true, predicted = ssjf_pairs(200_000, rng())
    for k, value in enumerate(np.unique(predicted)):
        assert (label == k).mean() == pytest.approx((predicted == value).mean(), abs=0.005)
        assert stats.ks_2samp(length[label == k], true[predicted == value]).statistic < 0.06
