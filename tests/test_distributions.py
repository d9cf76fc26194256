"""Every law of the registry: the closed forms, the sampler and the derived values are one and the same law."""

import gzip
import inspect
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqueue_gym.distributions import DISTRIBUTIONS, size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.distributions.quantile_table import QuantileTable
from llmqueue_gym.errors import BadInput, NotApplicable

pytestmark = pytest.mark.filterwarnings("error")

MORE = ["weibull:shape=2", "weibull:shape=0.3", "bounded-pareto:alpha=1,high=1e4", "bounded-pareto:alpha=2,high=10"]
MORE += ["gamma:shape=0.3", "erlang:k=9", "lognormal:sigma=2", "uniform:low=0.5", "hyperexponential:p=0.5,ratio=100"]
EPS = np.finfo(float).eps


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    file = tmp_path_factory.mktemp("trace") / "sizes.csv"
    sizes = np.random.default_rng(5).geometric(0.02, 500)
    file.write_text("arrival,output_tokens\n" + "".join(f"{i},{s}\n" for i, s in enumerate(sizes)))
    return file


def _spec(name, trace):
    needed = [p for p in inspect.signature(DISTRIBUTIONS.builder(name)).parameters.values() if p.default is p.empty]
    return f"{name}:{trace}" if needed else name  # what a law cannot do without is a file


@pytest.fixture(params=[*DISTRIBUTIONS, *MORE, "quantile table"])
def law(request, trace) -> Distribution:
    if request.param == "quantile table":
        return QuantileTable(np.linspace(0, 1, 101), np.linspace(0.5, 9, 101) ** 2)
    return size_law(request.param if ":" in request.param else _spec(request.param, trace))


@pytest.fixture
def continuous(law):
    if law.atoms() is not None:
        pytest.skip("a discrete law")
    return law


def _spread(law) -> np.ndarray:
    """Points from deep in the lower end to deep in the tail."""
    return np.unique(np.concatenate([law.ppf([1e-6, 0.01, 0.3, 0.7]), law.isf([0.1, 1e-3, 1e-6, 1e-10])]))


