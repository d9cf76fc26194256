"""Policies that watch their predictor, against a slow simulator; the alarm, against the theory of CUSUM."""

import numpy as np
import pytest
from reference_monitored import monitored_schedule
from reference_servers import same_outcome
from when_to_stop_trusting import THRESHOLDS, alarms

from llmqueue_gym import Scenario, predictor, size_law
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.policies.monitored import MonitoredPolicy, monitored_policy
from llmqueue_gym.policies.monitored.base import log_errors
from llmqueue_gym.systems.mg1 import RESOLUTION
from llmqueue_gym.theory.cusum import average_run_length

JUMP = "drifting:before=lognormal:sigma=0.3,after=lognormal:sigma=2,at=0.4"
WATCHING = (
    "trust-until-alarm:alarm=3",
    "trust-until-alarm:alarm=3,afterwards=fcfs",
    "trust-until-alarm:alarm=20,good=1,times=3",
    "blend:window=20",
    "recalibrate:window=20",
)


def shortest(job, memory, params):
    return job.predicted - job.age


def youngest(job, memory, params):
    return job.age


def count(job, memory, params):
    return memory.state + job.age * memory.seen


def by_state(job, memory, params):
    return job.predicted * (1.0 + memory.state % 3.0) - 0.5 * job.age


@pytest.mark.parametrize("spec", WATCHING)
@pytest.mark.parametrize("told", [JUMP, "partly:share=0.6,model=lognormal:sigma=1"])
def test_plays_as_a_slow_simulator_does(spec, told):
    for seed in range(3):
        scenario = Scenario("monitored", size="weibull:shape=0.5", predictor=told, load=0.9, n_jobs=250)
        made = monitored_policy(spec)
        params, run = made.params_for(**scenario.facts(made)), scenario.simulate(made, seed)
        expected, states = monitored_schedule(scenario.draw(seed), made, params, RESOLUTION)
        same_outcome(run.outcome, expected, exactly=False, label=f"{spec} {seed}")
        assert run.totals["state"] == pytest.approx(states[-1]) and len(states) == 250


def test_all_ranks_are_those_of_what_was_learnt_last():
    mine = MonitoredPolicy("mine", by_state, count, shape="falling")
    scenario = Scenario("monitored", load=0.9, n_jobs=400)
    expected, states = monitored_schedule(scenario.draw(3), mine, (), RESOLUTION)
    run = scenario.simulate(mine, 3)
    same_outcome(run.outcome, expected, exactly=False)
    order = np.argsort(run.outcome["completion"])
    np.testing.assert_allclose(states, np.cumsum(run.sizes[order] * np.arange(1, 401)))


@pytest.mark.parametrize(("rank", "shape", "plain"), [(shortest, "falling", "sprpt"), (youngest, "general", "las")])
def test_who_learns_nothing_plays_as_on_one_server(rank, shape, plain):
    watched = Scenario("monitored", size="weibull:shape=0.5", load=0.8, n_jobs=50_000)
    alone = Scenario("mg1", size="weibull:shape=0.5", load=0.8, n_jobs=50_000)
    mine, same, own = (
        watched.simulate(MonitoredPolicy("mine", rank, shape=shape), 5),
        watched.simulate(plain, 5),
        alone.simulate(plain, 5),
    )
    np.testing.assert_array_equal(same.outcome, own.outcome)
    if shape == "falling":
        np.testing.assert_array_equal(mine.outcome, own.outcome)
    else:  # in turns of a slice, not together
        assert mine.response_times.mean() == pytest.approx(own.response_times.mean(), rel=2e-3)


def test_an_alarm_that_never_comes_is_sprpt_and_one_that_comes_at_once_is_what_follows():
    scenario = Scenario("monitored", size="weibull:shape=0.5", predictor=JUMP, n_jobs=20_000)
    never = scenario.simulate("trust-until-alarm:alarm=1e12", 1)
    np.testing.assert_array_equal(never.outcome, scenario.simulate("sprpt", 1).outcome)
    at_once = scenario.simulate("trust-until-alarm:alarm=1e-9,good=1e-9,times=1e9", 1)
    assert at_once.totals["state"] == np.inf
    las = scenario.simulate("las", 1).response_times.mean()
    assert at_once.response_times.mean() == pytest.approx(las, rel=5e-3)
    fcfs = scenario.simulate("trust-until-alarm:alarm=1e-9,good=1e-9,times=1e9,afterwards=fcfs", 1)
    assert fcfs.response_times.mean() == pytest.approx(scenario.simulate("fcfs", 1).response_times.mean(), rel=5e-3)


