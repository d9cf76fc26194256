"""Every registered predictor: its samples follow its stated law. Then what is particular to each."""

import gzip
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded
from scipy import stats

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import PREDICTORS, Predictor, predictor
from llmqueue_gym.predictors.coarse import Buckets, OneBit
from llmqueue_gym.predictors.pairs import Pairs
from llmqueue_gym.predictors.ratio import Multiplicative

# Further parameters than the defaults; a predictor without a line here is tested with its defaults alone.
MORE = [
    "uniform:alpha=0",
    "uniform:alpha=1",
    "multiplicative:low=1.3,high=1.3",
    "normal:sigma=0",
    "normal:sigma=3",
    "lognormal:sigma=0",
    "one-bit:threshold=0.7,noise=exponential",
    "one-bit:threshold=0.7,noise=multiplicative:low=0.5;high=3",
    "confused-bit:error=0",
    "confused-bit:threshold=0.7,error=0.2,where=shorts",
    "confused-bit:threshold=0.7,error=0.2,where=longs",
    "confused-bit:threshold=0.7,error=0.2,where=edge",
    "confused-bit:threshold=0.7,error=0.2,where=logistic",
    "buckets:k=1",
    "buckets:k=5,noise=lognormal:sigma=0.3",
    "two-lognormals:sigma=0.1,wide=2,share=0",
    "two-lognormals:sigma=0.1,wide=2,share=1",
    "laplace:scale=1.5",
    "gamma:shape=0.5",
    "distorted:factor=2,power=0.5,model=multiplicative:low=0.5;high=2",
    "partly:share=0.4,model=buckets:k=3;noise=exponential",
    "partly:share=0",
    "partly:share=1,model=exact",
    "laws:k=1",
    "laws:k=5,sigma=0.1,wide=0.1,claimed=0.3",
]
CHANGING = "drifting"  # has no one law
SIZES = (0.05, 0.7, 2.5)  # s
DRAWS = 20_000
TOLERANCE = 0.018  # five standard deviations of a share of 20,000


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    rng = np.random.default_rng(7)
    true = rng.integers(1, 60, size=500) * 7
    predicted = np.round(true * rng.lognormal(0, 0.6, size=500)) + 40
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = "\n".join(f"{x},{y:.0f}" for x, y in zip(true, predicted, strict=True))
    path.write_text(f"output_tokens,predicted_tokens\n{rows}\n")
    return path


@pytest.fixture(params=[*(name for name in PREDICTORS if name != CHANGING), *MORE])
def model(request, pair_file) -> Predictor:
    spec = f"pairs:{pair_file}" if request.param == "pairs" else request.param
    return predictor(spec).bind(size_law("exponential"))


