"""Policies that share one server: job by job as the rules say, in the order of processor sharing, theory beside it."""

from dataclasses import replace

import numpy as np
import pytest
from agreement import inside
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference_servers import las_schedule, same_outcome
from reference_sharing import Ambiguous, sharing_schedule
from small_jobs import POSITIVE, small_jobs

from llmqueue_gym import _jit, policies
from llmqueue_gym.engines import processor_sharing
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies.sharing import SHARING, SharingPolicy
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.mg1 import MG1

NAMES = list(SHARING)
BY_VIRTUAL_END = [name for name in NAMES if SHARING(name).order == "virtual"]
INSTANCES = 10 if _jit.DISABLED else 60
N_JOBS = 2_000 if _jit.DISABLED else 200_000
MANY = 0.999  # level of the intervals


def play(drawn, policy):
    if policy.predictor is not None:
        drawn.work["predicted"] = drawn.sizes
    return MG1().simulate(drawn, policy)


def some_jobs(seed, noise=None, weights=True):
    """Up to 13 jobs whose times never tie, some of them predicted right, too long, too short, or 0."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 14))
    arrivals, sizes = rng.exponential(1.0, n).cumsum(), rng.weibull(0.6, n)
    noise = rng.choice([0.0, 0.3, 1.0, 2.0]) if noise is None else noise
    predicted = sizes * np.exp(noise * rng.standard_normal(n))
    if noise > 0:
        predicted[rng.random(n) < 0.1] = 0.0
    weight = rng.uniform(0.2, 5.0, n) if weights else 1.0
    return Drawn(job_table(arrivals, predicted, weight), {"sizes": sizes})


@pytest.mark.parametrize("name", NAMES)
def test_every_job_fares_as_the_rules_say(name):
    policy = SHARING(name)
    for seed in range(INSTANCES):
        drawn = some_jobs(seed)
        found = play(drawn, policy).outcome
        same_outcome(found, sharing_schedule(drawn, policy), exactly=False, label=f"{name}, seed {seed}")


@pytest.mark.parametrize("name", NAMES)
@given(drawn=small_jobs(predicted=st.integers(0, 12).map(lambda q: q / 4), weight=POSITIVE))
@settings(deadline=None, max_examples=10 if _jit.DISABLED else 40)
def test_ties_are_settled_as_the_rules_say(name, drawn):
    policy = SHARING(name)
    found = play(drawn, policy).outcome["completion"]
    try:
        expected = sharing_schedule(drawn, policy)["completion"]
    except Ambiguous:
        assume(False)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
