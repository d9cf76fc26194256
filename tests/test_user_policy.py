"""A policy that a user writes as one plain function works everywhere that a registered one does."""

import gymnasium as gym
import numpy as np
import pytest
from agreement import inside

import llmqueue_gym
from llmqueue_gym import Scenario, baseline_agent, rollout
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation import measure
from llmqueue_gym.policies import Policy, file
from llmqueue_gym.workloads import TraceWorkload

SOURCE = '''
def cautious(job, params):
    """Halfway between shortest predicted job and shortest predicted remaining time."""
    return job.predicted - 0.5 * job.age
'''
HERE = Scenario(load=0.7, n_jobs=300)


def cautious(job, params):
    return job.predicted - 0.5 * job.age


def test_theory_and_simulation_agree_on_it():
    exact = inside(cautious, Scenario(n_jobs=200_000), 11)
    size, noise = llmqueue_gym.size_law("exponential"), llmqueue_gym.predictor("exponential")
    assert llmqueue_gym.analyse(llmqueue_gym.policy(cautious), size, noise, 0.8).mean_response_time == exact


def test_it_plays_in_the_environment_as_in_closed_loop():
    env = gym.make("llmqueue/MG1Preemptive-v0", n_jobs=300, slots=300, load=0.7)
    agent, closed = baseline_agent(cautious, env), rollout(cautious, HERE, 3)
    env.reset(seed=3)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(agent.act_env(env))
        over = terminated or truncated
    assert np.abs(env.unwrapped.response_times - closed.response_times).max() < 1e-9
    by_rollout = rollout(agent, HERE, 3, slots=300)
    np.testing.assert_array_equal(by_rollout.response_times, env.unwrapped.response_times)


def test_it_plays_in_the_vector_environment_as_in_closed_loop():
    envs = gym.make_vec("llmqueue/MG1Preemptive-v0", num_envs=3, n_jobs=300, slots=300, load=0.7)
    agent, found = baseline_agent(cautious, envs), [None] * 3
    seen, _ = envs.reset(seed=3)
    while any(times is None for times in found):
        seen, _, terminated, _, _ = envs.step(agent.act(seen))
        for e in np.flatnonzero(terminated):
            found[e] = envs.response_times[e] if found[e] is None else found[e]
    for e in range(3):
        # What is seen is in float32, so a job may be a tick late.
        np.testing.assert_allclose(found[e], rollout(cautious, HERE, 3 + e).response_times, atol=1e-9)


def test_it_may_close_over_numbers_and_call_numpy():
    weight = 0.25

    def curved(job, params):
        return np.sqrt(job.predicted) - weight * job.age

    assert rollout(curved, HERE, 0).done.all()


def fewest(job, queue, params):
    return queue.jobs


def narrow(job, params):
    return job.need


def shortest(request, system, params):
    return request.predicted


@pytest.mark.parametrize(
    ("kind", "mine", "theirs"),
    [
        ("mg1", cautious, None),
        ("central", cautious, None),
        ("dispatch", fewest, "power-of-d"),
        ("packing", narrow, None),
        ("replica", shortest, "sjf"),
    ],
)
def test_every_kind_of_system_takes_one(kind, mine, theirs):
    here = Scenario(kind, n_jobs=300)
    run = rollout(mine, here, 1)
    assert run.player == mine.__name__ and run.done.all()
    assert measure(run)["mean_response_time"] >= here.bound(1) * (1 - 1e-9)
    if theirs is not None:
        np.testing.assert_array_equal(run.response_times, rollout(theirs, here, 1).response_times)


def test_the_command_line_takes_it_from_a_file(tmp_path, run_json):
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    found = run_json("theory", "--policy", f"{file}:cautious")
    assert found["mean_response_time"] == pytest.approx(Scenario().known(cautious)[0]["value"], rel=1e-12)


FILES = {
    "exit(3)": "it exits with status 3",
    "import os; os._exit(0)": "it exits with status 0",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "while True: pass": "it is not done after 1 s",
    "1 / 0": "ZeroDivisionError: division by zero",
    "def rank(:": "SyntaxError",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_that_does_not_run_to_its_end_is_refused(tmp_path, monkeypatch, refused, text):
    if "while" in text:
        monkeypatch.setattr(file, "SECONDS", 1.0)
    path = tmp_path / "mine.py"
    path.write_text(f"{text}\n")
    assert f"mine.py does not run: {FILES[text]}" in refused(f"simulate --jobs 9 --policy {path}:rank")


def test_overload_is_told_wherever_work_has_no_end():
    for given in ({"load": 1.0}, {"rate": 1.3}, {"system": "dispatch:servers=2,load=1.5"}):
        overloaded = Scenario(**given, n_jobs=20)
        for play in (overloaded.simulate if overloaded.system.name == "mg1" else overloaded.env, overloaded.env):
            with pytest.warns(UserWarning, match="is unstable"):
                play()
    recorded = TraceWorkload(np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.0, 3.0]), load=None)
    for overloaded in (
        Scenario("central", patience="exponential", load=1.4, n_jobs=50),
        Scenario(workload=recorded, load=2.0, n_jobs=3),
    ):
        assert rollout("fcfs", overloaded, 1).reason == "drained"


def test_an_id_is_of_one_system():
    for make in (gym.make, gym.make_vec):
        with pytest.raises(BadInput, match="this id is of system 'mg1'"):
            make("llmqueue/MG1-v0", system="central")
    assert gym.make("llmqueue/Scenario-v0", system="central").unwrapped.scenario.system.name == "central"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rollout("fcfs", "mg1", 0), r"'mg1' is not a Scenario; write Scenario\('mg1'\)"),
        (lambda: rollout("fcfs", HERE, "0"), "seed='0' must be a whole number"),
        (lambda: rollout("fcfs", HERE, 1.5), "seed=1.5 must be a whole number"),
        (lambda: baseline_agent("fcfs", HERE), "must be an environment of this library"),
        (lambda: HERE.env(quantum=1e-300), "quantum=1e-300 s makes steps without end"),
        (lambda: HERE.simulate(Policy("mine", cautious, ("one",))), "params=.* must be numbers"),
        (lambda: Scenario("central", patience="exponential:mean=0", load=1.2), "patience='exponential:mean=0': .*mean"),
        (lambda: Scenario("packing", needs=",".join(["1"] * 200_000)), "200000 classes are too many"),
        (lambda: Scenario("central", speeds=(1e308, 1e308)), "speed 1e.308 of a server must be"),
        (lambda: Scenario("central", speeds=(1e-308,)), "speed 1e-308 of a server must be"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(call, words):
    with pytest.raises(BadInput, match=words) as error:
        call()
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
