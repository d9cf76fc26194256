"""Error models fitted to pairs: the model that made them is found again, and scored best; and what is refused."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from recorded import recorded

from llmqueue_gym import predictor, size_law
from llmqueue_gym.cli import cli
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.fit import FAMILIES, cells, compare, fitted, log_chances


def written(path, spec, n=3000, unit=100.0, classes=None):
    """Write pairs that a model made, in some unit, rounded; or labels of so many classes."""
    rng = np.random.default_rng(5)
    sizes = np.maximum(np.round(unit * size_law("exponential").sample(n, rng)), 1)
    said = np.round(predictor(spec).predict(sizes / unit, rng) * unit)
    if classes:
        said = np.searchsorted(np.quantile(sizes, np.arange(1, classes) / classes), said)
    rows = "\n".join(f"{x:.0f},{y:.0f}" for x, y in zip(sizes, said, strict=True))
    path.write_text(f"output_tokens,predicted_tokens\n{rows}\n")
    return str(path)


@pytest.mark.parametrize(
    ("made", "family", "distorted"),
    [
        ("lognormal:sigma=0.6", "lognormal", False),
        ("gamma:shape=3", "gamma", False),
        ("laplace:scale=0.5", "laplace", False),
        ("normal:sigma=0.3", "normal", False),
        ("two-lognormals:sigma=0.3,wide=1.2,share=0.3", "two-lognormals", False),
        ("distorted:factor=0.7,power=0.5,model=lognormal:sigma=0.6", "lognormal", True),
    ],
)
def test_the_model_that_made_the_pairs_is_found(tmp_path, made, family, distorted):
    pairs = cells(written(tmp_path / "p.csv", made))
    found, other = predictor(fitted(family, distorted, pairs)), predictor(made)
    y, x = np.geomspace(0.05, 8, 40), np.array([[0.3], [1.0], [3.0]])
    np.testing.assert_allclose(found.cdf(y, x), other.cdf(y, x), atol=0.03)
    assert log_chances(str(found), pairs).mean() > log_chances(made, pairs).mean() - 1e-4  # the likeliest of all


def test_families_are_scored_on_pairs_that_they_were_not_fitted_to(tmp_path):
    pairs = cells(written(tmp_path / "p.csv", "distorted:factor=0.8,power=0.4,model=lognormal:sigma=0.4", n=1500))
    fits = compare(pairs)
    assert len(fits) == 2 * len(FAMILIES) and fits[0].behind == 0
    assert fits[0].family in ("lognormal, distorted", "two-lognormals, distorted")
    behind = {fit.family: fit for fit in fits}
    assert behind["lognormal"].behind_ci95[0] > 0.1 and behind["exponential"].behind > behind["lognormal"].behind
    for fit in fits:
        own = log_chances(fit.spec, pairs).mean()
        assert fit.ci95[0] < fit.log_likelihood < fit.ci95[1] and own > fit.log_likelihood - 0.05
    assert compare(pairs) == fits


def test_classes_are_cells_of_lengths(tmp_path):
    pairs = cells(written(tmp_path / "c.csv", "lognormal:sigma=0.5", classes=4))
    assert np.all(np.diff(pairs.edges) > 0) and len(pairs.edges) == 3
    assert set(pairs.low) == {-np.inf, *pairs.edges} and np.all(pairs.low < pairs.high)
    found = predictor(fitted("lognormal", False, pairs))
    assert found.sigma == pytest.approx(0.5, abs=0.04)


def test_chances_of_all_cells_sum_to_one(tmp_path):
    pairs = cells(written(tmp_path / "p.csv", "lognormal:sigma=0.5", n=60))
    ends = np.unique(np.concatenate([pairs.low, pairs.high]))
    one = pairs._replace(sizes=np.full(len(ends) - 1, 1.3), low=ends[:-1], high=ends[1:])
    assert np.exp(log_chances("gamma:shape=2", one)).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [(["1,2"] * 19, "19 pairs are too few"), (["1,50"] * 30, "all predictions are 50"), (["0,2"] * 30, "length is 0")],
)
def test_what_cannot_be_fitted_is_told(tmp_path, rows, words):
    path = tmp_path / "p.csv"
    path.write_text("output_tokens,predicted_tokens\n" + "\n".join(rows) + "\n")
    with pytest.raises(BadInput, match=words):
        cells(str(path))


def test_the_command_names_the_best_model(tmp_path):
    path = written(tmp_path / "p.csv", "laplace:scale=0.4", n=400)
    told = CliRunner().invoke(cli, ["predictors", "fit", path, "--json"])
    found = json.loads(told.stdout)
    assert told.exit_code == 0 and found["pairs"] == 400 and len(found["fits"]) == 2 * len(FAMILIES)
    assert predictor(found["fits"][0]["spec"])
    words = CliRunner().invoke(cli, ["predictors", "fit", path]).stdout
    assert found["fits"][0]["spec"] in words
    listed = CliRunner().invoke(cli, ["predictors"]).stdout
    assert "two-lognormals" in listed


def test_real_pairs_regress_to_the_mean():
    path = recorded("traces", "data", "pred_emotion_service.csv.gz")
    pairs = cells(str(path), "service_s", "predicted_service_s")
    model = predictor(fitted("lognormal", True, pairs))
    assert 0.1 < model.power < 0.3  # the predictions follow the fifth root of the sizes, or so
    assert log_chances(str(model), pairs).mean() > log_chances("lognormal:sigma=0.55", pairs).mean() + 0.3
