"""Jobs of which some are predicted, and laws in place of numbers: theory against closed forms and against runs."""

import numpy as np
import pytest
from scipy.integrate import quad

from llmqueue_gym import Scenario, analyse, policy, predictor, size_law
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.residual import residual_cvar, residual_quantile

LAW, LOAD = size_law("exponential"), 0.8


def exact(name, told, size="exponential", load=LOAD):
    return analyse(policy(name), size_law(size), predictor(told), load, by_size=False).mean_response_time


def spjf_of_some(share):
    """SPJF where a share of the jobs is predicted exactly and the others count as of size 1: classes by hand."""

    def load_below(y, inclusive):  # of jobs that go first
        unknown = (1 - share) * LOAD * (y > 1 or (inclusive and y == 1))
        return share * LOAD * (1 - (1 + y) * np.exp(-y)) + unknown

    def wait(y):
        return LOAD / ((1 - load_below(y, False)) * (1 - load_below(y, True)))  # lambda E[S^2] / 2 = load

    known = sum(quad(lambda y: wait(y) * np.exp(-y), *ends)[0] for ends in ((0, 1), (1, 50)))
    return 1 + share * known + (1 - share) * wait(1.0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_waiting_by_predictions_that_some_have_is_that_of_classes(share):
    assert exact("spjf", f"partly:share={share},model=exact") == pytest.approx(spjf_of_some(share), rel=1e-3)


@pytest.mark.parametrize("name", ["sprpt", "pspjf", "gittins"])
def test_a_share_of_one_is_the_model_and_of_none_is_blind(name):
    assert exact(name, "partly:share=1,model=lognormal") == pytest.approx(exact(name, "lognormal"), rel=1e-9)
    nearly = exact(name, "partly:share=0.9999999,model=lognormal")
    assert nearly == pytest.approx(exact(name, "lognormal"), rel=1e-3)
    assert exact(name, "partly:share=0,model=lognormal") == pytest.approx(5.0, rel=1e-3)  # any blind order


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ("partly:share=0.6,model=lognormal:sigma=0.5", ("sprpt", "pspjf", "gittins", "sprpt-bounce")),
        ("laws:k=6,claimed=0.4", ("sprpt", "serpt", "quantile:q=0.7", "cvar:q=0.5", "gittins")),
    ],
)
def test_theory_is_what_runs_come_to(told, names):
    """The ratio to first come first served on the same jobs; both are exact in theory."""
    scenario = Scenario(size="exponential", predictor=told, load=0.6, n_jobs=300_000)
    fcfs = scenario.simulate("fcfs", 1).response_times.mean() / 2.5
    for name in names:
        ratio = scenario.simulate(name, 1).response_times.mean() / fcfs
        assert ratio == pytest.approx(exact(name, told, load=0.6), rel=0.01), name


def test_gittins_of_some_predictions_lies_between_none_and_all():
    values = [exact("gittins", f"partly:share={share},model=exponential") for share in (0.3, 0.7)]
    assert 3.053 < values[1] < values[0] < 5.0
    for share, value in zip((0.3, 0.7), values, strict=True):
        assert value < exact("sprpt", f"partly:share={share},model=exponential")


def test_closed_forms_are_not_for_lumps():
    with pytest.raises(NotApplicable, match="equal and continuous in part"):
        analyse(policy("sprpt"), LAW, predictor("partly:share=0.5"), LOAD, "formula")


def test_gittins_that_goes_by_a_wrong_law_bounds_nothing_on_several_servers():
    for told, known in (("laws:k=4", True), ("laws:k=4,claimed=0.5", False), ("partly:share=0.5,model=laws", True)):
        rows = Scenario("central", servers=2, predictor=told, load=0.6, n_jobs=10).known("gittins")
        assert bool([row for row in rows if "Grosof" in row["source"]]) == known, told


# Ranks by one number of the law of what is left.


def test_what_is_left_of_an_exponential_job_is_always_the_same():
    row = JointLaw(LAW).rows[0]
    young = row.ages < 6
    for ages, left, value in (
        (*residual_cvar(row, 0.0), 1.0),
        (*residual_cvar(row, 0.9), 1 + np.log(10)),
        (*residual_quantile(row, 0.5), np.log(2)),
    ):
        np.testing.assert_allclose(left[: len(ages)][young[: len(ages)]], value, rtol=2e-3)


def test_what_is_left_of_samples_is_counted():
    samples = np.random.default_rng(0).weibull(0.7, size=4000)
    law = size_law("weibull:shape=0.7,mean=1.0")
    row = JointLaw(law).rows[0]
    samples = samples / samples.mean()
    for age in (0.0, 0.5, 2.0):
        left = samples[samples > age] - age
        quantile, cvar = (np.interp(age, *found) for found in (residual_quantile(row, 0.8), residual_cvar(row, 0.8)))
        assert quantile == pytest.approx(np.quantile(left, 0.8), rel=0.1)
        assert cvar == pytest.approx(left[left >= np.quantile(left, 0.8)].mean(), rel=0.1)


def test_with_exact_predictions_all_of_them_are_srpt():
    srpt = exact("srpt", "exact")
    for name in ("serpt", "quantile:q=0.9", "cvar:q=0.9", "gittins"):
        assert exact(name, "exact") == pytest.approx(srpt, rel=1e-3)


def test_a_calibrated_law_is_worth_most_to_gittins():
    told = "laws:k=6,wide=1.5"
    gittins = exact("gittins", told, "weibull:shape=0.5")
    for name in ("sprpt", "serpt", "quantile:q=0.3", "quantile:q=0.9", "cvar:q=0.9"):
        assert exact(name, told, "weibull:shape=0.5") > gittins * (1 - 1e-4)
    hidden = "buckets:k=6,noise=two-lognormals:sigma=0.25;wide=1.5;share=0.5"
    assert exact("gittins", hidden, "weibull:shape=0.5") > gittins
    for claimed in (0.2, 3.0):
        assert exact("gittins", f"{told},claimed={claimed}", "weibull:shape=0.5") > gittins


@pytest.mark.parametrize("spec", ["quantile:q=0", "quantile:q=1", "cvar:q=-0.1", "cvar:q=1"])
def test_bad_levels(spec):
    with pytest.raises(BadInput, match="q="):
        policy(spec)