def test_the_alarm_is_silent_before_a_jump_and_soon_after_it():
    scenario = Scenario("monitored", size="weibull:shape=0.5", predictor=JUMP, n_jobs=20_000)
    made = monitored_policy("trust-until-alarm:alarm=30")  # a false alarm in more than e^30 pairs
    params, run = made.params_for(**scenario.facts(made)), scenario.simulate(made, 2)
    order = np.argsort(run.outcome["completion"])
    errors = np.log(run.jobs["predicted"] / run.sizes)[order]
    w = alarm = 0
    for alarm, error in enumerate(errors):  # noqa: B007
        w = max(0.0, w + params[0] * error**2 - params[1])
        if w >= 30:
            break
    assert 0.4 * 20_000 - 100 < alarm < 0.4 * 20_000 + 200
    sprpt = scenario.simulate("sprpt", 2).response_times
    before, after = run.response_times[:7000].mean(), run.response_times[9000:].mean()
    assert before == pytest.approx(sprpt[:7000].mean()) and after < sprpt[9000:].mean()


def test_what_is_learnt_is_the_error_of_late():
    scenario = Scenario("monitored", predictor="distorted:factor=3,model=lognormal:sigma=0.5", n_jobs=50_000)
    bias = scenario.simulate("recalibrate:window=1e9", 0).totals["state"]
    square = scenario.simulate("blend:window=1e9", 0).totals["state"]
    error = 5 * 0.5 / np.sqrt(50_000)
    assert bias == pytest.approx(np.log(3), abs=error)
    assert square == pytest.approx(np.log(3) ** 2 + 0.25, abs=5 * error)


def test_jobs_that_are_not_predicted_teach_nothing():
    known = Scenario("monitored", predictor="partly:share=0.5,model=lognormal:sigma=0.5", n_jobs=50_000)
    assert known.simulate("blend:window=1e9", 0).totals["state"] < 0.3  # with those of mean size it were above 1
    errors = log_errors(size_law("exponential"), known.fitted)
    assert errors.std() == pytest.approx(0.5, abs=0.02) and 9000 < len(errors) < 11_000
    unknown = Scenario("monitored", predictor="partly:share=0,model=exact", n_jobs=5000)
    fcfs = unknown.simulate("fcfs", 0)
    for name in ("blend", "recalibrate", "trust-until-alarm"):  # all of mean size: whoever runs is always ahead
        run = unknown.simulate(name, 0)
        assert run.totals["state"] == 0.0
        np.testing.assert_allclose(run.outcome["completion"], fcfs.outcome["completion"])


def test_recalibration_undoes_a_bias():
    jump = "drifting:before=lognormal:sigma=0.3,after=distorted:factor=5;model=lognormal:sigma=0.3,at=0.5"
    scenario, plain = (Scenario("monitored", predictor=one, n_jobs=200_000) for one in (jump, "lognormal:sigma=0.3"))
    late = [
        where.simulate(name, 1).response_times[110_000:].mean()
        for where, name in ((scenario, "recalibrate"), (plain, "sprpt"), (scenario, "sprpt"))
    ]
    assert late[0] == pytest.approx(late[1], rel=0.01) and late[2] > 1.05 * late[1]


def test_the_study_finds_the_alarms_of_a_run_without_playing_them():
    scenario = Scenario("monitored", size="weibull:shape=0.5", predictor=JUMP, n_jobs=3000)
    found = alarms(scenario.simulate("sprpt", 3), good=0.3)
    for threshold, at in list(zip(THRESHOLDS, found, strict=True))[2:6]:
        made = monitored_policy(f"trust-until-alarm:alarm={threshold},good=0.3")
        _, states = monitored_schedule(scenario.draw(3), made, made.params_for(**scenario.facts(made)), RESOLUTION)
        assert at == 1 + np.argmax(np.isinf(states) | (np.array(states) >= threshold))


# The theory of the alarm.