def grid(model, x):
    """Values of y (n,): below, around and above the size, and the atoms with their neighbourhood."""
    atoms = [] if model.atoms() is None else list(model.atoms())
    atoms = np.array(atoms[:: max(1, len(atoms) // 10)])
    return np.unique(np.concatenate([x * np.geomspace(0.1, 5, 12), [x], atoms, atoms * 0.999, atoms * 1.001]))


@pytest.mark.parametrize("x", SIZES)
def test_samples_follow_the_cdf(model, x):
    predictions = model.predict(np.full(DRAWS, x), np.random.default_rng(1))
    y = grid(model, x)
    share = (predictions[:, None] <= y).mean(axis=0)
    np.testing.assert_allclose(share, model.cdf(y, x), atol=TOLERANCE)


def test_cdf_is_a_distribution_function(model):
    x = np.array([[1e-6], *[[x] for x in SIZES], [50.0]])
    y = np.concatenate([[-np.inf, -1.0], grid(model, 0.7), [1e9, np.inf]])
    p = model.cdf(y, x)
    assert p.shape == (len(x), len(y))
    assert np.all((p >= 0) & (p <= 1)) and np.all(np.diff(p, axis=1) >= 0)
    assert np.all(p[:, :2] == 0) and np.all(p[:, -1] == 1)
    # The same by columns, by pairs and by scalars.
    np.testing.assert_array_equal(model.cdf(y[:, None], x.T), p.T)
    np.testing.assert_array_equal(model.cdf(y[:5], x.ravel()), np.diag(p))
    assert model.cdf(y[5], float(x[2, 0])) == p[2, 5]


def test_predictions_are_reproducible_and_not_negative(model):
    sizes = np.random.default_rng(3).exponential(size=1000)
    kept = sizes.copy()
    first, second = (model.predict(sizes, np.random.default_rng(5)) for _ in range(2))
    assert first.shape == (1000,) and first.dtype == np.float64
    assert np.all(np.isfinite(first)) and np.all(first >= 0)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(sizes, kept)
    assert not np.shares_memory(first, sizes)
    assert model.predict(np.empty(0), np.random.default_rng(5)).shape == (0,)


def test_atoms_are_all_values(model):
    if model.atoms() is not None:
        predictions = model.predict(np.random.default_rng(3).exponential(size=5000), np.random.default_rng(5))
        assert np.all(np.diff(model.atoms()) > 0)
        assert np.isin(predictions, model.atoms()).all()


def test_jumps_in_x_lie_at_breakpoints(model):
    x = np.geomspace(0.01, 20, 40_000)
    for y in (0.3, 1.0, 4.0):
        jumps = np.flatnonzero(np.abs(np.diff(model.cdf(y, x))) > 0.1)
        stated = np.array(model.breakpoints_at(y))
        for low, high in zip(x[jumps], x[jumps + 1], strict=True):
            assert np.any((stated >= low * (1 - 1e-9)) & (stated <= high * (1 + 1e-9)))


def test_pickles(model):
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert copy.cdf(0.8, 1.1) == model.cdf(0.8, 1.1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("uniform:alpha=1.5", "alpha=1.5"),
        ("uniform:alpha=nan", "alpha=nan"),
        ("multiplicative:low=0", "low=0"),
        ("multiplicative:low=3", "low=3, high=2"),
        ("multiplicative:high=inf", "high=inf"),
        ("normal:sigma=-1", "sigma=-1"),
        ("lognormal:sigma=inf", "sigma=inf"),
        ("one-bit:threshold=0", "threshold=0"),
        ("one-bit:noise=exat", "did you mean 'exact'"),
        ("buckets:k=0", "k=0"),
        ("two-lognormals:share=2", "share=2"),
        ("laplace:scale=0", "scale=0"),
        ("gamma:shape=0", "shape=0"),
        ("distorted:power=0", "power=0"),
        ("distorted:model=lognormal:sigma=-1", "sigma=-1"),
        ("partly:share=1.1", "share=1.1"),
        ("drifting:at=-1", "at=-1"),
        ("drifting:before=lognrmal", "did you mean 'lognormal'"),
        ("laws:k=0", "k=0"),
        ("laws:claimed=0", "claimed=0"),
        ("pairs", "needs 'file'"),
        ("lognormal:sgma=1", "did you mean 'sigma'"),
    ],
)
def test_bad_parameters(spec, message):
    with pytest.raises(BadInput, match=message):
        predictor(spec)


def test_a_predictor_passes_through():
    model = Multiplicative()
    assert predictor(model) is model
    assert not predictor("none").informative and predictor("exact").informative


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        ("exponential", stats.expon(scale=2)),
        ("uniform:alpha=0.25", stats.uniform(1.5, 1)),
        ("normal:sigma=0.8", stats.truncnorm(-1 / 0.8, np.inf, loc=2, scale=1.6)),
        ("lognormal:sigma=1.5", stats.lognorm(1.5, scale=2)),
        ("laplace:scale=0.4", stats.loglaplace(2.5, scale=2)),
        ("gamma:shape=3", stats.gamma(3, scale=2 / 3)),
        ("gamma:shape=1", stats.expon(scale=2)),
        ("two-lognormals:sigma=0.5,wide=3,share=0", stats.lognorm(0.5, scale=2)),
        ("distorted:factor=3,power=2,model=lognormal:sigma=1", stats.lognorm(1, scale=12)),
    ],
)
def test_laws_agree_with_scipy(spec, law):
    y = np.linspace(0.01, 9, 50)
    np.testing.assert_allclose(predictor(spec).cdf(y, 2.0), law.cdf(y), rtol=1e-12)


@pytest.mark.parametrize("name", ["exponential", "uniform:alpha=0.5", "lognormal", "normal"])
def test_a_ratio_of_nothing_is_nothing(name):
    assert predictor(name).cdf(np.array([-1.0, 0.0, 2.0]), np.zeros(3)).tolist() == [0.0, 1.0, 1.0]


