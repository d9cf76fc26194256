"""Policies: every registered one compiles, is finite, cites its source, pickles; a user's function is as good."""

import pickle

import numpy as np
import pytest

from llmqueue_gym._jit import compile_rank, records
from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.evaluation import Scenario, rollout
from llmqueue_gym.jobs import JOB
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.base import READABLE, from_function
from llmqueue_gym.predictors import predictor

NAMES = list(POLICIES)


def rank_of(p, params, age, predicted):
    job = records(np.zeros(1, JOB))
    job["age"], job["predicted"] = age, predicted
    return p.rank(job.view(np.recarray)[0], params)


@pytest.mark.parametrize("name", NAMES)
def test_rank_is_a_number_on_a_grid(name):
    p = policy(name)
    size = size_law("weibull:shape=0.5")
    params = p.params_for(size, predictor(p.predictor or "exponential").bind(size))
    for predicted in (0.0, 1e-9, 0.3, 1.0, 50.0, 1e6):
        for age in (0.0, 1e-12, 0.3, 1.0, 50.0, 1e6):
            assert not np.isnan(rank_of(p, params, age, predicted))


@pytest.mark.parametrize("name", NAMES)
def test_shape_is_what_the_policy_promises(name):
    p = policy(name)
    size = size_law("exponential")
    params = p.params_for(size, predictor(p.predictor or "exponential").bind(size))
    ages = np.linspace(0, 5, 200)
    for predicted in (0.1, 1.0, 3.0):
        ranks = np.array([rank_of(p, params, a, predicted) for a in ages])
        if p.shape == "constant":
            assert (ranks == ranks[0]).all()
        elif p.shape == "falling":
            assert (ranks[1:] <= ranks[:-1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_compiles_cites_and_pickles(name):
    p = policy(name)
    compile_rank(p.rank, cache=True)
    assert p.source
    assert pickle.loads(pickle.dumps(p)) == p
    assert p.name == name


def test_a_policy_that_reads_the_truth_is_told_why():
    def cheat(job, params):
        return job.size

    def cheat_by_name(job, params):
        return job["size"] - job.age

    for function in (cheat, cheat_by_name):
        with pytest.raises(TruthError, match="true sizes are hidden"):
            from_function(function)


def test_a_misspelt_column_gets_the_nearest():
    def typo(job, params):
        return job.predictd

    with pytest.raises(BadInput, match="did you mean 'predicted'"):
        from_function(typo)


def test_a_function_that_cannot_be_compiled_says_so_in_one_line():
    def odd(job, params):
        return {"a": job.age}["a"] + open("x")

    def imports(job, params):
        import math

        return math.log(job.predicted)

    for function in (odd, imports):
        with pytest.raises(BadInput, match="cannot be compiled") as error:
            compile_rank(function, cache=False)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["one-bit:threshold=0", "one-bit-lcfs:threshold=-1", "limited-preemption:c=2"])
def test_bad_parameters(spec):
    with pytest.raises(BadInput, match=spec.split("=")[1]):
        policy(spec)


def test_something_that_is_no_policy():
    with pytest.raises(BadInput, match="did you mean 'sprpt'"):
        policy("sprtp")
    with pytest.raises(BadInput, match="not a policy"):
        policy(42)
    with pytest.raises(BadInput, match="not a policy"):
        policy(lambda job: 0.0)


def test_a_row_that_is_handed_on_may_be_read_in_full():
    def hands_on(job, params):
        return helper(job, params)

    assert from_function(hands_on).reads() == set(READABLE)


def helper(job, params):
    return job.age


def half(x):
    return 0.5 * x


def less_half(x, y):
    return x - half(y)


def half_life(job, params):
    return less_half(job.predicted, job.age)


def test_a_rank_may_call_plain_functions_of_its_file():
    run = [rollout(rank, Scenario(load=0.8, n_jobs=500), seed=1) for rank in (half_life, plain_half_life)]
    np.testing.assert_array_equal(run[0].outcome["completion"], run[1].outcome["completion"])


def plain_half_life(job, params):
    return job.predicted - 0.5 * job.age
