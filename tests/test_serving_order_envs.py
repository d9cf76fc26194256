"""Environments in which what is cached, or when requests want to be done, decides whom to admit next."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from played import at_random, finish

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts, request_table

PREFIXES, CLASSES = "llmqueue/PrefixOrder-v0", "llmqueue/ServiceClasses-v0"
N = 60
ALL = {"n_requests": N, "window": N}
BY_CLASS = ["fcfs", "sjf-total", "class-priority", "edf", "least-laxity", "sageserve-like", "class-shares"]
BY_PREFIX = ["longest-prefix", "longest-prefix-aged", "shortest-uncached", "uncached-then-output"]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Requests that are always the same, of these prompts `(n, 2)`, tokens: of a text that all share, and of their own.

    One text begins where another ends, so nobody shares more than is said.
    """

    arrivals: tuple[float, ...]
    prompts: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]

    def sample(self, n, arrival_rng, length_rng):
        n = len(self.outputs)
        segments = np.zeros((n, 2), SEGMENT)
        segments["text"] = np.stack([np.zeros(n), 1 + np.arange(n)], axis=1)
        segments["length"] = self.prompts
        used = segments["length"] > 0
        first = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
        contexts = Contexts(segments[used], first, OUTPUT + np.arange(n))
        prompts = np.array(self.prompts).sum(axis=1)
        return request_table(np.array(self.arrivals), prompts), self.output_sample(), contexts

    def output_sample(self):
        return np.array(self.outputs, np.int64)


def made(name, **given):
    return gym.make(name, **{**ALL, **given}).unwrapped


def same(run, expected):
    """Assert that everything happened when it did in another run, to the last bit."""
    for column in ("scheduled", "first_token", "completion"):
        np.testing.assert_array_equal(run.outcome[column], expected.outcome[column])
    for column in ("iterations", "prefill_tokens", "hit_tokens", "preemptions"):
        assert run.totals[column] == expected.totals[column]
    assert run.reason == expected.reason == "drained"


@pytest.mark.parametrize("policy", BY_CLASS)
def test_policies_by_class_and_deadline_are_the_closed_loop(policy):
    env = made(CLASSES)
    finish(env, baseline_agent(policy, env).act_env, 3)
    same(env.run(), env.scenario.simulate(policy, 3))


@pytest.mark.parametrize("policy", ["fcfs", "sjf", "sjf-total"])
def test_policies_that_do_not_ask_what_is_cached_are_the_closed_loop(policy):
    """Where memory is short the rules preempt the last who joined, and ranks of the closed loop somebody else."""
    env = made(PREFIXES, rules="vllm-v1:max_seqs=4,caching=vllm")
    finish(env, baseline_agent(policy, env).act_env, 3)
    same(env.run(), env.scenario.simulate(policy, 3))
    assert env.run().totals["hit_tokens"] > 0 == env.run().totals["preemptions"]


@pytest.mark.parametrize("policy", BY_PREFIX)
def test_policies_by_what_is_cached_are_the_closed_loop_where_one_is_admitted_at_a_time(policy):
    """The closed loop looks once in an iteration; an agent sees, too, what those admitted in it have brought since."""
    rules = "vllm-v1:max_seqs=1,caching=vllm"
    env = made(PREFIXES, rules=rules, rate=6.0)
    finish(env, baseline_agent(policy, env).act_env, 3)
    same(env.run(), env.scenario.simulate(policy, 3))
    fcfs = env.scenario.simulate("fcfs", 3)
    assert not np.array_equal(env.run().outcome["completion"], fcfs.outcome["completion"])


@pytest.mark.parametrize(
    ("name", "policy"), [*((CLASSES, one) for one in BY_CLASS), *((PREFIXES, one) for one in BY_PREFIX)]
)
def test_the_agent_reads_the_observation_alone_one_or_many(name, policy):
    env = made(name)
    agent, seen, actions = baseline_agent(policy, env), [], []

    def choose(env):
        seen.append(env.episodes.shown(0))
        actions.append(agent.act(seen[-1]))
        assert actions[-1] == agent.act_env(env) and env.action_masks()[actions[-1]]
        return actions[-1]

    finish(env, choose, 4)
    np.testing.assert_array_equal(agent.act({part: np.stack([one[part] for one in seen]) for part in seen[0]}), actions)
    assert len(set(actions)) > 1 or policy == "fcfs"


