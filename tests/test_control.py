"""Replicas that come and go: books that balance meanwhile, exact anchors, what is paid; what is refused."""

import numpy as np
import pytest

from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.jobs import job_table
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import BOTH, DECODE, DONE, MOVING, PREFILL, never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.central import Central
from llmqueue_gym.systems.control import NEVER, Steering
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.theory.erlang import MMk

SMALL = {"lengths": "azure-conv", "max_tokens": 3000, "profile": "a100-llama3-8b:kv_tokens=6000"}


def constant(seconds):
    """A replica whose iterations take a constant time."""
    return Profile("constant", "", "", "roofline", np.array([0.0, seconds, 0.0, 0.0, 0.0]), 10**6, 1.0, "a test")


def one_seat(arrivals, outputs, seconds, router="least-outstanding", **given):
    """What came of requests at replicas with one seat, where each output token takes so long."""
    n = len(arrivals)
    fleet = Fleet(constant(seconds), "vllm-v1:max_seqs=1", **given)
    truth = {"sizes": outputs, "refreshed": never_refreshed(n), "choices": np.zeros((n, 0), np.int64)}
    truth |= {"ties": np.random.default_rng(8).random(n)}
    return fleet.simulate(Drawn(request_table(arrivals, 1), truth), Fleet.policies(router))


@pytest.mark.parametrize("router", ["least-outstanding", "round-robin", "least-kv"])
def test_replicas_behind_one_queue_are_servers_with_one_queue(router):
    # Job by job, to the rounding of sums, whatever the router: who waits goes to whoever is free first.
    n, k, seconds = 3000, 3, 1 / 64
    rng = np.random.default_rng(5)
    outputs = rng.geometric(1 / 20, n)
    arrivals = np.cumsum(rng.exponential(20 * seconds / k / 0.9, n))
    controlled = {"replicas": 2 * k, "controller": f"fixed:{k}", "tick": 7.0, "hold": True}
    served = one_seat(arrivals, outputs, seconds, router, **controlled)
    wanted = Central(servers=k).simulate(
        Drawn(job_table(arrivals, outputs * seconds), {"sizes": outputs * seconds}), Central.policies("fcfs")
    )
    np.testing.assert_allclose(served.outcome["completion"], wanted.outcome["completion"], rtol=1e-9)
    assert sorted(part["on_time"] > 0 for part in served.parts) == [False] * k + [True] * k


def test_a_controller_that_holds_k_is_the_m_m_k():
    # Tolerance: the exact mean lies in the interval, widened by 1 % because outputs are whole tokens (the mean is 1/100
    # longer, and an exponential one is rounded up).
    n, k, mean, load = 40_000, 4, 50, 0.8
    rng = np.random.default_rng(11)
    outputs = np.ceil(rng.exponential(mean, n)).astype(int)
    arrivals = np.cumsum(rng.exponential(1 / (load * k), n))
    served = one_seat(arrivals, outputs, 1 / mean, replicas=2 * k, controller=f"fixed:{k}", tick=500.0, hold=True)
    found, wanted = cautious_batch_means(served.response_times), MMk(k, load, 1.0).mean_response_time
    assert found.low < 1.01 * wanted and 0.99 * wanted < found.high
    assert served.totals["on_time"] == pytest.approx(k * served.totals["clock"], rel=1e-12)


def at_random(seed):
    """A controller that wants any number of replicas, and a prefill replica more or less."""
    rng = np.random.default_rng(seed)

    def control(seen, memory):
        return rng.integers(1, seen.most + 1, 3)

    return control


def walked(fleet, drawn, router, look, every=2):
    """The tables of a run in which `look` is called after so many moments each, two at least."""
    f, r, course, rest, _ = fleet.loaded(drawn, router)
    steering = Steering(fleet, f, r, course, drawn.truth.get("vanishing", NEVER), None)
    f = steering.f
    while (ask := go_on(0, f, r, course, *rest, every)) in (tables.PAUSED, tables.TICK):
        if ask == tables.TICK:
            steering.tick()
        look(f, r)
    return f, r