def test_mean_is_one_and_scales(law):
    assert law.mean == 1.0
    np.testing.assert_allclose(law.moment(1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(law.moment(1, method="quadrature"), 1.0, rtol=1e-9)
    longer, x = law.scaled(3.0), _spread(law) * (1 + 1e-9)  # off the atoms, which rounding moves
    np.testing.assert_allclose(longer.moment(2), 9 * law.moment(2), rtol=1e-12)
    np.testing.assert_allclose(longer.sf(3 * x), law.sf(x), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(law.scv, law.variance, rtol=1e-12)
    np.testing.assert_allclose(longer.scv, law.scv, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [0, 0.5, 1, 2, 3])
def test_closed_form_is_quadrature_of_sf(law, k):
    x = _spread(law)
    np.testing.assert_allclose(law.moment(k), law.moment(k, method="quadrature"), rtol=1e-8)
    for part in (law.partial_moment, law.tail_moment):
        # Between x and x (1 + eps) lies a probability of about x pdf(x) eps, which no method can resolve.
        blur = 8 * EPS * x ** (k + 1) * law.pdf(x) if law.atoms() is None else 1e-300
        np.testing.assert_array_less(
            np.abs(part(k, x) - part(k, x, method="quadrature")), 1e-8 * np.abs(part(k, x)) + blur + 1e-300
        )


def test_parts_add_to_the_moment(law):
    x = _spread(law)
    for k in (0, 1, 2):
        np.testing.assert_allclose(law.partial_moment(k, x) + law.tail_moment(k, x), law.moment(k), rtol=1e-10)
    np.testing.assert_allclose(law.partial_moment(0, x), law.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(law.tail_moment(0, x), law.sf(x), rtol=1e-8, atol=1e-300)
    for far in (np.inf, 1e300):
        assert law.partial_moment(2, far) == pytest.approx(law.moment(2), rel=1e-10)
        assert law.tail_moment(2, far) == 0


def test_cdf_and_sf_add_to_one(law):
    x = np.concatenate([[-1.0, 0.0], _spread(law), [1e12]])
    np.testing.assert_allclose(law.cdf(x) + law.sf(x), 1.0, rtol=1e-14)
    assert law.sf(-1.0) == 1 and law.cdf(0.0) == 0 and law.sf(np.inf) == 0
    assert np.all(np.diff(law.cdf(x)) >= 0)


def test_scalars_and_arrays(law):
    grid = np.linspace(0.1, 3, 6).reshape(2, 3)
    for method in (law.sf, law.cdf, law.ppf, law.isf, lambda x: law.tail_moment(1, x)):
        values = grid / 4 if method in (law.ppf, law.isf) else grid
        assert method(values).shape == (2, 3)
        assert isinstance(method(float(values[0, 1])), float) and method(float(values[0, 1])) == method(values)[0, 1]


@given(q=st.floats(1e-9, 1 - 1e-9))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("spec", [*DISTRIBUTIONS, *MORE])
def test_ppf_is_the_inverse(spec, q, trace):
    law = size_law(spec if ":" in spec else _spec(spec, trace))
    x = law.ppf(q)
    if law.atoms() is None:
        assert law.cdf(x) == pytest.approx(q, rel=1e-9)
        assert law.isf(1 - q) == pytest.approx(x, rel=1e-6)
    else:  # the least x with cdf(x) >= q
        assert law.cdf(x * (1 - 1e-9)) < q <= law.cdf(x)
        assert law.sf(law.isf(q)) <= q < law.sf(law.isf(q) * (1 - 1e-9))


@pytest.mark.parametrize("p", [1e-3, 1e-9, 1e-12, 1e-14])
def test_isf_far_in_the_tail(continuous, p):
    x = continuous.isf(p)
    assert continuous.sf(x) == pytest.approx(p, rel=1e-9, abs=8 * EPS * x * max(continuous.pdf(x * (1 - EPS)), 1.0))


def test_ends_of_the_quantile_function(law):
    assert law.ppf(0.0) <= law.ppf(1e-12) and law.isf(1.0) <= law.ppf(1e-12)
    assert law.isf(0.0) >= law.isf(1e-15) and law.cdf(law.ppf(1.0)) == pytest.approx(1, rel=1e-14)


def test_pdf_is_the_slope_of_sf(continuous):
    kinks = np.asarray(continuous.breakpoints() or [0.0])
    x = _spread(continuous)
    if continuous.breakpoints() == () and "table" in str(continuous):
        x = x + 1e-3  # the knots, which are too many to be listed
    x = x[np.min(np.abs(x[:, None] - kinks), axis=1) > 1e-4 * x]
    x = x[continuous.sf(x) > 0]
    slope = Distribution._pdf(continuous, x)
    np.testing.assert_allclose(continuous.pdf(x), slope, rtol=1e-6)
    np.testing.assert_allclose(continuous.hazard(x), continuous.pdf(x) / continuous.sf(x), rtol=1e-12)
    assert continuous.pdf(-1.0) == continuous.pdf(np.inf) == 0 <= continuous.pdf(0.0)
    assert continuous.hazard(0.0) >= 0


def test_discrete_laws_have_atoms_and_no_density(law):
    if law.atoms() is not None:
        with pytest.raises(NotApplicable, match="atoms"):
            law.pdf(1.0)
        with pytest.raises(NotApplicable, match="atoms"):
            law.hazard(1.0)


def test_samples_follow_the_law(law):
    n = 200_000
    sizes = law.sample(n, np.random.default_rng(11))
    assert sizes.shape == (n,) and sizes.dtype == np.float64 and sizes.min() > 0
    # Stated beforehand: five standard errors for the mean; for the cdf the Kolmogorov bound of probability 1e-6.
    assert abs(sizes.mean() - 1) <= 5 * np.sqrt(max(law.variance, 0) / n) + 1e-12
    points, counts = np.unique(sizes, return_counts=True)
    gap = np.max(np.abs(np.cumsum(counts) / n - law.cdf(points * (1 + 1e-12))))
    assert gap <= np.sqrt(np.log(2 / 1e-6) / (2 * n))


def test_fit_recovers_the_parameters(law):
    sizes = law.scaled(2.5).sample(200_000, np.random.default_rng(13))
    if "table" in str(law):
        with pytest.raises(NotApplicable):
            law.fit(sizes)
        return
    fitted = law.fit(sizes)
    grid = law.ppf(np.linspace(0.02, 0.98, 25)) * 2.5 * (1 + 1e-9)
    np.testing.assert_allclose(fitted.cdf(grid), law.cdf(grid / 2.5), atol=0.006)
    for key, value in vars(law.scaled(2.5)).items():
        if isinstance(value, (int, float)) and key in inspect.signature(type(law)).parameters:
            rtol = {"mean": 0.03 * max(1, law.scv**0.5), "high": 0.3}.get(key, 0.05)  # `high` rests on one extreme size
            np.testing.assert_allclose(getattr(fitted, key), value, rtol=rtol, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [1.0, -2.0], [1.0, np.nan], [np.inf], [[1.0, 2.0]]])
@pytest.mark.parametrize("name", [*DISTRIBUTIONS])
def test_fit_refuses_what_is_no_size(name, samples, trace):
    with pytest.raises(BadInput, match=r"sample"):
        size_law(_spec(name, trace)).fit(samples)


@pytest.mark.parametrize("name", [*DISTRIBUTIONS])
def test_fit_of_equal_samples_is_that_size_or_refused(name, trace):
    try:
        law = size_law(_spec(name, trace)).fit([2.0, 2.0, 2.0])
    except BadInput as error:
        assert name in str(error)
    else:
        assert law.mean == pytest.approx(2.0)


@pytest.mark.parametrize("start", [0.0, 1e-7])
def test_quadrature(law, start):
    edges = np.geomspace(1e-7, law.isf(1e-14), 400)
    edges = np.concatenate([[start], edges]) if start == 0 else edges
    x, p = law.quadrature(edges)
    assert np.all(np.diff(x) > 0) and np.all(p > 0) and x[0] > start and x[-1] <= edges[-1]
    for k in (0, 1, 2):
        exact = law.partial_moment(k, edges[-1]) - law.partial_moment(k, start)
        np.testing.assert_allclose(p @ x**k, exact, rtol=1e-6)
    finer, q = law.quadrature(np.union1d([start], np.geomspace(max(start, 1e-12), edges[-1], 20_001)))
    np.testing.assert_allclose(p @ np.exp(-x), q @ np.exp(-finer), rtol=1e-6)
    inside = np.searchsorted(edges, x)  # each cell holds exactly its own probability
    np.testing.assert_allclose(
        np.bincount(inside, p, edges.size)[1:], law.between(edges[:-1], edges[1:]), rtol=1e-9, atol=1e-300
    )


def test_quadrature_knows_the_laplace_transform():
    law = size_law("exponential:mean=2")
    x, p = law.quadrature(np.concatenate([[0.0], np.geomspace(1e-6, law.isf(1e-14), 400)]))
    np.testing.assert_allclose(p @ np.exp(-x), 1 / 3, rtol=1e-6)


def test_quadrature_of_atoms_takes_the_upper_edge_only():
    law = Empirical([1.0, 1.0, 2.0, 4.0], mean=2.0)
    x, p = law.quadrature(np.array([1.0, 3.0, 4.0]))
    np.testing.assert_array_equal(x, [2.0, 4.0])
    np.testing.assert_array_equal(p, [0.25, 0.25])


def test_printed_form_is_read_back(law):
    if "table" not in str(law):
        for same in (law, law.scaled(0.1 + 0.2)):
            again = size_law(str(same))
            assert str(again) == str(same) and again.mean == same.mean
            assert again.sf(0.7) == same.sf(0.7)
    assert pickle.loads(pickle.dumps(law)).sf(0.7) == law.sf(0.7)
    assert str(size_law("weibull:shape=0.5")) == "weibull:shape=0.5"
    assert size_law(law) is law


def test_known_values():
    x = np.array([0.1, 1.0, 30.0])
    np.testing.assert_allclose(size_law("weibull:shape=0.5").sf(x), np.exp(-np.sqrt(2 * x)), rtol=1e-14)
    np.testing.assert_allclose(size_law("erlang:k=2").sf(x), np.exp(-2 * x) * (1 + 2 * x), rtol=1e-13)
    np.testing.assert_allclose(size_law("erlang:k=1").sf(x), size_law("exponential").sf(x), rtol=1e-13)
    assert size_law("uniform").breakpoints() == (0.0, 2.0)
    assert size_law("deterministic:3").atoms().tolist() == [3.0]
    hyper = size_law("hyperexponential:p=0.9,ratio=10")
    np.testing.assert_allclose(hyper.moment(2), 2 * (0.9 + 0.1 * 100) / 1.9**2, rtol=1e-14)
    low, high = size_law("bounded-pareto:alpha=1.5,high=1000").breakpoints()
    assert high / low == pytest.approx(1000, rel=1e-14)


BAD = ["nan", "inf", "-1", "-inf"]


@pytest.mark.parametrize("value", [*BAD, "0", "1e+308", "1e-200"])  # the last two have no squares
@pytest.mark.parametrize("name", [*DISTRIBUTIONS])
def test_bad_mean(name, value, trace):
    spec = _spec(name, trace)
    with pytest.raises(BadInput, match=f"mean.*{re.escape(value)}"):
        size_law(f"{spec}{',' if ':' in spec else ':'}mean={value}")


@pytest.mark.parametrize("spec", ["lognormal:sigma=30", "exponential:mean=1e18"])
def test_a_moment_beyond_all_numbers_is_infinite(spec):
    assert size_law(spec).moment(40) == np.inf


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", [*DISTRIBUTIONS])
def test_bad_shape(name, value):
    for key, parameter in inspect.signature(DISTRIBUTIONS.builder(name)).parameters.items():
        if isinstance(parameter.default, (int, float)):
            with pytest.raises(BadInput, match=f"{key}.*{value}"):
                size_law(f"{name}:{key}={value}") if name != "empirical" else Empirical([1.0], mean=float(value))


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("weibull:shape=0.001", "0.001"),
        ("gamma:shape=0.01", "0.01"),
        ("hyperexponential:p=1", "1.0"),
        ("hyperexponential:ratio=0.5", "0.5"),
        ("bounded-pareto:high=1", "1.0"),
        ("bounded-pareto:alpha=500", "500.0"),
        ("uniform:low=1", "1.0"),
        ("erlang:k=0", "0"),
        ("erlang:k=2.5", "2.5"),
        ("wiebull", "weibull"),
        ("weibull:shpae=1", "shape"),
    ],
)
def test_bad_specs(spec, value):
    with pytest.raises(BadInput, match=value) as error:
        size_law(spec)
    assert "\n" not in str(error.value)


def test_bad_method_and_order():
    law = size_law("exponential")
    with pytest.raises(BadInput, match="monte"):
        law.moment(1, method="monte")
    with pytest.raises(BadInput, match="-1"):
        law.moment(-1)


def test_file_plain_and_compressed(tmp_path):
    text = "id,tokens\na,10\nb,30\n\nc,20\n"
    (tmp_path / "t.csv").write_text(text)
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write(text)
    for name in ("t.csv", "t.csv.gz"):
        law = size_law(f"empirical:{tmp_path / name},column=tokens")
        np.testing.assert_allclose(law.atoms(), [0.5, 1.0, 1.5])
        np.testing.assert_allclose(law.sf([0.4, 0.5, 1.2, 1.5]), [1, 2 / 3, 1 / 3, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("id,output_tokens\n", ["no data rows", "output_tokens"]),
        ("id,output_token\n1,2\n", ["no column 'output_tokens'", "output_token'"]),
        ("id,output_tokens\n1,5\n2,nan\n", ["row 2", "output_tokens", "nan"]),
        ("id,output_tokens\n1,5\n2,-3\n", ["row 2", "output_tokens", "-3"]),
        ("id,output_tokens\n1,0\n", ["row 1", "output_tokens", "0"]),
        ("id,output_tokens\n1,5\n2,6\n3,many\n", ["row 3", "output_tokens", "many"]),
        ("id,output_tokens\n1,5\n2\n", ["row 2", "output_tokens", "''"]),
    ],
)
def test_bad_files(tmp_path, text, words):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(BadInput) as error:
        size_law(f"empirical:{file}")
    assert "\n" not in str(error.value)
    for word in ["bad.csv", *words]:
        assert word in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "fake.csv.gz").write_bytes(b"not gzip at all")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("none.csv", "fake.csv.gz", "binary.csv", "."):
        with pytest.raises(BadInput, match="cannot read"):
            size_law(f"empirical:{tmp_path / name}")
    with pytest.raises(BadInput, match="file"):
        size_law("empirical")


