"""One server on which predictions cost: the engine against a slow simulator, the environment against the engine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_predicting import predicting_schedule
from reference_servers import same_outcome

from llmqueue_gym.jobs import CHEAP, EXPENSIVE, PROFILE, SERVE, job_table
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.systems import Drawn
from llmqueue_gym.systems.predict import Predict

WHERE = ("outside", "server", "servers", "servers,servers=2")


def least_age(job, stage, params):
    return job.age


def spjf(job, stage, params):
    return job.predicted


def everything(job, stage, params):
    """Buy all, one after the other, and a profile if nothing else is left; some of it late."""
    if job.age == 0.0:
        return CHEAP if stage.known == 0 else PROFILE
    return EXPENSIVE


def backwards(job, stage, params):
    return EXPENSIVE if stage.known == 0 else CHEAP


def by_class(job, stage, params):
    return job.klass - 0.1 * stage.done if stage.kind == SERVE else stage.kind


POLICIES = [
    *("fcfs", "sprpt-paid", "one-bit-paid", "skip-predict:threshold=2", "delay-predict:limit=2", "profile"),
    *("selective:p=0", "selective:p=0.5", "selective:p=0.5,blind_first=false", "selective:p=1"),
    *("load-adaptive:at_least=2", "load-adaptive:at_least=3,blind_first=false", "bypass:limit=1", "bypass:limit=0"),
    least_age,
    spjf,
    PredictingPolicy("backwards", by_class, backwards, edges=(2.0,)),
    PredictingPolicy("three classes", by_class, everything, edges=(1.0, 3.0), pause=2.0, shape="falling"),
]


@st.composite
def instances(draw):
    """A few jobs; of whole and quarter numbers, so that much happens at the same time, or not."""
    n = draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        arrivals, sizes = np.sort(rng.integers(0, 12, n)).astype(float), rng.integers(1, 8, n) / 2
        predictions, cheap = rng.integers(0, 8, n) / 2, rng.integers(0, 8, n) / 2
        costs = rng.integers(0, 4, 2) / 4
    else:
        arrivals, sizes = np.cumsum(rng.exponential(1.0, n)), rng.exponential(1.0, n) + 1e-3
        predictions, cheap, costs = rng.exponential(sizes), rng.exponential(sizes), rng.random(2)
    work = job_table(arrivals)
    work["klass"] = -1
    truth = {"sizes": sizes, "predictions": predictions, "cheap": cheap, "coin": rng.random(n)}
    return Drawn(work, truth), f"cheap={costs[0]},expensive={costs[1]},profile=0.75,slow=0.5"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda one: one if isinstance(one, str) else PREDICTING(one).name)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(instances(), st.sampled_from(WHERE))
def test_the_engine_does_what_the_slow_simulator_does(policy, instance, where):
    drawn, costs = instance
    system, made = Predict(f"{costs},where={where}"), PREDICTING(policy)
    run = system.simulate(drawn, made)
    expected, known, bought = predicting_schedule(drawn, made, system.costs)
    same_outcome(run.outcome, expected, exactly=False)
    np.testing.assert_array_equal(run.jobs["predicted"], [y for y, _ in known])
    np.testing.assert_array_equal(run.jobs["klass"], [klass for _, klass in known])
    names = {CHEAP: "cheap", EXPENSIVE: "expensive", PROFILE: "profiled", "price": "price"}
    assert {names[kind]: run.totals[names[kind]] for kind in bought} == pytest.approx(
        {names[kind]: number for kind, number in bought.items()}
    )