def balance(f, r):
    """Check that every request is somewhere, and every block somebody's."""
    requests, flows = r.requests, f.flows
    moving = requests["status"] == MOVING
    begun = moving & (flows["order"] >= 0)
    arrived, left = f.fleet["arrived"][0], np.count_nonzero(requests["status"] == DONE)
    there = (r.state["n"] - r.state["done"]).sum()
    coming = np.count_nonzero(f.events["kind"][0, : f.fleet["events"][0]] == tables.RETURNS)
    assert arrived == left + there + moving.sum() + f.fleet["held"][0] + coming
    for q in range(len(f.forms)):
        held = requests["blocks"][~moving & (requests["site"] == q)].sum()
        held += flows["blocks"][moving & (flows["source"] == q)].sum()
        held += requests["blocks"][begun & (flows["target"] == q)].sum()
        assert held == r.system["blocks"][q] - r.system["free"][q]
        assert f.members["inbound"][q] == np.count_nonzero(moving & (flows["target"] == q))
        assert f.members["outbound"][q] == np.count_nonzero(moving & (flows["source"] == q))
        if f.members["power"][q] in (tables.OFF, tables.STARTING):
            assert r.system["running"][q] == r.system["waiting"][q] == 0


def random_fleet(seed):
    """A small scenario in which replicas start, drain, change their roles and vanish, and its router."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 6))
    given = {"replicas": size, "prefill": int(rng.integers(0, size)), "order": str(rng.choice(["fcfs", "ltr"]))}
    given |= {"tick": float(rng.choice([0.7, 3.0])), "start_up": float(rng.choice([0.0, 2.0]))}
    given |= {"turn_over": float(rng.choice([0.0, 1.0])), "spot": float(rng.choice([0.0, 0.001, 0.005]))}
    given |= {"hold": bool(rng.integers(2)), "staleness": float(rng.choice([0.0, 0.3]))}
    given |= {"bandwidth": float(rng.choice([1e8, 1e10])), "local_below": int(rng.choice([0, 100]))}
    given |= {"rules": str(rng.choice(["vllm-v1", "vllm-v1:max_seqs=4"])), "controller": at_random(seed)}
    given |= {"concurrency": 5, "spot": 0.0} if rng.random() < 0.1 else {"rate": 3.0 * size}
    router = str(rng.choice(["least-outstanding", "round-robin", "random", "least-work"]))
    return Scenario("fleet", n_jobs=int(rng.integers(5, 60)), **SMALL, **given), router


@pytest.mark.parametrize("part", range(2))
def test_nothing_is_lost_while_replicas_start_drain_and_vanish(part):
    lost = 0
    for seed in range(part, 60, 2):
        scenario, router = random_fleet(seed)
        policy = scenario.policy(router)
        drawn = scenario.draw(seed, policy)
        f, r = walked(scenario.system, drawn, policy, balance, every=20)
        assert f.fleet["reason"][0] == 1 and (r.requests["status"] == DONE).all(), seed
        assert (r.requests["generated"] == drawn.sizes).all() and (r.requests["blocks"] == 0).all()
        assert (r.system["free"] == r.system["blocks"]).all() and f.fleet["held"][0] == 0
        assert (f.members["on_time"] >= 0).all()
        lost += f.fleet["lost"][0]
    assert lost > 10


def test_who_drains_ends_what_it_has_and_takes_no_more():
    def control(seen, memory):
        return seen.asked[0] * 2 if seen.clock < 30 else [1, 0, 0]

    given = {"replicas": 2, "rate": 4.0, "n_jobs": 400, "controller": control, "tick": 10.0}
    run = Scenario("fleet", **given, **SMALL).simulate("least-outstanding", 3)
    (drained,) = (q for q, part in enumerate(run.parts) if part["on_time"] < run.totals["clock"])
    there = run.jobs["site"] == drained
    assert run.done.all() and there.any() and run.jobs["arrival"][there].max() < 30
    assert run.parts[drained]["on_time"] == run.outcome["completion"][there].max() > 30


def test_who_starts_is_paid_from_then_on_and_serves_later():
    def control(seen, memory):
        return [1 + (seen.clock >= 20), 0, 0]

    given = {"replicas": 2, "rate": 4.0, "n_jobs": 400, "controller": control, "tick": 10.0, "start_up": 12.5}
    run = Scenario("fleet", **given, **SMALL).simulate("least-outstanding", 3)
    first = run.outcome["scheduled"][run.jobs["site"] == 1].min()
    assert 32.5 <= first < 34
    assert run.parts[1]["on_time"] == pytest.approx(run.totals["clock"] - 20, rel=1e-12)
    assert run.parts[0]["on_time"] == pytest.approx(run.totals["clock"], rel=1e-12)


def test_what_vanishes_is_computed_again_elsewhere():
    scenario = Scenario("fleet", replicas=2, rate=4.0, n_jobs=200, start_up=5.0, **SMALL)
    drawn = scenario.draw(3)
    calm = scenario.system.simulate(drawn, scenario.policy("least-outstanding"))
    when = 25.0
    there = calm.jobs["site"] == 1
    there &= (calm.jobs["arrival"] < when) & (calm.outcome["completion"] > when)
    gone = np.array([(when, 1)], NEVER.dtype)
    drawn = Drawn(drawn.work, {**drawn.truth, "vanishing": gone})
    run = scenario.system.simulate(drawn, scenario.policy("least-outstanding"))
    before = calm.outcome["completion"] < when
    assert run.totals["lost"] == there.sum() > 0 and run.done.all()
    np.testing.assert_array_equal(run.outcome[before], calm.outcome[before])
    assert (run.jobs["site"][there] == 0).all() and run.outcome["recomputed"][there].sum() > 0
    assert (run.jobs["generated"] == run.sizes).all()
    back = run.outcome["scheduled"][(run.jobs["site"] == 1) & (run.jobs["arrival"] > when)].min()
    assert back >= when + 5


def test_a_replica_changes_sides_once_it_has_ended_what_it_had():
    def control(seen, memory):
        return [0, 1, 2] if seen.clock < 20 else [0, 2, 1]

    given = {"replicas": 3, "prefill": 1, "rate": 6.0, "n_jobs": 250, "controller": control, "tick": 10.0}
    scenario = Scenario("fleet", turn_over=4.0, **given, **SMALL)
    policy, drawn, turns = scenario.policy("least-outstanding"), scenario.draw(2), []

    def look(f, r):
        state = [tuple(f.members[name].tolist()) for name in ("power", "role")]
        if not turns or turns[-1][1:] != state:
            turns.append([float(f.fleet["clock"][0]), *state])

    walked(scenario.system, drawn, policy, look)
    (_, begins), (drains, powers), (starts, _), (serves, ends) = ((turn[0], turn[1:]) for turn in turns)
    assert begins[1] == (PREFILL, DECODE, DECODE) and sorted(ends[1]) == sorted((PREFILL, PREFILL, DECODE))
    assert drains == 20 and tables.DRAINING in powers[0]
    assert starts > 20 and serves == pytest.approx(starts + 4, abs=0.1)  # every other moment was looked at


def lent(control):
    """Powers, roles and own roles, on the way of a run whose replicas help out with the other role."""
    given = {"replicas": 4, "prefill": 2, "handover": "least-reserved", "rate": 10.0, "n_jobs": 200, "turn_over": 1.0}
    scenario, moments = Scenario("fleet", controller=control, tick=0.2, **given, **SMALL), []
    policy = scenario.policy("mixed-pool:most=500")

    def look(f, r):
        moments.append([f.members[name].copy() for name in ("power", "role", "home")])

    _, r = walked(scenario.system, scenario.draw(3), policy, look, every=5)
    assert (r.requests["status"] == DONE).all()
    return np.array(moments).transpose(1, 0, 2)


def test_who_helps_out_counts_in_its_own_role():
    told = []

    def control(seen, memory):
        told.append(np.bincount(seen.role, minlength=3).tolist())
        return seen.asked[0]

    power, role, home = lent(control)
    assert (role == BOTH).any() and (power == tables.ON).all()  # nobody was sent away who had only helped out
    assert len(told) > 5 and all(counts == [0, 2, 2] for counts in told) and (np.sort(home) == [1, 1, 2, 2]).all()


def test_who_helped_out_and_changed_sides_goes_back_to_the_side_it_is_on_now():
    power, role, home = lent(lambda seen, memory: [0, 2, 2] if seen.clock < 10 else [0, 1, 3])
    assert np.sort(home[-1]).tolist() == [PREFILL, DECODE, DECODE, DECODE]
    assert ((role == home) | (role == BOTH)).all() and (power[-1] == tables.ON).all()
    assert (role[-20:] == BOTH).any()


def test_who_starts_or_changes_sides_is_paid_meanwhile():
    scenario = Scenario("fleet", replicas=2, rate=4.0, n_jobs=100, start_up=5.0, **SMALL)
    drawn = scenario.draw(3)
    drawn = Drawn(drawn.work, {**drawn.truth, "vanishing": np.array([(9.0, 1)], NEVER.dtype)})
    run = scenario.system.simulate(drawn, scenario.policy("least-outstanding"))
    assert [part["on_time"] for part in run.parts] == pytest.approx([run.totals["clock"]] * 2, rel=1e-12)
    given = {"replicas": 3, "prefill": 1, "rate": 6.0, "n_jobs": 150, "tick": 10.0, "turn_over": 4.0}
    sides = Scenario(
        "fleet", controller=lambda seen, memory: [0, 1, 2] if seen.clock < 10 else [0, 2, 1], **given, **SMALL
    )
    run = sides.simulate("least-outstanding", 2)
    assert [part["on_time"] for part in run.parts] == pytest.approx([run.totals["clock"]] * 3, rel=1e-12)


def test_a_start_that_is_called_off_is_paid_until_then():
    def control(seen, memory):
        return [1 + (10 <= seen.clock < 25), 0, 0]

    given = {"replicas": 2, "rate": 3.0, "n_jobs": 150, "controller": control, "tick": 5.0, "start_up": 60.0}
    run = Scenario("fleet", **given, **SMALL).simulate("least-outstanding", 3)
    assert run.parts[1]["on_time"] == 15.0 and (run.jobs["site"] == 0).all()


def test_spot_machines_are_the_same_for_all_controllers():
    given = {"replicas": 4, "rate": 6.0, "n_jobs": 300, "spot": 0.01, **SMALL}
    draws = [Scenario("fleet", controller=c, **given).draw(7).truth["vanishing"] for c in ("none", "fixed:2")]
    np.testing.assert_array_equal(*draws)
    counts = [len(Scenario("fleet", **given).draw(seed).truth["vanishing"]) for seed in range(40)]
    last = np.mean([Scenario("fleet", **given).draw(seed).work["arrival"][-1] for seed in range(40)])
    wanted = 4 * 2 * last / 36  # four replicas, twice the time of arrivals, 36 s each
    assert abs(np.mean(counts) - wanted) < 4 * np.sqrt(wanted / 40)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"controller": "utilization"}, "utilisation"),
        ({"controller": "fixed"}, "replicas"),
        ({"controller": "fixed:0"}, "at least 1"),
        ({"controller": "utilisation:up=0.2"}, "below up"),
        ({"controller": 3}, "control"),
        ({"controller": "roles"}, "prefill=1"),
        ({"controller": lambda seen, memory: "many"}, "three numbers"),
        ({"controller": "fixed:2", "tick": 0.0}, "tick"),
        ({"most": 5}, "most=5"),
        ({"least": 4, "most": 3}, "most=3"),
        ({"start_up": -1.0}, "start_up=-1"),
        ({"spot": float("nan")}, "spot"),
        ({"spot": 1.0, "concurrency": 3}, "concurrency"),
    ],
)
def test_bad_fleets_are_refused_in_one_line(given, message):
    load = {} if "concurrency" in given else {"rate": 4.0}
    with pytest.raises(BadInput, match=message) as refused:
        Scenario("fleet", replicas=4, n_jobs=50, **load, **{**SMALL, **given}).simulate("random", 0)
    assert "\n" not in str(refused.value)
