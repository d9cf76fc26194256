"""Rank policies as agents of the scalar environments: the same numbers as the closed loop."""

import gymnasium as gym
import numpy as np
import pytest
from mg1_runs import MG1, PREEMPTIVE, Recorded, play

from llmqueue_gym._jit import compile_rank, records
from llmqueue_gym.engines import single_server
from llmqueue_gym.engines.state import HEAP, fresh_state
from llmqueue_gym.envs.baseline import RankAgent
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance, outcome_table
from llmqueue_gym.policies import policy
from llmqueue_gym.workloads import Toy
from llmqueue_gym.workloads.toy import RESPONSE_TIMES

CASES = [(MG1, name) for name in ("fcfs", "spjf", "sjf", "one-bit")] + [
    (PREEMPTIVE, name)
    for name in ("lcfs", "pspjf", "psjf", "sprpt", "srpt", "one-bit-lcfs", "one-bit-fcfs", "limited-preemption")
]
SMALL = {"load": 0.7, "n_jobs": 300, "slots": 64}


def arguments(name):
    return {**SMALL, "predictor": policy(name).predictor or "exponential"}


def closed_loop(name, config, seed):
    """What happens to each job in the engine under a policy, `OUTCOME` rows `(n_jobs,)`."""
    chosen, (jobs, sizes) = policy(name), config.draw(seed)
    outcome, heap = outcome_table(len(sizes)), np.zeros(len(sizes), HEAP)
    rank, params = compile_rank(chosen.rank, cache=True), chosen.params_for(config.law, config.bound_predictor)
    traits = chosen.preemptive, chosen.shape == "falling", chosen.lcfs_up_to
    state = records(fresh_state())[0]
    single_server.simulate(state, records(jobs), sizes, records(outcome), records(heap), rank, params, *traits)
    return outcome


def agree(outcome, expected):
    for column in ("start", "completion"):
        np.testing.assert_allclose(outcome[column], expected[column], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(outcome["preemptions"], expected["preemptions"])


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_the_environment_and_the_closed_loop_complete_every_job_at_the_same_time(name, rule):
    env = gym.make(name, **arguments(rule))
    agent = RankAgent(rule, env.unwrapped.config)
    for seed in (3, 4):
        play(env, agent, seed)
        expected = closed_loop(rule, env.unwrapped.config, seed)
        agree(env.unwrapped.outcome, expected)


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_jobs_that_arrive_together_are_treated_as_in_the_closed_loop(name, rule):
    jobs, sizes = MG1Config(n_jobs=200, load=0.7).draw(8)
    jobs["arrival"] = np.floor(jobs["arrival"] / 2) * 2
    given = {**arguments(rule), "workload": Recorded(Instance(jobs, sizes)), "n_jobs": 200}
    env = gym.make(name, **given)
    play(env, RankAgent(rule, env.unwrapped.config), 0)
    agree(env.unwrapped.outcome, closed_loop(rule, env.unwrapped.config, 0))


@pytest.mark.parametrize("rule", RESPONSE_TIMES)
def test_the_toy_instance_gives_the_response_times_solved_by_hand(rule):
    name = PREEMPTIVE if policy(rule).preemptive else MG1
    env = gym.make(name, workload=Toy(), predictor="exact")
    total = play(env, RankAgent(rule, env.unwrapped.config), 0)
    jobs, _ = Toy().sample(5, None, None)
    np.testing.assert_allclose(env.unwrapped.outcome["completion"] - jobs["arrival"], RESPONSE_TIMES[rule])
    assert total == pytest.approx(-sum(RESPONSE_TIMES[rule]))


def test_the_agent_reads_the_observation_alone():
    env = gym.make(PREEMPTIVE, n_jobs=100)
    agent = RankAgent("sprpt", env.unwrapped.config)
    observation, _ = env.reset(seed=3)
    terminated, batch, actions = False, [], []
    while not terminated:
        action = agent.act(observation)
        assert action == agent.act_env(env)
        batch.append(observation["jobs"])
        actions.append(action)
        observation, _, terminated, _, _ = env.step(action)
    np.testing.assert_array_equal(agent.act({"jobs": np.stack(batch)}), actions)
    assert len(set(actions)) > 2


def test_an_agent_without_preemption_stays_with_its_job():
    env, free = gym.make(PREEMPTIVE, **SMALL), gym.make(MG1, **SMALL)
    for each in (env, free):
        play(each, RankAgent("spjf", each.unwrapped.config), 1)
    np.testing.assert_allclose(env.unwrapped.outcome["completion"], free.unwrapped.outcome["completion"])


def test_a_clairvoyant_agent_needs_the_exact_predictor():
    with pytest.raises(BadInput, match="predictor='exact'"):
        RankAgent("srpt", preemptive=True)
    RankAgent("srpt", preemptive=True, predictor="exact")
