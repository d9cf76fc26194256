"""Environments beyond what all promise: the queue of one server, and how scalar and vector environments are used."""

import subprocess
import sys
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from played import Recorded, equal, finish, same_outcome, together
from solved_jobs import RESPONSE_TIMES, Toy

import llmqueue_gym
from llmqueue_gym.distributions import DISTRIBUTIONS
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance
from llmqueue_gym.policies import policy
from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads import Workload

MG1, PREEMPTIVE = NAMES = "llmqueue/MG1-v0", "llmqueue/MG1Preemptive-v0"
RULES = [(MG1, name) for name in ("fcfs", "spjf", "sjf", "one-bit")] + [
    (PREEMPTIVE, name)
    for name in ("lcfs", "pspjf", "psjf", "sprpt", "srpt", "one-bit-lcfs", "one-bit-fcfs", "limited-preemption")
]
N = 3  # environments side by side
SMALL = {"n_jobs": 12, "slots": 4, "load": 0.9}


def made(name, **given):
    return gym.make(name, **given).unwrapped


def vector(name=MG1, **given):
    return gym.make_vec(name, num_envs=N, **{**SMALL, **given})


# One server.


@pytest.mark.parametrize("tied", [False, True], ids=["as-drawn", "in-batches"])
@pytest.mark.parametrize(("name", "rule"), RULES)
def test_an_agent_treats_every_job_as_the_closed_loop_does(name, rule, tied):
    told = {"load": 0.7, "n_jobs": 300, "slots": 64, "predictor": policy(rule).predictor or "exponential"}
    scenario = made(name, **told).scenario
    if tied:
        told["workload"] = Recorded(together(scenario.draw(8), 2.0))
    env = made(name, **told)
    total, _, _ = finish(env, baseline_agent(rule, env).act_env, 3)
    same_outcome(env.run(), env.scenario.simulate(rule, 3))
    assert total == pytest.approx(-env.response_times.sum())


@pytest.mark.parametrize("rule", RESPONSE_TIMES)
def test_five_jobs_have_the_response_times_that_were_solved_by_hand(rule):
    env = made(PREEMPTIVE if policy(rule).preemptive else MG1, workload=Toy(), predictor="exact")
    total, _, _ = finish(env, baseline_agent(rule, env).act_env, 0)
    np.testing.assert_allclose(env.response_times, RESPONSE_TIMES[rule])
    assert total == pytest.approx(-sum(RESPONSE_TIMES[rule]))


@dataclass(frozen=True)
class Weighted:
    inner: Workload

    def sample(self, n, arrival_rng, size_rng):
        jobs, sizes = self.inner.sample(n, arrival_rng, size_rng)
        jobs["weight"] = 1 + np.arange(n) % 3
        return Instance(jobs, sizes)


def test_weights_and_quanta_change_rewards_but_not_what_they_add_up_to():
    workload = Weighted(Workload(llmqueue_gym.size_law("weibull:shape=0.7"), 0.8))
    env = made(PREEMPTIVE, workload=workload, reward="weighted", n_jobs=200, quantum=0.5)
    total, steps, _ = finish(env, baseline_agent("spjf", env).act_env, 5)
    assert total == pytest.approx(-(env.run().jobs["weight"] * env.response_times).sum())
    assert steps > finish(made(PREEMPTIVE, n_jobs=200), lambda _: 0, 5)[1]


@pytest.mark.filterwarnings("ignore:.*load 1.5 is unstable")
@pytest.mark.parametrize("name", NAMES)
def test_the_observation_shows_the_first_jobs_in_system(name):
    env = made(name, load=1.5, n_jobs=200, slots=5, scaled=False)
    observation, info = env.reset(seed=2)
    rng, unseen = np.random.default_rng(0), 0
    for _ in range(120):
        rows, n = env.episodes.seen()["jobs"], min(5, info["n_in_system"])
        columns = dict(zip(env.view.jobs, observation["jobs"].T, strict=True))
        assert len(rows) == n and (np.diff(rows["arrival"]) >= 0).all()
        np.testing.assert_array_equal(columns["present"], np.arange(5) < n)
        for key in ("predicted", "age", "weight"):
            np.testing.assert_array_equal(columns[key][:n], rows[key].astype(np.float32))
        np.testing.assert_allclose(columns["time_in_system"][:n], info["clock"] - rows["arrival"], rtol=1e-6)
        np.testing.assert_array_equal(columns["in_service"][:n], rows["status"] == 2)
        assert not observation["jobs"][n:].any() and observation["action_mask"].sum() == n
        system = dict(zip(env.view.system, observation["system"], strict=True))
        assert system["in_system"] == info["n_in_system"] and system["unseen"] == info["n_in_system"] - n
        assert system["since_decision"] == np.float32(info["dt"])
        unseen = max(unseen, system["unseen"])
        observation, _, _, _, info = env.step(int(rng.integers(n)))
    assert unseen > 0


