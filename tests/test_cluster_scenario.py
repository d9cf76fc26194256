"""Scenarios for several servers: common random numbers, nothing changed behind the caller's back, clear refusals."""

import numpy as np
import pytest

from llmqueue_gym import _jit
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.empirical import Empirical
from llmqueue_gym.errors import BadInput, NotApplicable, TruthError
from llmqueue_gym.evaluation.cluster import ClusterScenario, central_queue, dispatched, measure_cluster, play
from llmqueue_gym.evaluation.cluster.metrics import CLUSTER_METRICS
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES, dispatch_policy

N_JOBS = 300 if _jit.DISABLED else 3_000
HERE = ClusterScenario(load=0.9, servers=4, n_jobs=N_JOBS)


def outcome(scenario, order, sender, seed=4):
    return play(scenario, order, seed, sender).outcome["completion"]


@pytest.mark.parametrize("sender", [None, *DISPATCH_POLICIES])
def test_same_seed_same_numbers(sender):
    first, again, other = (outcome(HERE, "sprpt", sender, seed) for seed in (4, 4, 5))
    assert (first == again).all()
    assert (first != other).all()


@pytest.mark.parametrize("sender", [None, "power-of-d", "join-shortest-queue"])
def test_an_instance_is_not_changed(sender):
    p, s = policy("sprpt"), sender and dispatch_policy(sender)
    instance = HERE.draw(p, 1, s)
    before = [np.array(part) for part in instance]
    if s is None:
        central_queue(instance, p, HERE.server_speeds)
    else:
        dispatched(instance, s, p, HERE.server_speeds)
    for part, was in zip(instance, before, strict=True):
        assert (part == was).all()


def test_every_policy_and_dispatcher_gets_the_same_jobs():
    wanted = HERE.draw(None, 7)
    for order in ("fcfs", "srpt", "las", "gittins"):
        for sender in (None, "random", "power-of-d:d=3", "join-idle-queue"):
            run = play(HERE, order, 7, sender)
            assert (run.sizes == wanted.sizes).all()
            assert (run.jobs["arrival"] == wanted.jobs["arrival"]).all()


def test_sampled_queues_are_the_same_for_every_score_that_samples_as_many():
    draws = [
        HERE.draw(None, 7, dispatch_policy(name)).choices for name in ("power-of-d", "least-work", "least-work-left")
    ]
    assert (draws[0] == draws[1]).all() and (draws[0] == draws[2]).all()


def test_patience_does_not_move_the_jobs_and_another_prediction_moves_nothing_else():
    impatient = ClusterScenario(load=0.9, servers=4, n_jobs=N_JOBS, patience="exponential", predictor="lognormal")
    plain, other = HERE.draw(None, 2), impatient.draw(None, 2)
    assert (plain.sizes == other.sizes).all()
    assert (plain.jobs["arrival"] == other.jobs["arrival"]).all()
    assert (plain.jobs["predicted"] != other.jobs["predicted"]).any()
    assert np.isinf(plain.patience).all() and np.isfinite(other.patience).all()


def test_deadlines_are_told_only_where_the_scenario_says_so():
    for told in (False, True):
        scenario = ClusterScenario(servers=4, n_jobs=50, patience="exponential", told=told)
        jobs, _, patience, *_ = scenario.draw(None, 1)
        assert (jobs["deadline"] == (jobs["arrival"] + patience if told else np.inf)).all()


def test_told_deadlines_are_of_use():
    scenario = ClusterScenario(load=1.2, servers=10, n_jobs=10 * N_JOBS, patience="exponential", told=True)
    edf, fcfs = (measure_cluster(play(scenario, name, 1))["served"] for name in ("edf", "fcfs"))
    assert edf > fcfs


