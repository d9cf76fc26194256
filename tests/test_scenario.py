"""Scenarios: common random numbers, nothing changed behind the caller's back, floors that hold, clear refusals."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from conforming import same as same_table

from llmqueue_gym import _jit
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.jobs import JOB
from llmqueue_gym.policies.dispatch import dispatch_policy
from llmqueue_gym.systems import SYSTEMS, Scenario
from llmqueue_gym.workloads import TraceWorkload
from llmqueue_gym.workloads.streams import NAMES, stream, streams

N_JOBS = 100 if _jit.DISABLED else 400
OWN = {  # with which every policy plays
    "packing": {"needs": "1:0.8,8:0.2"},
    "predict": {"predictor_cost": "cheap=0.5,expensive=2,profile=0.25,slow=0.1"},
}
SPECS = {"ttl-optimal": "ttl-optimal:gap=exponential"}  # what has to be told
PLAYED = [
    (kind, SPECS.get(name, name))
    for kind in SYSTEMS
    for name in SYSTEMS.builder(kind).policies
    if not SYSTEMS.builder(kind).policies(name).drops
]
KINDS = pytest.mark.parametrize("kind", list(SYSTEMS))
QUEUES = [kind for kind in SYSTEMS if SYSTEMS.builder(kind).policies.made.shown[0].dtype == JOB]  # others: requests


def scenario(kind, **given):
    return Scenario(kind, **{"n_jobs": N_JOBS, "load": 0.8, **OWN.get(kind, {}), **given})


def same(a, b, *but):
    """Whether two draws are alike, but for some columns of the work or tables of the truth."""
    assert a.truth.keys() == b.truth.keys()
    tables = [(a.truth[name], b.truth[name]) for name in a.truth if name not in but]
    columns = [(a.work[name], b.work[name]) for name in a.work.dtype.names if name not in but]
    return all(same_table(*pair) for pair in (*tables, *columns))


@pytest.mark.parametrize(("kind", "name"), PLAYED)
def test_every_policy_serves_all_and_none_goes_below_the_floor(kind, name):
    here = scenario(kind)
    run = here.simulate(name, 3)
    assert run.done.all() and run.reason == "drained" and run.player == name.partition(":")[0]
    assert (run.response_times > 0).all()
    assert here.bound(3) <= here.system.numbers(run)["cost"] * (1 + 1e-9)


@KINDS
def test_same_seed_same_jobs_whoever_plays_and_the_draw_is_left_alone(kind):
    here = scenario(kind)
    policies = here.system.policies
    first, again, other = here.draw(4), here.draw(4), here.draw(5)
    assert same(first, again) and not np.array_equal(first.sizes, other.sizes)
    predictions = policies.made.shown[0].predictions
    told = (*predictions, "lower", "upper", "refreshed", "foreseen", "choices", "ties")  # may differ by policy
    for name in list(policies)[:6]:
        if policies(name).drops:
            continue
        drawn = here.draw(4, name)
        before = copy.deepcopy(drawn)
        runs = [here.system.simulate(drawn, policies(name), **here.facts(policies(name))) for _ in range(2)]
        np.testing.assert_array_equal(runs[0].outcome, runs[1].outcome)
        assert same(drawn, before) and same(drawn, first, *told)


def test_patience_and_deadlines_move_nothing_else():
    plain, impatient, told = (
        scenario("central", **more).draw(2)
        for more in ({}, {"patience": "exponential"}, {"patience": "exponential", "told": True})
    )
    assert same(plain, impatient, "patience") and same(impatient, told, "deadline")
    assert np.isinf(plain.truth["patience"]).all() and np.isfinite(told.work["deadline"]).all()


def test_classes_of_jobs_move_no_arrival():
    one, four = (scenario("packing", needs=needs, rate=1.0, load=None).draw(2) for needs in ("2", "1,2,4,8"))
    np.testing.assert_array_equal(one.work["arrival"], four.work["arrival"])
    assert set(four.work["need"]) == {1, 2, 4, 8}


@pytest.mark.parametrize("kind", [kind for kind in QUEUES if SYSTEMS.builder(kind).view is not None])
def test_an_environment_has_the_jobs_of_the_closed_loop(kind):
    """With all that was drawn of them: needs and speed-ups, and what is believed of these."""
    here = scenario(kind, predictor="lognormal:sigma=1")
    env = here.env()
    env.reset(seed=6)
    run, drawn = env.run(), here.draw(6)
    np.testing.assert_array_equal(run.sizes, drawn.sizes)
    for column in ("arrival", "predicted", "klass", "need", "deadline", "weight"):
        np.testing.assert_array_equal(run.jobs[column], drawn.work[column])


def test_streams_of_chance_have_names_and_are_apart():
    assert len(set(NAMES)) == len(NAMES)
    first = {name: stream(3, name).random() for name in NAMES}
    assert len(set(first.values())) == len(NAMES)
    assert [rng.random() for rng in streams(3, *NAMES)] == list(first.values())
    assert NAMES[:3] == ("arrivals", "sizes", "predictions")  # a name keeps its place, or every seed changes
    children = np.random.SeedSequence(3).spawn(2)
    assert first["sizes"] == np.random.default_rng(children[1]).random()
    with pytest.raises(BadInput, match="seed=-1"):
        stream(-1, "sizes")


# How it is told.


def test_a_spec_is_its_keywords():
    told = Scenario("central:servers=2,load=0.9,size=weibull:shape=0.5;mean=2,patience=exponential:mean=3,told=true")
    size, patience = "weibull:shape=0.5,mean=2", "exponential:mean=3"
    same_one = Scenario("central", servers=2, load=0.9, size=size, patience=patience, told=True)
    assert told.to_dict() == same_one.to_dict() and told == same_one
    assert Scenario("central:servers=2", servers=3).system.servers == 3


def test_fields_are_replaced_whosever_they_are():
    here = scenario("dispatch", servers=4)
    other = replace(here, servers=3, load=0.5, order="fcfs")
    assert (other.system.servers, other.load, str(other.system.order)) == (3, 0.5, "fcfs")
    assert here.system.servers == 4 and replace(other, servers=4, load=0.8, order="sprpt") == here


def test_load_is_that_of_all_servers_together():
    here = Scenario("central", load=0.8, servers=3, speeds=(1.0, 4.0, 0.5))
    assert here.source.rate == pytest.approx(0.8 * 5.5) == replace(here, load=None, rate=0.8 * 5.5).source.rate
    assert here.system.server_speeds.tolist() == [4.0, 1.0, 0.5]
    needs = Scenario("packing", servers=4, needs="1:0.75,4:0.25", load=0.7, n_jobs=200_000).draw(1)
    busy = (needs.work["need"] * needs.sizes).sum() / needs.work["arrival"][-1] / 4
    assert busy == pytest.approx(0.7, rel=0.02)


def test_a_trace_brings_its_own_law_and_rate():
    sizes = np.array([1.0, 2.0, 6.0, 3.0])
    here = Scenario(workload=TraceWorkload(np.arange(4.0), sizes), n_jobs=100, predictor="buckets:k=2")
    assert here.load is None and here.law.mean == 3.0 and len(here.simulate("gittins")) == 4
    assert "TraceWorkload" in here.to_dict()["workload"]


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


@KINDS
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n_jobs": 2.5}, r"n_jobs=2\.5"),
        ({"load": 0.5, "rate": 2.0}, "load=0.5 and rate=2"),
        ({"predictor": "exat"}, "did you mean 'exact'"),
        ({"predictor": 3}, "predictor=3"),
        ({"workload": "poisson"}, "workload='poisson'|no workload"),
    ],
)
def test_what_no_system_takes(kind, given, says):
    refused(kind, given, says)


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("mg2", {}, "did you mean 'mg1'"),
        ("central:serverz=2", {}, "did you mean 'servers'"),
        ("central:servers=two", {}, "servers='two' is not a whole number"),
        ("central:servers", {}, "servers"),
        ("mg1", {"servers": 2}, "no field 'servers'"),
        ("central", {"servers": -1}, "servers=-1"),
        ("central", {"servers": 3, "speeds": (1.0, 2.0)}, "2 speeds for 3 servers"),
        ("dispatch", {"servers": 2, "speeds": (1.0, 0.0)}, "speed 0"),
        ("central", {"servers": 2, "speeds": (1.0, np.inf)}, "speed inf"),
        ("central", {"servers": 2, "speeds": (1.0, np.nan)}, "speed nan"),
        ("central", {"patience": GoesAtOnce()}, "patience goes-at-once is zero"),
        ("central", {"patience": "exponentail"}, "did you mean 'exponential'"),
        ("mg1", {"size": "weibul:shape=1"}, "did you mean 'weibull'"),
        ("mg1", {"arrivals": "poison"}, "did you mean 'poisson'"),
        ("replica", {"profile": "a100-llama3-8c"}, "did you mean 'a100-llama3-8b'"),
        ("replica", {"rules": "vllm-v2"}, "vllm-v1"),
        ("replica", {"size": "azure-con"}, "did you mean 'azure-conv'"),
    ],
)
def test_what_one_system_does_not_take(kind, given, says):
    refused(kind, given, says)


def refused(kind, given, says):
    with pytest.raises(BadInput, match=says) as caught:
        Scenario(kind, **given)
    assert "\n" not in str(caught.value)


# Policies that are refused.


def no_number(job, params):
    return np.nan * job.predicted


def slow(job, params):
    return sorted([job.predicted])[0].bit_length()


@pytest.mark.parametrize("kind", ["mg1", "central", "packing"])
def test_ranks_are_refused_in_one_line(kind):
    here = scenario(kind, n_jobs=20)
    for rank, says in (
        (no_number, "'no_number' gives rank NaN to job 0, where job.predicted="),
        (slow, "cannot be compiled"),
    ):
        if rank is slow and _jit.DISABLED:
            continue
        with pytest.raises(BadInput, match=says) as caught:
            here.simulate(rank)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", QUEUES)
def test_who_needs_a_prediction_is_refused_where_there_is_none(kind):
    here = scenario(kind, predictor="none", **({"order": "fcfs"} if kind == "dispatch" else {}))
    policies = here.system.policies
    here.simulate(here.system.base)
    with pytest.raises(NotApplicable, match="predict"):
        here.simulate(next(n for n in policies if policies(n).told == "prediction" and not policies(n).drops))


def test_every_seed_has_streams_of_its_own():
    for name in NAMES:
        assert len({stream(seed, name).random() for seed in range(64)}) == 64


def test_each_table_is_drawn_from_the_stream_of_its_name():
    """So the noise of a prediction is of no use to guess when a job comes, and the other way round."""
    told = {"predictor": "lognormal:sigma=0.5", "n_jobs": 50, "servers": 3}
    here = Scenario("central", patience="exponential:mean=2", **told)
    jobs, truth = here.draw(7)
    arrivals, sizes, predictions, patience = streams(7, "arrivals", "sizes", "predictions", "patience")
    again = here.source.sample(50, arrivals, sizes)
    np.testing.assert_array_equal(jobs["arrival"], again.jobs["arrival"])
    np.testing.assert_array_equal(truth["sizes"], again.sizes)
    np.testing.assert_array_equal(jobs["predicted"], here.fitted.predict(truth["sizes"], predictions))
    np.testing.assert_array_equal(truth["patience"], here.system.patience_law.sample(50, patience))
    sender = dispatch_policy("power-of-d")
    choices = Scenario("dispatch", **told).draw(7, sender).truth["choices"]
    np.testing.assert_array_equal(choices, sender.choices(50, 3, stream(7, "choices")))
    ties = Scenario("dispatch", **told).draw(7, "join-idle-queue").truth["ties"]
    np.testing.assert_array_equal(ties, stream(7, "ties").random(50))
    classed = Scenario("packing", needs=(1, 2), **told)
    jobs, truth = classed.draw(7)
    *chances, predictions = streams(7, "arrivals", "sizes", "classes", "predictions")
    again, sizes = classed.source.sample(50, *chances)
    for column in ("arrival", "klass"):
        np.testing.assert_array_equal(jobs[column], again[column])
    np.testing.assert_array_equal(truth["sizes"], sizes)
    for klass, model in enumerate(classed.source.models):
        mine = jobs["klass"] == klass
        np.testing.assert_array_equal(jobs["predicted"][mine], model.predict(sizes[mine], predictions))


def test_a_stream_of_one_system_is_named_after_it_and_like_no_other():
    first = {name: stream(1, name).random() for name in (*NAMES, "tandem.second", "tandem.third", "other.second")}
    assert len(set(first.values())) == len(first)
    with pytest.raises(BadInput, match=r"unknown stream 'second'; .*tandem\.second"):
        stream(1, "second")
    for seed in (-1, 1.5, None, "a", True):
        with pytest.raises(BadInput, match="seed="):
            stream(seed, "sizes")


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: Scenario(None), "system=None"),
        (lambda: Scenario("mg1", load=None), "load=None"),
        (lambda: Scenario("mg1", load=True), "load=True"),
        (lambda: Scenario("packing", needs=(1, 2.5)), "needs="),
        (lambda: Scenario("central", speeds="1e-320,1"), "speed .*must be positive, from 1e-6"),
        (lambda: Scenario("central", servers=10**9), "servers=1000000000"),
        (lambda: Scenario("mg1").env(slots=10**9), "slots=1000000000"),
        (lambda: Scenario("central").env(per_job=float("inf")), "per_job=inf"),
    ],
)
def test_values_that_could_not_be_played_are_refused_by_name(made, named):
    with pytest.raises(BadInput, match=named):
        made()


def test_streams_are_those_of_numpy_whatever_the_seed():
    seeds = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, 2**130, np.int64(7), np.uint64(2**64 - 1)]
    for seed in [*seeds, *np.random.default_rng(0).integers(2**63, size=50).tolist()]:
        for name, key in (("arrivals", (0,)), ("speedups", (7,)), ("tandem.second", (13, *b"tandem.second"))):
            expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=key)))
            got = stream(seed, name)
            assert got.bit_generator.state == expected.bit_generator.state
    assert [one.random() for one in got.spawn(2)] == [one.random() for one in expected.spawn(2)]
    small = stream(5, "sizes")
    children = np.random.Generator(np.random.PCG64(np.random.SeedSequence(5, spawn_key=(1,)))).spawn(3)
    assert [one.random() for one in [*small.spawn(1), *small.spawn(2)]] == [one.random() for one in children]
    copied = pickle.loads(pickle.dumps(small))
    assert copied.random() == small.random() == stream(5, "sizes").random()