def test_what_is_cached_is_what_the_cache_holds_now():
    """Blocks are of 16 tokens: whoever shares 40 of them finds 32 once somebody with these is admitted."""
    work = Recorded((0.0, 0.0, 0.0, 0.0), ((40, 20), (40, 30), (0, 64), (32, 0)), (5, 5, 5, 5))
    env = made(PREFIXES, workload=work, rate=None, n_requests=4, window=4, seats=4)
    cached = [*env.view.jobs].index("cached")
    env.reset(seed=0)
    seen = []
    for action in (2, 1, 0):
        seen.append(env.episodes.observation["jobs"][0, :, cached].tolist())
        env.step(action)
    seen.append(env.episodes.observation["jobs"][0, :, cached].tolist())
    # Four slots of the queue and four of the batch; of its 32 tokens the last one has to compute one block.
    assert seen == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [32, 16, 0, 0, 0, 0, 0, 0],
        [16, 0, 0, 0, 0, 0, 32, 0],
    ]


def test_classes_deadlines_and_what_was_received_by_hand():
    env = made(CLASSES, classes="fast:0.5:0.02,slow:0.5:1000", rate=1e4)
    looks, late, choose = 0, 0, at_random()

    def look(env):
        nonlocal looks, late
        seen, features = env.episodes.seen(), env.episodes.observation["jobs"][0]
        clock, jobs = seen["system"]["clock"], env.run().jobs
        admitted = jobs["status"] > 1
        for begin, requests in ((0, seen["waiting"]), (N, seen["running"])):
            rows = dict(zip(env.view.jobs, features[begin : begin + len(requests)].T, strict=True))
            for name in ("klass", "tenant", "received"):
                np.testing.assert_array_equal(rows[name], requests[name].astype(np.float32))
            left = requests["arrival"] + np.where(requests["klass"] == 0, 0.02, 1000.0) - clock
            np.testing.assert_allclose(rows["time_left"] - rows["overdue"], left, rtol=1e-5, atol=1e-6)
            assert not (rows["time_left"] * rows["overdue"]).any()
            late += (rows["overdue"] > 0).sum()
            for klass in (0, 1):  # a prompt counts once and an output token twice, for those who were ever admitted
                own = jobs[(jobs["klass"] == klass) & (admitted | (jobs["preemptions"] > 0))]
                expected = own["prompt"].sum() + 2.0 * own["generated"].sum()
                if (jobs["klass"][jobs["status"] == 1] == klass).any() and lifted == 0:
                    np.testing.assert_array_equal(rows["received"][rows["klass"] == klass], expected)
                    looks += (rows["klass"] == klass).sum()
        return choose(env)

    lifted = 0  # all come at nearly the same time, so that no class is ever without somebody who waits, until the end
    finish(env, look, 1)
    assert looks > 0 and late > 0


def test_the_reward_counts_those_who_leave_after_their_deadline():
    env = made(CLASSES, scaled=False)
    total, _, info = finish(env, at_random(), 2)
    run = env.run()
    late = (run.outcome["completion"] > run.jobs["deadline"]).sum()
    assert 0 < late < N and total == info["return"] == -late
    beside = made(CLASSES, scaled=False, relative_to="edf")
    total, _, _ = finish(beside, baseline_agent("edf", beside).act_env, 2)
    assert total == 0


@pytest.mark.parametrize(
    ("name", "told", "words"),
    [
        (CLASSES, {"shows": "class"}, "classes"),
        (PREFIXES, {"rules": "vllm-v1"}, "caching=vllm"),
        (PREFIXES, {"decides": "rank"}, "decides='admit'"),
        (CLASSES, {"rules": "vllm-v1:asynchronous=true"}, "asynchronous=false"),
        (CLASSES, {"classes": "a:0.5:1:ttft,b:0.5:9"}, "class 'a' has a deadline for its first"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(name, told, words):
    with pytest.raises(BadInput, match=words) as error:
        made(name, **told)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "policy", "words"),
    [
        (PREFIXES, "edf", "request.deadline"),
        (CLASSES, "longest-prefix", "request.cached"),
        (CLASSES, "vtc", "shows='classes'"),
        (CLASSES, "class-shares:shares=3;1", "equal shares"),
        (PREFIXES, "class-shares", "shows='classes'"),
    ],
)
def test_an_agent_does_not_guess_what_it_is_not_shown(name, policy, words):
    env = made(name)
    observation, _ = env.reset(seed=0)
    with pytest.raises(BadInput, match=words):
        baseline_agent(policy, env).act(observation)