def test_load_is_that_of_all_servers_together():
    scenario = ClusterScenario(load=0.8, servers=3, speeds=(1.0, 4.0, 0.5))
    assert scenario.rate == pytest.approx(0.8 * 5.5)
    assert scenario.total_speed == 5.5
    assert scenario.server_speeds.tolist() == [4.0, 1.0, 0.5]
    assert scenario.rate == Scenario(load=0.8 * 5.5).source.rate


@pytest.mark.parametrize("order", list(POLICIES))
def test_every_policy_plays_with_many_queues_and_with_one(order):
    for sender in (None, "power-of-d"):
        run = play(ClusterScenario(load=0.8, servers=3, n_jobs=200), order, 1, sender)
        assert (run.response_times >= run.sizes * (1 - 1e-9)).all()
    assert set(measure_cluster(run)) == set(CLUSTER_METRICS)


def test_the_record_says_everything():
    told = ClusterScenario(servers=2, speeds=(1.0, 2.0), patience="exponential:mean=3", told=True).to_dict()
    assert told["servers"] == 2 and told["speeds"] == [1.0, 2.0] and told["told"] is True
    assert told["load"] == 0.8 and told["patience"] == "exponential:mean=3" and told["size"] == "exponential"


class GoesAtOnce(Distribution):
    """Half of the jobs have no patience at all."""

    name = "goes-at-once"
    mean = 0.5

    def _sf(self, x):
        return 0.5 * np.exp(-x)

    def sf(self, x):
        return self._sf(np.asarray(x, float))

    def __str__(self):
        return self.name


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"servers": 0}, "servers=0"),
        ({"servers": 3, "speeds": (1.0, 2.0)}, "2 speeds for 3 servers"),
        ({"servers": 2, "speeds": (1.0, 0.0)}, "speed 0"),
        ({"servers": 2, "speeds": (1.0, np.inf)}, "speed inf"),
        ({"servers": 2, "speeds": (1.0, np.nan)}, "speed nan"),
        ({"load": 0.0}, "load=0"),
        ({"load": np.nan}, "load=nan"),
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"patience": GoesAtOnce()}, "patience goes-at-once is zero"),
        ({"patience": "exponentail"}, "exponential"),
        ({"size": "weibul:shape=1"}, "weibull"),
        ({"predictor": "exat"}, "exact"),
    ],
)
def test_bad_scenarios_are_refused_in_one_line(given, says):
    with pytest.raises(BadInput, match=says) as caught:
        ClusterScenario(**given)
    assert "\n" not in str(caught.value)


def test_an_empirical_patience_has_no_mass_at_zero():
    with pytest.raises(BadInput) as caught:
        ClusterScenario(patience=Empirical.fit(np.array([0.0, 1.0, 2.0])))
    assert "\n" not in str(caught.value)
    ClusterScenario(patience=Empirical.fit(np.array([0.5, 1.0, 2.0])))


def test_bad_ranks_are_refused_in_one_line():
    def cheat(job, params):
        return job.size

    def undefined(job, params):
        return np.nan * job.age

    def slow(job, params):
        return sorted([job.age])[0].bit_length()

    for sender in (None, "random"):
        with pytest.raises(TruthError, match=r"reads job\.size"):
            play(HERE, cheat, 1, sender)
        with pytest.raises(BadInput, match="rank NaN") as caught:
            play(HERE, undefined, 1, sender)
        assert "\n" not in str(caught.value)
        with pytest.raises(BadInput, match="polic"):
            play(HERE, "sprtp", 1, sender)
        if not _jit.DISABLED:
            with pytest.raises(BadInput, match="cannot be compiled") as caught:
                play(HERE, slow, 1, sender)
            assert "\n" not in str(caught.value)


def test_a_policy_that_needs_a_prediction_is_refused_where_there_is_none():
    blind = ClusterScenario(servers=2, n_jobs=50, predictor="none")
    for sender in (None, "power-of-d"):
        play(blind, "fcfs", 1, sender)
        with pytest.raises(NotApplicable, match="predicts nothing"):
            play(blind, "spjf", 1, sender)
