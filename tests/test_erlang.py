"""Equal and unequal servers with exponential sizes: against closed forms, each other, and what must be conserved."""

import numpy as np
import pytest
from scipy.stats import poisson

from llmqueue_gym.errors import BadInput, Unstable
from llmqueue_gym.theory.erlang import MMk, erlang_b, erlang_c, servers_for
from llmqueue_gym.theory.unequal_servers import fastest_first, one_fast_server, shared_fastest

# Equal servers.


@pytest.mark.parametrize(("k", "a"), [(1, 0.5), (5, 3.3), (40, 41.0), (10_000, 9_990.0)])
def test_erlang_b_is_a_ratio_of_poisson_probabilities(k, a):
    assert erlang_b(k, a) == pytest.approx(poisson.pmf(k, a) / poisson.cdf(k, a), rel=1e-8)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9, 0.999])
def test_erlang_c_of_one_and_two_servers(rho):
    assert erlang_c(1, rho) == pytest.approx(rho)
    assert erlang_c(2, 2 * rho) == pytest.approx(2 * rho**2 / (1 + rho))


def test_mmk_of_one_server_is_the_mm1():
    queue = MMk(1, 0.9, 2.0)
    assert queue.mean_response_time == pytest.approx(20)
    assert queue.mean_jobs == pytest.approx(9)
    assert queue.response_quantile(0.99) == pytest.approx(20 * np.log(100))
    assert queue.wait_quantile(0.05) == 0


@pytest.mark.parametrize(("k", "load"), [(2, 0.5), (3, 0.8), (50, 0.95)])
def test_quantiles_are_where_the_tails_say_and_tails_integrate_to_means(k, load):
    queue = MMk(k, load)
    t = np.linspace(0, 200, 200_001)
    for tail, mean in ((queue.wait_tail, queue.mean_wait), (queue.response_tail, queue.mean_response_time)):
        assert np.trapezoid([tail(u) for u in t[::50]], t[::50]) == pytest.approx(mean, rel=2e-3)
    assert queue.response_tail(queue.response_quantile(0.9)) == pytest.approx(0.1)
    assert queue.wait_tail(queue.wait_quantile(0.999)) == pytest.approx(0.001)


def test_staffing_is_the_least_that_does():
    k = servers_for(100, 0.1)
    assert erlang_c(k, 100) <= 0.1 < erlang_c(k - 1, 100)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: erlang_c(3, 3.0), Unstable),
        (lambda: MMk(3, 1.0), Unstable),
        (lambda: MMk(0, 0.5), BadInput),
        (lambda: erlang_b(2.5, 1.0), BadInput),
        (lambda: erlang_b(2, float("nan")), BadInput),
        (lambda: MMk(2, 0.5).wait_quantile(1.0), BadInput),
        (lambda: servers_for(5, 0.0), BadInput),
        (lambda: fastest_first([1.0, 0.5], 1.5), Unstable),
        (lambda: fastest_first([1.0, -0.5], 0.1), BadInput),
    ],
)
def test_bad_numbers_are_named(call, error):
    with pytest.raises(error) as info:
        call()
    assert len(str(info.value).splitlines()) == 1


# Unequal servers.


def test_two_unequal_servers_agree_with_gumbel():
    fast, slow, lam = 2.0, 0.5, 2.0
    rho = lam / (fast + slow)
    a = fast * slow * (1 + 2 * rho) / (lam * (lam + slow)) + 1 / (1 - rho)
    assert fastest_first([slow, fast], lam).mean_jobs == pytest.approx(1 / (a * (1 - rho) ** 2))


def test_equal_servers_are_the_mmk():
    for solve in (fastest_first, shared_fastest):
        result = solve([1.0] * 5, 4.0)
        assert result.mean_jobs == pytest.approx(MMk(5, 0.8).mean_jobs)
        assert result.delay_probability == pytest.approx(MMk(5, 0.8).delay_probability)
        assert result.busy.sum() == pytest.approx(4.0)


@pytest.mark.parametrize("lam", [0.3, 2.0, 3.4])
def test_floors_are_in_order_and_work_is_conserved(lam):
    rates = [2.0, 1.0, 0.5]
    exact = fastest_first(rates, lam)
    assert one_fast_server(rates, lam) < shared_fastest(rates, lam).mean_response_time < exact.mean_response_time
    assert exact.busy @ rates == pytest.approx(lam)