@given(
    name=st.sampled_from(["normal:sigma", "lognormal:sigma", "uniform:alpha"]),
    error=st.floats(0, 1),
    x=st.floats(1e-3, 1e3),
    u=st.floats(0, 0.999),
)
def test_ratio_quantiles_invert_the_cdf(name, error, x, u):
    model = predictor(f"{name}={error!r}")
    ratio = model._ratio_ppf(np.array([u]))
    assert ratio >= 0
    assert model.cdf(x * ratio * (1 + 1e-9) + 1e-12, x) >= u - 1e-6
    if error > 1e-3:
        assert model.cdf(x * ratio * (1 - 1e-9) - 1e-12, x) <= u + 1e-6


def test_one_seed_couples_ratio_models():
    sizes, seed = np.ones(1000), 11
    small, large = (predictor(f"lognormal:sigma={s}").predict(sizes, np.random.default_rng(seed)) for s in (0.1, 1))
    np.testing.assert_array_equal(np.argsort(small), np.argsort(large))


def test_one_bit_speaks_in_values_that_the_threshold_tells_apart():
    model = OneBit(threshold=2.0)
    np.testing.assert_array_equal(model.predict(np.array([1.0, 2.0, 2.1]), np.random.default_rng(0)), [1, 1, 4])
    assert model.breakpoints() == (2.0,)
    assert OneBit(threshold=2.0, noise="uniform:alpha=0.5").breakpoints() == (2 / 1.5, 2 / 0.5)
    noisy = OneBit(threshold=2.0, noise="exponential")
    np.testing.assert_allclose(noisy.cdf(np.array([0.9, 1.0, 3.9, 4.0]), 1.0), [0, 1 - np.exp(-2), 1 - np.exp(-2), 1])


def test_buckets_are_equally_likely_and_unbiased():
    law = size_law("weibull:shape=0.5")
    edges, values = Buckets(k=5).bind(law).cells()
    np.testing.assert_allclose(law.cdf(edges), [0.2, 0.4, 0.6, 0.8])
    assert np.mean(values) == pytest.approx(1.0)
    assert values[0] == pytest.approx(law.partial_moment(1, edges[0]) / 0.2)
    assert Buckets(k=5).bind(law).breakpoints() == tuple(edges)


def test_buckets_of_a_discrete_law_are_merged():
    law = Empirical(samples=np.array([1.0, 1, 1, 1, 1, 2, 3, 3, 3, 3]), mean=1.9)
    edges, values = Buckets(k=10).bind(law).cells()
    np.testing.assert_allclose(edges, [1, 2])
    np.testing.assert_allclose(values, [1, 2, 3])
    assert len(Buckets(k=4).bind(size_law("deterministic")).atoms()) == 1


def test_buckets_can_be_bound_again_and_need_binding():
    once = Buckets(k=3).bind(size_law("exponential"))
    again = once.bind(size_law("exponential").scaled(2.0))
    np.testing.assert_allclose(again.atoms(), 2 * once.atoms())
    for use in (Buckets().atoms, lambda: Buckets().predict(np.ones(2), np.random.default_rng(0))):
        with pytest.raises(BadInput, match="bind"):
            use()


def test_coarse_models_take_measured_pairs_as_noise(pair_file):
    law = Pairs(str(pair_file)).size_law()
    for name in ("one-bit", "buckets"):
        model = predictor(f"{name}:noise=pairs:{pair_file}").bind(law)
        sizes = law.sample(4000, np.random.default_rng(0))
        share = (model.predict(sizes, np.random.default_rng(1)) <= model.atoms()[0]).mean()
        assert share == pytest.approx(model.cdf(model.atoms()[0], sizes).mean(), abs=0.03)


# Models that change, are silent, or name laws.


def test_a_drifting_model_is_one_model_and_then_another():
    sizes, seeds = np.random.default_rng(0).exponential(size=10_000), (3, 3, 3)
    jump, first, second = (
        predictor(spec).predict(sizes, np.random.default_rng(seed))
        for spec, seed in zip(("drifting:at=0.3", "lognormal:sigma=0.3", "lognormal:sigma=3"), seeds, strict=True)
    )
    np.testing.assert_array_equal(jump, np.append(first[:3000], second[3000:]))
    slow = predictor("drifting:at=0.2,over=0.5").predict(sizes, np.random.default_rng(3))
    np.testing.assert_array_equal(slow[:2000], first[:2000])
    np.testing.assert_array_equal(slow[7000:], second[7000:])
    errors = np.log(slow / sizes)
    np.testing.assert_allclose(errors[4500], np.log(second / sizes)[4500] * (0.3 + 0.5 * 2.7) / 3, rtol=1e-3)
    spread = [np.std(part) for part in np.split(errors[2000:7000], 5)]
    np.testing.assert_allclose(spread, 0.3 + 2.7 * np.arange(0.1, 1, 0.2), rtol=0.1)