def test_an_empty_slot_stands_for_the_earliest_job():
    env, twin = made(MG1), made(MG1)
    env.reset(seed=1)
    twin.reset(seed=1)
    *ours, info = env.step(15)
    *expected, other = twin.step(0)
    assert info.pop("illegal_action") is True and other.pop("illegal_action") is False
    equal(tuple(ours), tuple(expected))
    equal(info, other)


def test_a_job_that_ends_beyond_the_horizon_ends_the_episode_if_it_is_the_last():
    env, ends = made(MG1, horizon=1.0, n_jobs=1), set()
    for seed in range(20):
        env.reset(seed=seed)
        *_, terminated, truncated, info = env.step(0)
        assert terminated and not truncated and info["episode_metrics"]["jobs"] == 1
        ends.add(info["clock"] >= 1)
    assert ends == {True, False}
    env = made(MG1, horizon=1e-9, workload=Toy(), predictor="exact")
    env.reset(seed=1)
    assert env.step(0)[2:4] == (False, True) and env.run().reason == "horizon"


def test_a_tiny_quantum_never_hangs():
    steps = {}
    for quantum in (np.inf, 0.1, 1e-5):
        env = made(PREEMPTIVE, quantum=quantum, n_jobs=50)
        env.reset(seed=1)
        steps[quantum], terminated = 0, False
        while not terminated and steps[quantum] < 2000:
            _, _, terminated, _, _ = env.step(0)
            steps[quantum] += 1
    assert steps[np.inf] < steps[0.1] < steps[1e-5] == 2000


def test_an_agent_reads_the_observation_alone_one_or_many():
    env = made(PREEMPTIVE, n_jobs=100)
    agent = baseline_agent("sprpt", env)
    observation, _ = env.reset(seed=3)
    terminated, seen, actions = False, [], []
    while not terminated:
        actions.append(agent.act(observation))
        assert actions[-1] == agent.act_env(env)
        seen.append(observation["jobs"])
        observation, _, terminated, _, _ = env.step(actions[-1])
    np.testing.assert_array_equal(agent.act({"jobs": np.stack(seen)}), actions)
    assert len(set(actions)) > 2


def test_an_agent_does_with_what_the_environment_offers_or_says_what_it_needs():
    """Without preemption it stays with its job, also where it could leave it; with an exact predictor it needs one."""
    both = [made(name, load=0.7, n_jobs=300, slots=64) for name in NAMES]
    for env in both:
        finish(env, baseline_agent("spjf", env).act_env, 1)
    np.testing.assert_allclose(both[0].outcome["completion"], both[1].outcome["completion"])
    with pytest.raises(BadInput, match="predictor='exact'"):
        baseline_agent("srpt", made(PREEMPTIVE))
    with pytest.raises(BadInput, match="did you mean 'spjf'"):
        baseline_agent("spfj", made(MG1))
    with pytest.raises(BadInput, match="env=None must be an environment"):
        baseline_agent("spjf", None)
    with pytest.raises(BadInput, match="make one for this environment"):
        baseline_agent("spjf", made(MG1)).act(made(MG1, slots=4).reset(seed=0)[0])


# Scenarios and arguments.


def test_fields_of_scenario_and_view_may_be_given_to_any_environment():
    env = made(MG1, predictor="buckets:k=4", n_jobs=20, slots=5, load=0.5)
    assert env.scenario == Scenario("mg1", predictor="buckets:k=4", n_jobs=20, load=0.5) and env.view.slots == 5
    again = env.scenario.env(slots=3, load=0.6)
    assert (again.scenario.load, again.scenario.n_jobs, again.view.slots) == (0.6, 20, 3)
    law = llmqueue_gym.size_law("weibull:shape=0.5")
    assert made(MG1, workload=Workload(law, 0.5)).scenario.law == law
    with pytest.raises(BadInput, match="system 'mg1' has no argument 'sloots'; did you mean 'slots'"):
        gym.make(MG1, sloots=3)
    with pytest.raises(BadInput, match="needs preemptive"):
        gym.make(MG1, quantum=1.0)
    with pytest.raises(BadInput, match="Recorded returned 9 jobs"):
        made(MG1, workload=Recorded(Scenario(n_jobs=9).draw(0)), n_jobs=8).reset(seed=0)


