"""Agents of programs: a policy that decides as an agent is the closed loop, and nobody misses who leaves."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.engines.fleet.tables import KEEP, PICK, STOP
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.program_view import BITS

TOOLS, AGENTS, REASONING = (f"llmqueue/{name}-v0" for name in ("ToolCalls", "Agents", "Reasoning"))
SMALL = {"n_jobs": 12, "slots": 128}
ROOMY = {"profile": "a100-llama3-8b:kv_tokens=65536"}  # nobody waits at a replica
PLAYED = [
    (AGENTS, "fcfs", {}),
    (AGENTS, "program-srpt", ROOMY),
    (AGENTS, "plas-like", ROOMY),
    (AGENTS, "parrot-groups", {**ROOMY, "law": "map-reduce:output=40,chunk=256,document=1500"}),
    (TOOLS, "discard", {"rate": 5.0}),
    (TOOLS, "preserve", {}),
    (TOOLS, "swap", {}),
    (TOOLS, "infercept-h-b", {"decides": "retain", "hold": False}),
    (TOOLS, "preserve", {"order": "program-srpt"}),
    (TOOLS, "discard", {"order": "critical-path", "rate": 3.0}),
    (REASONING, "never", {}),
    (REASONING, "majority", {}),
    (REASONING, "posterior", {"decides": "stop", "hold": False}),
    (REASONING, "certaindex", {"order": "sjf"}),
]


def played(env, agent, seed):
    """Play an episode; return what was asked, and the sum of raw rewards."""
    env.reset(seed=seed)
    asked, total, over = [], 0.0, False
    while not over:
        asked.append(int(env.episodes.asks[0]))
        *_, terminated, truncated, info = env.step(agent.act_env(env))
        total, over = total + info["raw_reward"], terminated or truncated
    return asked, total


@pytest.mark.parametrize(("name", "policy", "given"), PLAYED)
def test_a_policy_by_hand_is_the_closed_loop(name, policy, given):
    env = gym.make(name, **{**SMALL, **given}).unwrapped
    scenario = env.scenario
    asked, total = played(env, baseline_agent(policy, env), 5)
    run = env.run()
    expected = replace(scenario, hold=given.get("hold", True)).simulate(policy, 5)
    for column in ("scheduled", "first_token", "completion", "recomputed", "swapped"):
        np.testing.assert_array_equal(run.calls.outcome[column], expected.calls.outcome[column])
    np.testing.assert_array_equal(run.outcome["completion"], expected.outcome["completion"])
    np.testing.assert_array_equal(run.calls.jobs["site"], expected.calls.jobs["site"])
    wrong = 0 if expected.right is None else (~expected.right).sum()
    assert total == pytest.approx(-expected.response_times.sum() - scenario.system.wrong * wrong)
    kinds = {"order": PICK, "retain": KEEP, "stop": STOP}
    wanted = {kinds[part] for part in env.view.decides.split("-and-")}
    assert set(asked) <= wanted, asked


@pytest.mark.parametrize(
    ("system", "policy", "given"),
    [
        ("programs", "fcfs", {"law": "planner", "rate": 1.0, "replicas": 3}),
        ("programs", "sprpt", {"law": "planner", "rate": 1.0, "replicas": 2, "hold": True}),
        ("programs", "program-srpt-preemptive", {"law": "map-reduce", "rate": 1.0, "replicas": 2}),
        ("tools", "infercept", {"law": "tool-calls:stretch=0.1", "rate": 0.8}),
        ("tools", "ttl:seconds=2", {"law": "tool-calls:stretch=0.1", "rate": 0.8}),
        ("tools", "preserve", {"law": "tool-calls:stretch=0.1", "rate": 0.8, "hold": True, "replicas": 2}),
        ("reasoning", "majority", {"law": "self-consistency", "rate": 0.5}),
        ("reasoning", "majority", {"law": "self-consistency", "rate": 0.5, "hold": True, "replicas": 2}),
    ],
)
def test_nothing_is_missed_where_only_those_iterations_are_moments_at_which_somebody_leaves(
    system, policy, given, monkeypatch
):
    memory = {"profile": "a100-llama3-8b:kv_tokens=8192", "rules": "vllm-v1:max_seqs=8", "max_tokens": 4096}
    scenario = Scenario(system, n_jobs=60, **memory, **given)
    run = scenario.simulate(policy, 1)
    monkeypatch.setattr(Profile, "shortest", 0.0)
    each = scenario.simulate(policy, 1)
    for column in each.calls.outcome.dtype.names:
        np.testing.assert_array_equal(run.calls.outcome[column], each.calls.outcome[column])
    for column in each.ended.dtype.names:
        np.testing.assert_array_equal(run.ended[column], each.ended[column])
    assert run.totals["iterations"] == each.totals["iterations"]


@pytest.mark.parametrize("name", [TOOLS, AGENTS, REASONING])
def test_an_action_that_is_closed_stands_for_the_first_that_is_open(name):
    env, twin = (gym.make(name, **SMALL).unwrapped for _ in range(2))
    observation, _ = env.reset(seed=1)
    twin.reset(seed=1)
    rng, over, seen = np.random.default_rng(0), False, 0
    while not over:
        mask = observation["action_mask"]
        action = int(rng.integers(len(mask)))
        first = action if mask[action] else int(mask.argmax())
        observation, *told, over, _, info = env.step(action)
        other, *expected, _, _, _ = twin.step(first)
        assert told == expected and info["illegal_action"] == (not mask[action])
        np.testing.assert_array_equal(observation["jobs"], other["jobs"])
        seen += not mask[action]
    assert seen > 0


def test_an_episode_in_which_nothing_is_to_be_decided_has_one_step():
    env = gym.make(TOOLS, law="parrot:width=1", rate=0.01, n_jobs=3).unwrapped
    _, info = env.reset(seed=0)
    assert info["action_mask"].all()
    *_, terminated, truncated, info = env.step(0)
    assert terminated and not truncated and info["episode_metrics"]["done"] == info["episode_metrics"]["programs"]
    assert info["raw_reward"] == pytest.approx(-env.response_times.sum())


@pytest.mark.parametrize(
    ("name", "policy", "words"),
    [
        (TOOLS, "infercept", "reads worst, which agents do not see"),
        (TOOLS, "lamps", "agents do not see|asked at other times"),
        (TOOLS, "ttl", "play it in closed loop"),
        (REASONING, "demote-overrun", "does more than stop"),
        (AGENTS, "las", "agents do not see|more than rank"),
    ],
)
def test_a_policy_that_does_what_no_action_does_says_so(name, policy, words):
    env = gym.make(name, **SMALL).unwrapped
    with pytest.raises(BadInput, match=words):
        played(env, baseline_agent(policy, env), 0)


def test_all_ways_to_decide_can_be_made():
    for name in (TOOLS, AGENTS, REASONING):
        view = type(gym.make(name, **SMALL).unwrapped.view)
        for decides in view.decisions:
            env = gym.make(name, decides=decides, **SMALL).unwrapped
            env.reset(seed=0)
            assert decides in BITS and len(env.action_masks()) == env.action_space.n
        with pytest.raises(BadInput, match="decides"):
            gym.make(name, decides="nothing", **SMALL)


def test_a_gang_begins_together_or_not_at_all():
    """Five seats; maps of three: two of a second gang would have a seat, but wait for the third."""
    told = {"law": "self-consistency:n=3", "rate": 50.0, "n_jobs": 20, "replicas": 1, "profile": ROOMY["profile"]}
    apart = Scenario("programs", hold=True, rules="vllm-v1:max_seqs=5", **told).simulate("fcfs", 1).calls
    gang = Scenario("programs", hold=True, gang=True, rules="vllm-v1:max_seqs=5", **told).simulate("fcfs", 1).calls

    def spread(calls):
        begun = calls.outcome["scheduled"]
        return np.array([np.ptp(begun[calls.jobs["program"] == p]) for p in range(20)])

    assert gang.done.all() and (spread(gang) < 0.2).all() and (spread(apart) > 0.2).any()
    with pytest.raises(BadInput, match="3 branches that come together, and a gang of them needs as many seats, not 2"):
        Scenario("programs", hold=True, gang=True, rules="vllm-v1:max_seqs=2", **told).simulate("fcfs", 1)
    with pytest.raises(BadInput, match="with hold"):
        Scenario("programs", gang=True, **told)