def test_a_drifting_model_has_no_law_and_is_believed_to_be_as_it_was():
    model = predictor("drifting:before=buckets:k=4,after=none").bind(size_law("exponential"))
    assert model.believed() == predictor("buckets:k=4").bind(size_law("exponential"))
    with pytest.raises(BadInput, match=r"changes in the course of a run.*buckets:k=4"):
        model.cdf(1.0, 1.0)
    assert str(predictor("drifting:before=uniform:alpha=0.1")).startswith("drifting:before=uniform:alpha=0.1,after=")


def test_who_is_predicted_is_predicted_as_by_the_model_alone():
    sizes = np.random.default_rng(0).exponential(size=20_000)
    law = size_law("exponential").scaled(2.0)
    some, all_ = (
        predictor(spec).bind(law).predict(sizes, np.random.default_rng(1))
        for spec in ("partly:share=0.3,model=lognormal:sigma=1", "lognormal:sigma=1")
    )
    known = some != 2.0
    assert known.mean() == pytest.approx(0.3, abs=TOLERANCE)
    np.testing.assert_array_equal(some[known], all_[known])
    assert abs(np.corrcoef(known, sizes)[0, 1]) < 0.03  # whatever their size


def test_laws_are_equally_likely_places_by_two_spreads():
    law = size_law("weibull:shape=0.5")
    model = predictor("laws:k=6,share=0.25").bind(law)
    sizes = law.sample(200_000, np.random.default_rng(0))
    given = model.predict(sizes, np.random.default_rng(1))
    values, counts = np.unique(given, return_counts=True)
    np.testing.assert_array_equal(values, model.atoms())
    assert len(values) == 12 and np.sort(counts)[:6].sum() / len(sizes) == pytest.approx(0.25, abs=0.01)
    means = np.array([sizes[given == value].mean() for value in values])
    error = np.array([sizes[given == value].std() for value in values]) / np.sqrt(counts)
    assert np.all(np.abs(means - values) < 4.5 * error + 1e-4)  # calibrated: of the mean that was told
    bold = predictor("laws:k=6,share=0.25,claimed=0.2").bind(law)
    assert bold.believed() == bold.believed().bind(law) and model.believed() == model
    np.testing.assert_array_equal(bold.atoms(), bold.believed().atoms())
    given = bold.predict(sizes, np.random.default_rng(1))
    wrong = [abs(sizes[given == value].mean() / value - 1) for value in bold.atoms()]
    assert max(wrong) > 0.2  # overconfident: of another mean than that which was told


# Pairs.


def write(path, header, rows):
    text = header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w") as stream:
        stream.write(text)
    return str(path)


def test_pairs_reproduce_the_joint_of_the_file(pair_file):
    true, predicted = np.loadtxt(pair_file, delimiter=",", skiprows=1).T
    model = Pairs(str(pair_file))
    law = model.size_law()
    assert law.mean == pytest.approx(1.0)
    bound = model.bind(law)
    for length in np.unique(true)[::7]:
        mine = np.sort(predicted[true == length])
        share = np.array([(mine <= y).mean() for y in np.unique(predicted)])
        np.testing.assert_allclose(bound.cdf(bound.atoms(), length / true.mean()), share)
    for scale in (1e-7, 3.0):  # rounding of any unit does not part a size from its pairs
        scaled = model.bind(size_law("exponential").scaled(scale))
        y = scaled.atoms()
        length = true[0] / true.mean()
        np.testing.assert_allclose(scaled.cdf(y, length * scale), bound.cdf(bound.atoms(), length))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(32, 60)), min_size=1, max_size=150), st.floats(0, 50))
def test_pairs_agree_with_the_definition(tmp_path_factory, rows, x):
    path = write(tmp_path_factory.mktemp("p") / "p.csv", "output_tokens,predicted_tokens", rows)
    rows = [(true, predicted) for true, predicted in rows if true > 0]
    if not rows:
        return
    model = Pairs(path)
    same = [predicted for true, predicted in rows if abs(true - x) <= 1e-9 * x]
    if not same:
        ordered = sorted(rows, key=lambda row: row[0])
        start = sum(true < x for true, _ in rows) - 32
        start = max(0, min(start, len(rows) - 64))
        same = [predicted for _, predicted in ordered[start : start + 64]]
    y = np.arange(30, 62)
    np.testing.assert_allclose(model.cdf(y, x), [(np.array(same) <= v).mean() for v in y])


