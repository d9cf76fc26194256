"""Every registered length predictor keeps its form; then what each of them claims, measured."""

import pickle

import numpy as np
import pytest
from recorded import recorded
from scipy.stats import kendalltau

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import PREDICTORS, predictor
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS, LengthPredictor, length_predictor
from llmqueue_gym.predictors.lengths.numbers import ssjf_tables
from llmqueue_gym.requests import request_table
from llmqueue_gym.workloads.requests import length_law

MORE = [
    "lognormal:sigma=0",
    "drifting:drift=0.5,sigma=0",
    "buckets:k=1",
    "buckets:k=5,longest=8192,accuracy=0.7,point=middle",
    "ranking:tau=0",
    "ranking:tau=1",
    "trail:longest=none",
    "trail:mae=5,every=1,longest=64,bins=4",
    "interval:width=0",
    "interval:width=3,coverage=0.5,point=upper",
]
ADAPTED = [name for name in PREDICTORS if name not in LENGTH_PREDICTORS]
N = 20_000


@pytest.fixture(scope="module")
def outputs():
    return length_law("azure-conv").sample(N, np.random.default_rng(5))[1]


@pytest.fixture(scope="module")
def sample():
    return length_law("azure-conv").sample(10_000, np.random.default_rng(6))[1]


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    rng = np.random.default_rng(7)
    true = rng.integers(1, 60, size=500) * 17
    predicted = np.round(true * rng.lognormal(0, 0.6, size=500)) + 40
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = "\n".join(f"{x},{y:.0f}" for x, y in zip(true, predicted, strict=True))
    path.write_text(f"output_tokens,predicted_tokens\n{rows}\n")
    return path


@pytest.fixture(params=[*LENGTH_PREDICTORS, *MORE, *ADAPTED], scope="module")
def model(request, pair_file) -> LengthPredictor:
    return length_predictor(f"pairs:{pair_file}" if request.param == "pairs" else request.param)


def foretell(model, outputs, seed=3):
    requests = request_table(np.arange(len(outputs), dtype=float), np.full(len(outputs), 9))
    return model.predict(requests, outputs, np.random.default_rng(seed))


# All of them.


def test_forecasts_have_their_form(model, sample, outputs):
    bound = model.bind(sample)
    assert type(bound) is type(model) and str(bound) == str(model)
    forecast = foretell(bound, outputs)
    for array in forecast[:3]:
        assert array.shape == (N,) and array.dtype == np.float64
        assert np.isfinite(array).all() and array.min() >= 1
    assert np.all((forecast.lower <= forecast.predicted) & (forecast.predicted <= forecast.upper))
    refreshed = forecast.refreshed
    assert refreshed.start.shape == (N + 1,) and refreshed.start[0] == 0 and refreshed.start[-1] == len(refreshed.total)
    assert (refreshed.every > 0) == (len(refreshed.total) > 0)


def test_forecasts_are_reproducible_and_leave_the_truth_alone(model, sample, outputs):
    bound, before = pickle.loads(pickle.dumps(model.bind(sample))), outputs[:200].copy()
    first, again = foretell(bound, outputs[:200]), foretell(model.bind(sample), outputs[:200])
    for a, b in zip((*first[:3], *first.refreshed), (*again[:3], *again.refreshed), strict=True):
        np.testing.assert_array_equal(a, b)
    first.predicted[:] = first.lower[:] = first.upper[:] = -1
    np.testing.assert_array_equal(outputs[:200], before)


def test_one_request_and_one_token(model, sample):
    forecast = foretell(model.bind(sample), np.array([1]))
    assert forecast.predicted.shape == (1,) and len(forecast.refreshed.start) == 2