@pytest.mark.parametrize(
    ("q", "values", "word"),
    [
        ([0, 1], [1, 1], "values"),
        ([0, 0.5, 0.5, 1], [1, 2, 3, 4], "q that ascend"),
        ([0.1, 1], [1, 2], "0.1"),
        ([0, 1], [-1, 2], "-1"),
        ([0, 1], [1, np.nan], "nan"),
        ([0, 1], [1, np.inf], "inf"),
        ([0, 1], [1, 2, 3], "3 values"),
        ([0], [1], "two or more"),
    ],
)
def test_bad_quantile_tables(q, values, word):
    with pytest.raises(BadInput, match=word):
        QuantileTable(q, values)


def test_a_straight_quantile_table_is_the_uniform_law():
    table, uniform, x = QuantileTable([0, 0.4, 1], [0, 4, 10]), size_law("uniform"), np.linspace(0, 2.5, 30)
    for part in ("sf", "cdf"):
        np.testing.assert_allclose(getattr(table, part)(x), getattr(uniform, part)(x), atol=1e-15)
    np.testing.assert_allclose(table.tail_moment(2, x), uniform.tail_moment(2, x), atol=1e-14)
    np.testing.assert_allclose(table.breakpoints(), [0, 0.8, 2])


def test_listing_the_laws_imports_no_scipy():
    code = "import sys, llmqueue_gym.distributions as d; list(d.DISTRIBUTIONS); sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
