"""Energy, money and carbon, against sums by hand."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from llmqueue_gym.evaluation.energy import LIFE, Spent, spent
from llmqueue_gym.evaluation.serving import measure, serve
from llmqueue_gym.profiles import Power, profile
from llmqueue_gym.profiles.gpus import H100
from llmqueue_gym.requests import Requests, never_refreshed, request_table

MADE = replace(
    profile("unit:kv_tokens=160"),
    power=Power(idle=10, prefill=100, decode=50),
    price_per_hour=3.6,
    embodied_kg=LIFE / 1e6,  # 1 mg a second
    pue=1.5,
    grid=3600.0,  # 1 mg/J
)


def test_by_hand():
    found = spent(MADE, prefill=3, decode=2, idle=7)
    assert (found.busy, found.idle, found.joules) == (3 * 100 + 2 * 50, 7 * 10, 470)
    assert found.dollars == pytest.approx(12 * 0.001)
    assert found.running == pytest.approx(470 * 1.5 * 1e-3)
    assert found.making == pytest.approx(12e-3) and found.grams == pytest.approx(0.717)
    assert found.per_token(6) == {
        "joules_per_output_token": pytest.approx(470 / 6),
        "idle_joules_per_output_token": pytest.approx(70 / 6),
        "dollars_per_million_output_tokens": pytest.approx(2000),
        "grams_per_thousand_output_tokens": pytest.approx(1000 * 0.717 / 6),
        "embodied_grams_per_thousand_output_tokens": pytest.approx(2),
    }
    assert np.isnan(list(found.per_token(0).values())).all()


def test_an_h100_for_five_years():
    made = profile("h100-llama3.1-8b")
    found = spent(made, prefill=0, decode=0, idle=LIFE)
    assert found.making == pytest.approx(1000 * H100.embodied_kg) and H100.embodied_kg == pytest.approx(46.652)
    hours = 5 * 365 * 24
    assert found.dollars == pytest.approx(3.99 * hours)
    assert found.running == pytest.approx(0.075 * hours * 1.1 * 429)  # kWh, the building's with them, g


def test_the_energy_of_a_run_is_watts_times_seconds_whatever_the_policy():
    rng = np.random.default_rng(3)
    n = 60
    table = request_table(np.sort(rng.uniform(0, 200, n)), rng.integers(1, 20, n))
    given = Requests(table, rng.integers(1, 12, n), never_refreshed(n))
    for policy in ("fcfs", "sjf"):
        run = serve(given, policy, MADE)
        found, totals = measure(run), run.totals
        span = totals["clock"] - table["arrival"][0]
        busy = 100 * totals["prefill_time"] + 50 * totals["decode_time"]
        idle = 10 * (span - totals["prefill_time"] - totals["decode_time"])
        tokens = given.outputs.sum()
        assert found["joules_per_output_token"] * tokens == pytest.approx(busy + idle)
        assert found["idle_joules_per_output_token"] * tokens == pytest.approx(idle)
        grams = (busy + idle) * 1.5e-3 + span * 1e-3
        assert found["grams_per_thousand_output_tokens"] * tokens / 1000 == pytest.approx(grams)
        assert totals["prefill_time"] + totals["decode_time"] == totals["iterations"]  # 1 s each


def test_a_fleet_is_the_sum_of_its_replicas():
    one, other = spent(MADE, 3, 2, 7), spent(profile("h100-llama3.1-8b"), 30, 200, 0)
    both = sum((one, other), Spent())
    assert astuple(both) == pytest.approx(np.add(astuple(one), astuple(other)))
    assert both.joules == pytest.approx(one.joules + other.joules)
    half = spent(MADE, 1.5, 1, 3.5)
    assert astuple(half + half) == pytest.approx(astuple(one))


def test_what_a_profile_does_not_say_is_not_known():
    found = spent(profile("unit"), 1, 2, 3)
    assert np.isnan([found.joules, found.dollars, found.running, found.making]).all()
    assert spent(profile("unit:price=36"), 1, 2, 3).dollars == pytest.approx(0.06)
