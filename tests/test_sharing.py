"""Policies that share one server: job by job as the rules say, in the order of processor sharing, theory beside it."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from agreement import inside
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference_servers import las_schedule, same_outcome
from reference_sharing import Ambiguous, sharing_schedule
from small_jobs import POSITIVE, small_jobs

from llmqueue_gym import _jit, baseline_agent, policies
from llmqueue_gym.engines import processor_sharing
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.evaluation import batch_means
from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies.sharing import SHARING, SharingPolicy
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.mg1 import MG1
from llmqueue_gym.theory import analyse, discriminatory_sharing

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = list(SHARING)
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


def test_jobs_of_one_moment():
    """A job without size waits for its turn among those that come with it; the youngest who are equally old share."""
    drawn = Drawn(job_table(np.ones(2), np.array([5.0, 1.0])), {"sizes": np.array([0.0, 3.0])})
    assert play(drawn, SHARING("fspe")).outcome["completion"].tolist() == [4.0, 4.0]
    drawn = Drawn(job_table(np.zeros(2)), {"sizes": np.array([1.0, 2.0])})
    outcome = play(drawn, SHARING("fspe-las")).outcome
    assert outcome["completion"].tolist() == [2.0, 3.0] and outcome["preemptions"].tolist() == [0, 0]


# What must be, whatever the jobs.


@pytest.mark.parametrize("name", ["fspe", "fspe-ps", "fspe-las", "fspe-dc", "fspe-dc-las", "psbs"])
def test_with_right_predictions_nobody_ends_later_than_if_the_server_were_shared(name):
    """Friedman and Henderson 2003; and who would end first under sharing is served first of those who are there."""
    policy = SHARING(name)
    drawn = Scenario(size="hyperexponential", load=0.9, n_jobs=400, predictor="exact").draw(1)
    drawn.work["weight"] = np.random.default_rng(0).uniform(0.2, 5.0, 400) if policy.weighted else 1.0
    shared, found = (play(drawn, p).outcome["completion"] for p in (SHARING("ps"), policy))
    assert np.all(found <= shared * (1 + 1e-9)) and np.mean(found < 0.99 * shared) > 0.2
    before = shared[:, None] < shared * (1 - 1e-9)
    there = found > drawn.work["arrival"][:, None] + 1e-9  # column j had not left yet when row i came
    assert (before & there).sum() > 400 and np.all((found[:, None] <= found * (1 + 1e-9))[before & there])


def told_nothing(n=3_000):
    drawn = Scenario(load=0.9, n_jobs=n, predictor="none").draw(1)
    assert not drawn.work["predicted"].any()
    return drawn


@pytest.mark.parametrize(("name", "blind"), [("fspe", "fcfs"), ("psbs", "ps"), ("srpte-ps", "ps"), ("fspe-dc", "ps")])
def test_if_everybody_is_late_at_once_no_order_is_left(name, blind):
    drawn = told_nothing()
    found, expected = (MG1().simulate(drawn, p) for p in (SHARING(name), policies.ONE_SERVER(blind)))
    np.testing.assert_allclose(found.response_times, expected.response_times, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["fspe-las", "fspe-dc-las"])
def test_if_everybody_is_late_at_once_the_youngest_share(name):
    drawn = told_nothing(60)
    np.testing.assert_allclose(play(drawn, SHARING(name)).outcome["completion"], las_schedule(drawn), rtol=1e-9)


def test_srpte_ps_is_srpt_where_predictions_are_right():
    scenario = Scenario(load=0.9, n_jobs=3_000, predictor="exact")
    ours, srpt = (scenario.simulate(name, 1) for name in ("srpte-ps", "srpt"))
    np.testing.assert_allclose(ours.outcome["completion"], srpt.outcome["completion"], rtol=1e-9)


def test_psbs_without_weights_is_fspe_whose_late_jobs_share():
    scenario = Scenario(load=0.9, n_jobs=3_000, predictor="lognormal:sigma=0.4")
    same_outcome(*(scenario.simulate(name, 1).outcome for name in ("psbs", "fspe-ps")))


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_idles_while_there_is_work(name):
    scenario = Scenario(load=0.8, n_jobs=3_000, predictor="lognormal:sigma=0.3")
    run, fcfs = (scenario.simulate(player, 2) for player in (name, "fcfs"))
    ends, last = (np.sort(one.outcome["completion"]) for one in (run, fcfs))
    idle = run.jobs["arrival"][1:] > last[:-1] + 1e-6
    assert idle.sum() > 100
    np.testing.assert_allclose(ends[:-1][idle], last[:-1][idle], rtol=1e-9)
    assert np.all(run.response_times >= run.sizes * (1 - 1e-9))
    np.testing.assert_array_equal(run.jobs["age"], run.sizes)


def test_with_too_long_predictions_nobody_is_late_in_the_end_and_the_order_is_that_of_pspjf():
    scenario = Scenario(load=0.9, n_jobs=N_JOBS // 2, predictor="lognormal:sigma=1")
    half, near = scenario.n_jobs // 2, 0.05 if _jit.DISABLED else 1e-3
    for name in ("fspe", "psbs"):
        run, plain = (scenario.simulate(player, 1) for player in (name, "pspjf"))
        assert run.response_times[half:].mean() == pytest.approx(plain.response_times[half:].mean(), rel=near)
        (words,) = scenario.system.remarks(run, SHARING(name))
        assert "lambda E[Y] = 1." in words and "pspjf" in words
    for predictor, name in (("lognormal:sigma=0.3", "psbs"), ("lognormal:sigma=1", "srpte-ps")):
        stable = replace(scenario, predictor=predictor)
        assert stable.system.remarks(stable.simulate(name, 1), SHARING(name)) == []


# Theory.


@pytest.mark.parametrize("size", ["deterministic", "exponential", "hyperexponential"])
def test_the_mean_of_processor_sharing_depends_on_no_more_than_the_load(size):
    scenario = Scenario(size=size, load=0.7, n_jobs=N_JOBS)
    assert inside("ps", scenario, seed=3) == pytest.approx(1 / 0.3)
    assert analyse(SHARING("ps"), scenario.law, None, 0.7).mean_slowdown == pytest.approx(1 / 0.3)
    run = scenario.simulate("ps", 3)
    slowdown = batch_means(run.slowdowns, MANY)
    assert slowdown.low <= 1 / 0.3 <= slowdown.high
    small = batch_means(run.response_times[run.sizes <= np.median(run.sizes)], MANY)
    exact = run.sizes[run.sizes <= np.median(run.sizes)].mean() / 0.3  # E[T | S = x] = x / (1 - load)
    assert small.low <= exact <= small.high


def test_discriminatory_sharing_of_two_classes():
    """The closed form of Fayolle, Mitrani and Iasnogorodski for two classes, and a simulation with weights 4 and 1."""
    rates, means, weights = np.array([0.5, 0.2]), np.array([0.5, 2.0]), np.array([4.0, 1.0])
    (rho1, rho2), (mu1, mu2), (g1, g2) = rates * means, 1 / means, weights
    common = mu1 * g1 * (1 - rho1) + mu2 * g2 * (1 - rho2)
    first = means[0] / (1 - rho1 - rho2) * (1 + mu1 * rho2 * (g2 - g1) / common)
    second = means[1] / (1 - rho1 - rho2) * (1 + mu2 * rho1 * (g1 - g2) / common)
    exact = discriminatory_sharing(rates, means, weights)
    np.testing.assert_allclose(exact, [first, second], rtol=1e-12)
    np.testing.assert_allclose(discriminatory_sharing(rates, means, np.ones(2)), means / (1 - rates @ means))
    rng = np.random.default_rng(5)
    kind = (rng.random(N_JOBS) < rates[1] / rates.sum()).astype(int)
    arrivals = rng.exponential(1 / rates.sum(), N_JOBS).cumsum()
    drawn = Drawn(job_table(arrivals, 0.0, weights[kind]), {"sizes": rng.exponential(means[kind])})
    times = MG1().simulate(drawn, SHARING("ps")).response_times
    for k in (0, 1):
        found = batch_means(times[kind == k], MANY)
        assert found.low <= exact[k] <= found.high
    with pytest.raises(Unstable, match=r"load=1\.2"):
        discriminatory_sharing([0.6, 0.3], [1.0, 2.0], [1.0, 1.0])
    with pytest.raises(BadInput, match="must be positive"):
        discriminatory_sharing([0.6, 0.3], [1.0, 1.0], [1.0, 0.0])


def test_theory_says_what_it_does_not_know():
    law = Scenario().law
    with pytest.raises(NotApplicable, match=r"'psbs' is known: .* ps alone"):
        analyse(SHARING("psbs"), law, None, 0.5)
    with pytest.raises(NotApplicable, match="SOAP does not cover policy 'ps'"):
        analyse(SHARING("ps"), law, None, 0.5, "soap")
    assert Scenario().known("psbs") == [] and Scenario(arrivals="mmpp").known("ps") == []


# Who may share what, and who is told so.


def test_other_systems_refuse_them_in_a_line():
    for build in (
        lambda: Scenario("central").simulate("ps"),
        lambda: Scenario("central").simulate(SHARING("ps")),
        lambda: Scenario("dispatch", order="psbs"),
        lambda: policies.policy("fspe"),
    ):
        with pytest.raises(BadInput, match=r"shares one server, which system mg1 alone does; .* such as las"):
            build()
    with pytest.raises(BadInput, match="'ps' shares the server among jobs, and an agent serves one at a time"):
        baseline_agent("ps", Scenario(n_jobs=10).env())
    assert Scenario(n_jobs=10).env(relative_to="ps").unwrapped.view.relative_to == "ps"


def test_wrong_traits_and_weights_are_named():
    with pytest.raises(BadInput, match="order='size'; choose from: none, virtual, remaining"):
        SharingPolicy("mine", "size")
    with pytest.raises(BadInput, match="late='last'; choose from: share, first, youngest"):
        SharingPolicy("mine", "virtual", "last")
    with pytest.raises(BadInput, match="weighted=True goes with late='share' alone"):
        SharingPolicy("mine", "virtual", "first", weighted=True)
    with pytest.raises(BadInput, match="is not a sharing policy"):
        SHARING(lambda job, params: job.age)
    with pytest.raises(NotApplicable, match="sharing policy 'psbs' needs predictions"):
        Scenario(predictor="none", n_jobs=10).simulate("psbs")
    drawn = told_nothing(5)
    drawn.work["weight"][3] = 0.0
    with pytest.raises(BadInput, match="job 3: weight=0 must be positive"):
        MG1().simulate(drawn, SHARING("ps"))
    assert MG1().simulate(drawn, SHARING("fspe")).done.all()


@pytest.mark.parametrize(
    "traits",
    [
        *(("remaining", "first", True), ("remaining", "youngest", False), ("virtual", "first", True)),
        *(("virtual", "share", True, True), ("remaining", "share", True, True), ("remaining", "share", False, True)),
    ],
    ids=str,
)
def test_a_policy_of_ones_own_shares_too(traits):
    mine = SharingPolicy("mine", *traits)
    for seed in range(INSTANCES // 3):
        drawn = some_jobs(seed, noise=1.0)
        found = Scenario().system.simulate(drawn, mine).outcome
        same_outcome(found, sharing_schedule(drawn, mine), exactly=False, label=f"seed {seed}")


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_compiled_kernel_serves_every_policy():
    for name in NAMES:
        Scenario(n_jobs=50).simulate(name)
    assert len(processor_sharing.simulate.signatures) == 1


def test_the_study_of_sharing_is_stored_and_plays(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    module = importlib.import_module("does_sharing_help_when_predictions_are_wrong")
    stored = json.loads((EXPERIMENTS / "results" / f"{module.__name__}.json").read_text(encoding="utf-8"))
    cells = {(row["size"], row["sigma"]) for row in stored["rows"]}
    assert cells == {(law, sigma) for law in module.LAWS for sigma in module.SIGMAS}
    assert {row["policy"] for row in stored["rows"]} == set(module.POLICIES)
    monkeypatch.setattr(module, "POLICIES", {"sprpt": (), "psbs": ()})
    sprpt, psbs = module.play(("exponential", 0.5, 200, 2))
    assert sprpt["response"]["mean"] >= 1 and psbs["response"]["mean"] >= 1 and 0 <= psbs["late"]["mean"] < 0.5
    drawn = module.at_load(Scenario(n_jobs=200).draw(1))
    assert drawn.sizes.sum() / drawn.work["arrival"][-1] == pytest.approx(module.LOAD)