def test_the_package_offers_its_names_without_loading_them():
    code = (
        "import sys, llmqueue_gym, gymnasium; assert not {'numba', 'torch', 'scipy'} & set(sys.modules);"
        "assert 'llmqueue/MG1-v0' in gymnasium.registry; assert set(llmqueue_gym.__all__) <= set(dir(llmqueue_gym));"
        "llmqueue_gym.__version__, llmqueue_gym.policy, llmqueue_gym.predictor, llmqueue_gym.size_law;"
        "gymnasium.make('llmqueue_gym:llmqueue/MG1-v0')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = llmqueue_gym.nonsense


# Scalar and vector environments.


def test_bad_use_of_a_scalar_environment_is_an_error():
    env = made(MG1, n_jobs=2)
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(BadInput, match="speed"):
        env.reset(options={"speed": 1})
    with pytest.raises(BadInput, match=r"options=\['load'\] must be a dictionary"):
        env.reset(options=["load"])
    env.reset(seed=1)
    for action in (-1, 16, 0.5, None):
        with pytest.raises(BadInput, match=f"action {action} is not in the action space: choose 0 to 15"):
            env.step(action)
    finish(env, lambda _: 0)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(seed=1)
    env.close()
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_an_episode_may_have_another_load_and_a_limit_and_overload_is_told():
    env = Scenario("mg1", n_jobs=90).env(preemptive=False, max_episode_steps=5)
    other = Scenario("mg1", n_jobs=90, load=0.3, predictor="exact")
    env.reset(seed=4, options={"load": 0.3, "predictor": "exact"})
    for column in ("arrival", "predicted"):
        np.testing.assert_array_equal(env.run().jobs[column], other.draw(4).work[column])
    assert [env.step(0)[2:4] for _ in range(5)] == [(False, False)] * 4 + [(False, True)]
    env.reset(seed=4)
    np.testing.assert_array_equal(env.run().jobs["arrival"], env.scenario.draw(4).work["arrival"])
    envs = vector(max_episode_steps=2, autoreset_mode="SameStep", n_jobs=90)
    envs.reset(seed=1, options={"load": 0.3})
    jobs = envs.unwrapped.episodes.jobs["arrival"][2]
    np.testing.assert_array_equal(jobs, Scenario("mg1", n_jobs=90, load=0.3).draw(3).work["arrival"])
    assert [envs.step(np.zeros(N, int))[3].tolist() for _ in range(4)] == [[False] * N, [True] * N] * 2
    for make, given in ((gym.make, {}), (gym.make_vec, {"num_envs": N})):
        with pytest.warns(UserWarning, match="load 1.2 is unstable"):
            make(MG1, load=1.2, **given)
    with pytest.raises(BadInput, match="many environments are not drawn"):
        vector(render_mode="ansi")


def test_bad_use_of_a_vector_environment_is_an_error():
    for wrong, words in (({"num_envs": 0}, "num_envs=0"), ({"autoreset_mode": "never"}, "autoreset_mode='never'")):
        with pytest.raises(BadInput, match=words):
            gym.make_vec(MG1, **{"num_envs": N, **wrong})
    envs = vector()
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros(N, int))
    with pytest.raises(BadInput, match="2 seeds"):
        envs.reset(seed=[1, 2])
    for mask in (np.zeros(N, bool), np.ones(N + 1, bool), np.ones(N), [True] * N):
        with pytest.raises(BadInput, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(BadInput, match="speed"):
        envs.reset(options={"speed": 1})
    with pytest.raises(BadInput, match=r"options=\['load'\] must be a dictionary"):
        envs.reset(options=["load"])
    envs.reset(seed=0)
    for actions, words in (([0, 4, 0], "action 4"), ([0, -2, 0], "action -2"), (np.zeros((N, 1), int), "shape")):
        with pytest.raises(BadInput, match=words):
            envs.step(np.array(actions))
    with pytest.raises(BadInput, match=r"action .*0.5.* is not in the action space"):
        envs.step(np.full(N, 0.5))
    envs.close()
    with pytest.raises(ResetNeeded, match="closed"):
        envs.step(np.zeros(N, int))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_seed_lists_and_unseeded_resets_are_those_of_gymnasium(mode):
    envs = vector(autoreset_mode=mode, copy=True)
    loop = SyncVectorEnv([lambda: gym.make(MG1, **SMALL)] * N, autoreset_mode=mode)
    for seed in (1, [9, None, 2], None):
        equal(loop.reset(seed=seed), envs.reset(seed=seed))
    assert envs.np_random_seed == loop.np_random_seed == (9, 2, 2)
    assert [r.random() for r in envs.np_random] == [r.random() for r in loop.np_random]
    vector(autoreset_mode=mode).reset()


def test_observations_are_fresh_unless_told_to_be_written_in_place():
    for copy in (False, True):
        envs = vector(**({} if copy else {"copy": False}))
        first, _ = envs.reset(seed=0)
        second, *_ = envs.step(np.zeros(N, int))
        assert all(np.shares_memory(first[key], second[key]) is not copy for key in first)


def test_episodes_of_different_lengths_share_a_batch():
    class Ragged:
        def sample(self, n, arrival_rng, size_rng):
            return Toy().sample(int(arrival_rng.integers(2, 6)), None, None)

    told = {**SMALL, "workload": Ragged(), "predictor": "exact"}
    envs = gym.make_vec(PREEMPTIVE, num_envs=N, autoreset_mode="SameStep", copy=True, **told)
    loop = SyncVectorEnv([lambda: gym.make(PREEMPTIVE, **told)] * N, autoreset_mode="SameStep")
    equal(loop.reset(seed=0), envs.reset(seed=0))
    for _ in range(60):
        equal(loop.step(np.zeros(N, int)), envs.step(np.zeros(N, int)))


@dataclass(frozen=True)
class Coupled(Distribution):
    """Sizes that depend on one another, as no law should have them, or of which some are drawn again."""

    again: bool = False

    def sample(self, n, rng):
        sizes = rng.random(n)
        if not self.again:
            return np.sort(sizes)
        small = np.flatnonzero(sizes < 0.3)
        sizes[small] = rng.random(len(small))
        return sizes


APART = {"gamma", "erlang"}  # laws of other numbers than `Together` draws


@pytest.mark.parametrize(
    ("given", "together"),
    [
        *(({"size": law}, law not in APART) for law in DISTRIBUTIONS if law != "empirical"),
        *(({"predictor": noise}, None) for noise in PREDICTORS if noise != "pairs"),
        *(({"arrivals": each}, "mmpp" not in each) for each in ("renewal:law=weibull", "mmpp:period=1000")),
        *(({"size": Coupled(again=each), "predictor": "exact"}, False) for each in (False, True)),
    ],
    ids=str,
)
def test_runs_are_drawn_together_where_that_changes_no_number(given, together):
    scenario = Scenario("mg1", n_jobs=9, **given)
    many, one = (scenario.system.open(scenario, scenario.system.view(), n) for n in (40, 1))
    many.begin_all(list(range(40)), list(range(100, 140)))
    assert together in (None, many.together)
    for e in range(40):
        one.begin(0, 100 + e)
        np.testing.assert_array_equal(many.jobs[e], one.jobs[0])
        np.testing.assert_array_equal(many.truth[e], one.truth[0])


def test_episode_statistics_of_gymnasium():
    env = gym.wrappers.RecordEpisodeStatistics(gym.make(MG1, n_jobs=30))
    _, _, info = finish(env, lambda _: 0, 0)
    assert info["episode"]["r"] == pytest.approx(-30 * info["episode_metrics"]["mean_response_time"])
    envs, ends = gym.wrappers.vector.RecordEpisodeStatistics(vector()), 0
    envs.reset(seed=0)
    for _ in range(60):
        *_, infos = envs.step(np.zeros(N, int))
        for e in np.flatnonzero(infos.get("_episode", ())):
            metrics = infos["episode_metrics"]
            assert infos["episode"]["r"][e] == pytest.approx(-metrics["mean_response_time"][e] * metrics["jobs"][e])
            ends += 1
    assert ends > 3