@pytest.mark.parametrize(("alarm", "sigma"), [(2.0, 0.3), (4.0, 0.6), (4.0, 0.9)])
def test_run_lengths_are_those_of_simulated_alarms(alarm, sigma):
    good, bad, runs = 0.3, 0.6, 4000
    factor, drift = 0.5 * (good**-2 - bad**-2), np.log(bad / good)
    rng, w, length = np.random.default_rng(1), np.zeros(runs), np.zeros(runs)
    going = np.ones(runs, bool)
    while going.any():
        errors = sigma * rng.standard_normal(going.sum())
        w[going] = np.maximum(0.0, w[going] + factor * errors**2 - drift)
        length[going] += 1
        going &= w < alarm
    assert length.mean() == pytest.approx(average_run_length(alarm, good, bad, sigma), abs=4 * length.std() / runs**0.5)


@pytest.mark.parametrize("alarm", [1.0, 3.0, 6.0])
def test_false_alarms_are_as_rare_as_lorden_says(alarm):
    lengths = [average_run_length(alarm, 1.0, bad, 1.0) for bad in (1.5, 2.0, 4.0)]
    assert min(lengths) > np.exp(alarm)
    delays = [average_run_length(alarm, 1.0, 2.0, sigma) for sigma in (1.0, 1.5, 2.0, 4.0)]
    assert np.all(np.diff(delays) < 0) and delays[-1] > 1


def test_pairs_in_the_order_of_departure_raise_alarms_at_that_rate():
    """The errors of a queue are those of jobs as they leave, whose order depends on them; alarms hardly mind."""
    scenario = Scenario("mg1", predictor="lognormal:sigma=0.3", load=0.8, n_jobs=400_000)
    run = scenario.simulate("sprpt", 4)
    errors = np.log(run.jobs["predicted"] / run.sizes)[np.argsort(run.outcome["completion"])]
    steps = 0.5 * (0.3**-2 - 0.6**-2) * errors**2 - np.log(2.0)
    w, alarms = 0.0, 0
    for step in steps.tolist():
        w = max(0.0, w + step)
        if w >= 4.0:
            w, alarms = 0.0, alarms + 1
    assert len(errors) / alarms == pytest.approx(average_run_length(4.0, 0.3, 0.6, 0.3), rel=0.2)


# What is refused.


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("trust-until-alarm:alarm=0", "alarm=0"),
        ("trust-until-alarm:times=1", "times=1"),
        ("trust-until-alarm:good=-1", "good=-1"),
        ("trust-until-alarm:afterwards=ps", "choose from: fcfs, las"),
        ("blend:window=0", "window=0"),
        ("recalibrate:window=inf", "window=inf"),
        ("trust-until-alrm", "did you mean 'trust-until-alarm'"),
    ],
)
def test_bad_parameters(spec, words):
    with pytest.raises(BadInput, match=words):
        monitored_policy(spec)


@pytest.mark.parametrize("name", ["trust-until-alarm", "blend", "recalibrate"])
def test_there_must_be_predictions_to_watch(name):
    with pytest.raises(NotApplicable, match="there must be predictions"):
        Scenario("monitored", predictor="none", n_jobs=10).simulate(name)


def test_theory_knows_what_does_not_watch():
    scenario = Scenario("monitored", predictor="exponential", load=0.8)
    assert scenario.known("sprpt")[0]["value"] == pytest.approx(3.1375, abs=1e-3)
    assert scenario.known("blend") == [] and Scenario("monitored", predictor=JUMP).known("sprpt") == []
    for alarm, words in ((0.0, "alarm=0"), (np.inf, "alarm=inf")):
        with pytest.raises(BadInput, match=words):
            average_run_length(alarm, 1.0, 2.0, 1.0)
    with pytest.raises(BadInput, match="above good"):
        average_run_length(1.0, 2.0, 2.0, 1.0)


def test_gittins_goes_by_what_it_was_fitted_to():
    drawn = Scenario("monitored", predictor=JUMP)
    params = [drawn.policy("gittins").params_for(**drawn.facts()), None]
    params[1] = drawn.policy("gittins").params_for(size_law("exponential"), predictor("lognormal:sigma=0.3"))
    np.testing.assert_array_equal(*params)