def test_pairs_do_large_grids_and_long_lists_alike(pair_file):
    model = Pairs(str(pair_file)).bind(size_law("exponential"))
    x, y = np.random.default_rng(0).exponential(size=(2, 6000))
    whole = model.cdf(y[:3000], x[:2000, None])
    assert whole.shape == (2000, 3000)
    np.testing.assert_array_equal(model.cdf(y, x)[:2000], np.diag(whole[:, :2000]))


def test_classes_become_mean_lengths(tmp_path):
    rows = [(10, 0), (20, 0), (40, 1), (60, 1), (100, 3)]
    model = Pairs(write(tmp_path / "c.csv.gz", "output_tokens,predicted_class5", rows))
    np.testing.assert_allclose(model.atoms(), [15, 50, 100])
    np.testing.assert_allclose(model.cdf(np.array([15.0, 50.0]), np.array([[20.0], [60.0]])), [[1, 1], [0, 1]])


@pytest.mark.parametrize(
    "header",
    ["output_tokens,predicted_tokens", "num_decode_tokens,num_predicted_decode_tokens", "service_s,guess_s"],
)
def test_columns_are_found_or_named(tmp_path, header):
    path = write(tmp_path / "p.csv", header, [(10, 70), (30, 90)])
    true, predicted = ("service_s", "guess_s") if header.startswith("service") else ("", "")
    np.testing.assert_allclose(Pairs(path, true, predicted).atoms(), [70, 90])


def test_native_ssjf_form(tmp_path):
    path = write(tmp_path / "s.csv", ",output_token_length,predicted_length,latency,model", [(0, 40, 1, 0.02, "v")] * 2)
    np.testing.assert_allclose(Pairs(path).atoms(), [40])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("output_tokens,predicted_tokens\n", "is empty"),
        ("output_token,predicted_tokens\n1,2\n", "no column 'output_tokens'; did you mean 'output_token'"),
        ("output_tokens,predicted_token\n1,2\n", "no column 'predicted_tokens'; did you mean 'predicted_token'"),
        ("output_tokens,predicted_tokens\n1,2\n-3,4\n", "row 2, column 'output_tokens': '-3' is negative"),
        ("output_tokens,predicted_tokens\n1,nan\n", "row 1, column 'predicted_tokens': 'nan' is not a finite number"),
        ("output_tokens,predicted_tokens\n1,two\n", "row 1, column 'predicted_tokens': 'two' is not"),
        ("output_tokens,predicted_tokens\n1\n", "row 1, column 'predicted_tokens': '' is not"),
        ("output_tokens,predicted_tokens\n0,2\n", "every true length is 0"),
    ],
)
def test_bad_pair_files(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        Pairs(str(path))
    assert "bad.csv" in str(caught.value)


def test_unreadable_pair_files(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*none\.csv: No such file"):
        Pairs(str(tmp_path / "none.csv"))
    (tmp_path / "plain.csv.gz").write_text("output_tokens,predicted_tokens\n1,2\n")
    with pytest.raises(BadInput, match="cannot read"):
        Pairs(str(tmp_path / "plain.csv.gz"))
    path = write(tmp_path / "p.csv", "output_tokens,predicted_tokens", [(1, 2)])
    with pytest.raises(BadInput, match="no column 'true'"):
        Pairs(path, true="true")


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("ssjf_predictions_warmup_multi_cls_1000K.head2000.csv", 5),
        ("block_sharegpt-val-10k-predicted-len.head1000.csv", 0),
    ],
)
def test_native_pair_samples(name, atoms):
    model = Pairs(str(recorded("traces", "native", name)))
    law = model.size_law()
    bound = model.bind(law)
    sizes = law.sample(20_000, np.random.default_rng(0))
    predictions = bound.predict(sizes, np.random.default_rng(1))
    assert len(bound.atoms()) == atoms or not atoms
    assert np.corrcoef(sizes, predictions)[0, 1] > 0.5
    y = bound.atoms()[:: max(1, len(bound.atoms()) // 20)]
    share, known = (predictions[:, None] <= y).mean(axis=0), bound.cdf(y, sizes[:, None]).mean(axis=0)
    np.testing.assert_allclose(share, known, atol=TOLERANCE)