def test_specs_read_back(model):
    again = length_predictor(str(model))
    assert str(again) == str(model) and type(again) is type(model)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lognorml", "did you mean 'lognormal'"),
        ("exponentia", "did you mean 'exponential'"),
        ("lognormal:sigma=-1", "sigma=-1"),
        ("drifting:drift=0", "drift=0"),
        ("drifting:sigma=-1", "sigma=-1"),
        ("buckets:k=0", "k=0"),
        ("buckets:longest=0", "longest=0"),
        ("buckets:accuracy=2", "accuracy=2"),
        ("buckets:k=1,accuracy=0.5", "k=1"),
        ("buckets:point=uper", "did you mean 'upper'"),
        ("ranking:tau=1.5", "tau=1.5"),
        ("trail:mae=0", "mae=0"),
        ("trail:initial_mae=inf", "initial_mae=inf"),
        ("trail:every=0", "every=0"),
        ("trail:longest=5", "5 / 10 tokens"),
        ("interval:width=-1", "width=-1"),
        ("interval:coverage=-0.1", "coverage=-0.1"),
        ("interval:width=0,coverage=0.5", "width=0"),
        ("interval:point=top", "choose from: lower, middle, upper"),
        ("pairs:none.csv", "cannot read none.csv"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(BadInput, match=message):
        length_predictor(spec)


@pytest.mark.parametrize("spec", ["none", "buckets", "ranking", "trail:longest=none"])
def test_some_need_a_sample(spec, outputs):
    with pytest.raises(BadInput, match="before bind"):
        foretell(length_predictor(spec), outputs)
    for bad, message in (([], "no output lengths"), ([0, 3], "from 0 to 3")):
        with pytest.raises(BadInput, match=message):
            length_predictor(spec).bind(np.array(bad))


# Each of them.


def test_exact_is_a_copy(outputs):
    forecast = foretell(length_predictor("exact"), outputs)
    assert np.array_equal(forecast.predicted, outputs) and not np.shares_memory(forecast.predicted, outputs)


def test_none_says_the_mean(sample, outputs):
    bound = length_predictor("none").bind(sample)
    assert not bound.informative
    assert np.all(foretell(bound, outputs).predicted == sample.mean())


def test_lognormal_is_right_in_the_median(outputs):
    long = outputs[outputs > 50]  # shorter ones may meet the bound of 1 token
    ratio = foretell(length_predictor("lognormal:sigma=0.5"), long).predicted / long
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    assert np.log(ratio).std() == pytest.approx(0.5, rel=0.03)


def test_drift_grows_in_order_of_arrival(outputs):
    ratio = foretell(length_predictor("drifting:drift=3,sigma=0"), outputs).predicted / outputs
    np.testing.assert_allclose(ratio, np.linspace(1, 3, N))


def test_buckets_are_equal_and_reach_the_longest(sample, outputs):
    bound = length_predictor("buckets").bind(sample)
    np.testing.assert_allclose(bound.edges(), np.arange(11) * sample.max() / 10)
    fixed = length_predictor("buckets:longest=8200")
    np.testing.assert_allclose(fixed.edges(), np.arange(11) * 820)  # of the learning-to-rank paper's comparison
    # A length on an edge belongs below it; longer ones count to the last bucket.
    forecast = foretell(length_predictor("buckets:longest=1000"), np.array([1, 100, 101, 1000, 5000]))
    np.testing.assert_array_equal(forecast.lower, [1, 1, 100, 900, 900])
    np.testing.assert_array_equal(forecast.upper, [100, 100, 200, 1000, 1000])
    np.testing.assert_array_equal(forecast.predicted, forecast.upper)
    middle = foretell(length_predictor("buckets:longest=1000,point=middle"), np.array([1, 100, 101]))
    np.testing.assert_array_equal(middle.predicted, [50, 50, 150])
    inside = outputs[outputs <= sample.max()]
    forecast = foretell(bound, inside)
    assert np.all((forecast.lower <= inside) & (inside <= forecast.upper))


def test_buckets_miss_by_one_as_often_as_told(sample, outputs):
    exact, noisy = (
        foretell(length_predictor(spec).bind(sample), outputs) for spec in ("buckets", "buckets:accuracy=0.8")
    )
    step = np.rint((noisy.upper - exact.upper) / (sample.max() / 10))
    assert set(step) == {-1, 0, 1}
    assert np.mean(step == 0) == pytest.approx(0.8, abs=0.015)  # five standard deviations
    first, last = exact.lower == 1, exact.upper == exact.upper.max()
    assert step[first].min() == 0 and step[last].max() == 0
    between = ~first & ~last & (step != 0)
    assert np.mean(step[between] > 0) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("law", ["azure-conv", "azure-code", "deepseek-r1"])
@pytest.mark.parametrize("tau", [0.17, 0.54, 0.84])
def test_ranking_reaches_its_tau(law, tau):
    sample = length_law(law).sample(10_000, np.random.default_rng(6))[1]
    outputs = length_law(law).sample(N, np.random.default_rng(5))[1]
    predicted = foretell(length_predictor(f"ranking:tau={tau}").bind(sample), outputs).predicted
    assert kendalltau(predicted, outputs).statistic == pytest.approx(tau, abs=0.02)
    assert predicted.mean() == pytest.approx(sample.mean(), rel=0.03)  # predictions follow the law of the lengths
    assert predicted.min() >= sample.min() and predicted.max() <= sample.max()


def test_ranking_at_its_ends(sample, outputs):
    predicted = foretell(length_predictor("ranking:tau=1").bind(sample), outputs).predicted
    assert kendalltau(predicted, outputs).statistic > 0.999
    predicted = foretell(length_predictor("ranking:tau=0").bind(sample), outputs).predicted
    assert abs(kendalltau(predicted, outputs).statistic) < 0.02
    few = length_predictor("ranking:tau=0.5").bind(np.array([3, 9]))
    assert np.all(foretell(few, np.array([1, 3, 9, 20])).predicted >= 1)
    with pytest.raises(BadInput, match="every output has 7 tokens"):
        length_predictor("ranking").bind(np.full(9, 7))


def test_trail_fills_its_table(outputs):
    forecast = foretell(length_predictor("trail"), outputs)
    every, total, start = forecast.refreshed
    assert every == 8
    np.testing.assert_array_equal(np.diff(start), -(-outputs // 8))  # one entry for 0, 8, 16, ... below the output
    np.testing.assert_array_equal(total[start[:-1]], forecast.predicted)
    k = np.arange(len(total)) - np.repeat(start[:-1], np.diff(start))
    assert np.all(total >= 8 * k + 1)  # at least one token more than was generated


def refreshed_errors(model, outputs):
    """Absolute errors of all entries, and the number of the entry within its request."""
    _, total, start = foretell(model, outputs).refreshed
    k = np.arange(len(total)) - np.repeat(start[:-1], np.diff(start))
    return np.abs(total - np.repeat(outputs, np.diff(start))), k


def test_trail_has_its_error(sample, outputs):
    # Probes as stated: the mean absolute error of a reading, long before either end, is the parameter.
    middle = np.full(5000, 1000)
    errors, k = refreshed_errors(
        length_predictor("trail:longest=2000,bins=200,every=501"), middle
    )  # narrow bins hide little
    assert errors[k == 0].mean() == pytest.approx(46.1, rel=0.05)
    assert errors[k == 1].mean() == pytest.approx(33.9, rel=0.05)
    # What comes out, as the docstring says.
    for spec, first, all_of_them in (("trail", 0.96, 0.55), ("trail:longest=none", 0.91, 0.67)):
        errors, k = refreshed_errors(length_predictor(spec).bind(sample), outputs)
        assert errors[k == 1].mean() / 33.9 == pytest.approx(first, abs=0.05)
        assert errors[k > 0].mean() / 33.9 == pytest.approx(all_of_them, abs=0.05)
        assert errors[k == 0].mean() > errors[k > 0].mean()  # the initial prediction is the coarser one
    quarter = 51.2 / 4
    errors_of_bins = refreshed_errors(length_predictor("trail:mae=1"), outputs[outputs <= 512])[0]
    assert errors_of_bins.mean() == pytest.approx(quarter, rel=0.15)
    better = refreshed_errors(length_predictor("trail:mae=10").bind(sample), outputs)[0]
    worse = refreshed_errors(length_predictor("trail:mae=100").bind(sample), outputs)[0]
    assert better.mean() < errors.mean() < worse.mean()


def test_trail_smooths_step_by_step(outputs):
    """One request at a time, one token of the transition at a time, straight from the published rules."""
    model, few = length_predictor("trail:longest=512"), outputs[:20]
    _, total, start = foretell(model, few).refreshed
    noise = np.random.default_rng(3).standard_normal(len(few) + start[-1])[len(few) :]
    width, middles = 51.2, (np.arange(10) + 0.5) * 51.2
    for i, output in enumerate(few):
        belief = None
        for k in range(1, start[i + 1] - start[i]):
            p = model._probe(np.array([output - 8 * k]), 33.9, noise[start[i] + k : start[i] + k + 1])[0]
            assert p.sum() == pytest.approx(1)
            if belief is not None:
                for _ in range(8):
                    moved = belief / width
                    moved[0] = 0
                    belief = belief - moved + np.append(moved[1:], 0)
            belief = p if belief is None else belief * p / (belief * p).sum()
            assert total[start[i] + k] == pytest.approx(8 * k + belief @ middles)
    assert np.allclose(model.transition().sum(axis=0), 1)


@pytest.mark.parametrize("coverage", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("width", [0.2, 1.0, 3.0])
def test_intervals_cover_as_told(outputs, width, coverage):
    forecast = foretell(length_predictor(f"interval:width={width},coverage={coverage}"), outputs)
    covered = (forecast.lower <= outputs) & (outputs <= forecast.upper)
    assert covered.mean() == pytest.approx(coverage, abs=0.0 if coverage in (0, 1) else 0.018)
    uncut = forecast.lower > 1
    np.testing.assert_allclose((forecast.upper - forecast.lower)[uncut], width * outputs[uncut])
    missed = ~covered
    if width < 1 and coverage < 1:
        assert np.mean(forecast.lower[missed] > outputs[missed]) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(forecast.predicted, (forecast.lower + forecast.upper) / 2)


def test_pairs_say_what_was_recorded(pair_file):
    model = length_predictor(f"pairs:{pair_file}")
    true, predicted = np.loadtxt(pair_file, delimiter=",", skiprows=1).T
    outputs = np.full(4000, 17 * 20)
    said = foretell(model, outputs).predicted
    assert set(said) == set(predicted[true == 17 * 20])
    longer = foretell(model, np.full(4000, 10**6)).predicted  # the 64 longest speak for it
    assert set(longer) <= set(predicted[np.argsort(true, kind="stable")[-64:]])


def test_ssjf_draws_from_its_table():
    rng, told = np.random.default_rng(8), ssjf_tables()
    ends = [0, *told["edges"], 511]
    for low, high, counts in zip(ends[:-1], ends[1:], told["counts"], strict=True):
        said = foretell(length_predictor("ssjf"), rng.integers(low + 1, high + 1, size=N)).predicted
        shares = [(said == tokens).mean() for tokens in told["tokens"]]
        np.testing.assert_allclose(shares, counts / sum(counts), atol=0.018)
    assert told["counts"].sum() == N and all(1800 < sum(row) < 2200 for row in told["counts"])  # ties


def test_ssjf_agrees_with_the_file():
    path = recorded("traces", "native", "ssjf_predictions_warmup_multi_cls_1000K.head2000.csv")
    model = length_predictor(f"pairs:{path}")
    true = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=1, dtype=int)
    true = np.tile(true, 5)
    said, kept = foretell(length_predictor("ssjf"), true).predicted, foretell(model, true).predicted
    assert said.mean() == pytest.approx(kept.mean(), rel=0.05)
    assert kendalltau(said, true).statistic == pytest.approx(kendalltau(kept, true).statistic, abs=0.03)


def test_models_of_sizes_predict_tokens(sample, outputs):
    assert ADAPTED  # such as exponential
    model = length_predictor(predictor("uniform:alpha=0.5")).bind(sample)
    assert str(model) == "uniform:alpha=0.5" and model.informative
    predicted = foretell(model, outputs).predicted
    assert np.all((0.5 * outputs <= predicted) & (predicted <= 1.5 * outputs) | (predicted == 1))
    assert foretell(length_predictor("exponential"), np.ones(1000)).predicted.min() == 1
    assert length_predictor(model) is model
    assert not length_predictor(predictor("none")).informative
