"""The Gittins index of output lengths: its table, ages before it, and extremes without a warning."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import lognorm

from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.policies.serving.gittins_lengths import _LEAST, _MOST, _POINTS, index_table


def rank(sigma, predicted, generated):
    """Return the rank, uncompiled, of numbers of the types that a table of requests has."""
    p = serving_policy(f"gittins-lengths:sigma={sigma}")
    request = SimpleNamespace(predicted=np.float64(predicted), generated=np.int64(generated))
    return p.rank(request, None, np.array(p.params))


def index(law, a, ends):
    """Return the least cost per completion after age a, if served up to one of the ages `ends`, by quadrature."""
    tail = law.cdf if a < 1 else law.sf  # the one whose difference keeps its digits
    return min(
        quad(law.sf, a, b, limit=200, points=[1.0] if a < 1 < b else None)[0] / abs(tail(a) - tail(b)) for b in ends
    )


@pytest.mark.parametrize("sigma", [0.3, 1.5])
def test_the_table_is_the_index(sigma):
    law, table = lognorm(sigma), index_table(sigma)
    z = np.linspace(_LEAST, _MOST, _POINTS)
    for k in (0, 100, 160, 200):
        ends = np.exp(sigma * (z[k] + np.geomspace(2e-3, 8 - z[k], 60)))
        assert table[k] == pytest.approx(index(law, np.exp(sigma * z[k]), ends), rel=0.01)
    ranks = [rank(sigma, 100.0, generated) for generated in (0, 50, 10_000)]
    assert ranks[2] > ranks[0]
    assert (ranks[1] < ranks[0]) == (sigma < 1)  # half of a sure length is good news, half of a vague one is not


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3, 0.7])
@pytest.mark.parametrize("generated", [0, 40])
def test_the_rank_is_the_index_where_predictions_are_sure_too(sigma, generated):
    age = generated / 100
    z = max(np.log(max(age, 1e-9)) / sigma, -3.0)  # few end before
    ends = np.exp(sigma * (z + np.geomspace(2e-3, 8 - z, 60)))
    assert rank(sigma, 100.0, generated) == pytest.approx(100 * index(lognorm(sigma), age, ends), rel=0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sigma", [1e-300, 1e-9, 0.5, 2.0])
@pytest.mark.parametrize("predicted", [0.0, 1e-300, 1.0, 1e25, 1e300])
def test_no_age_or_prediction_gives_a_warning(sigma, predicted):
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        ranks = [rank(sigma, predicted, generated) for generated in (0, 1, 10**6)]
    assert np.isfinite(ranks).all()
    if predicted >= 1:
        assert ranks[0] > 0
