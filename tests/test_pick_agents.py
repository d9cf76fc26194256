"""Environments of several servers and policies as their agents, which pick waiting jobs one by one."""

import gymnasium as gym
import numpy as np
import pytest
from played import at_random, finish, same_outcome
from solved_jobs import Toy

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.distributions import Distribution
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.envs.rollout import rollouts
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation import paired_difference
from llmqueue_gym.policies.packing import PACKING
from llmqueue_gym.systems import Scenario

DEADLINE = "llmqueue/Deadline-v0"
NEEDS = {"servers": 8, "needs": (1, 2, 4, 8), "load": 0.6, "predictor": "exponential", "n_jobs": 400}
IMPATIENT = {"servers": 5, "load": 1.3, "patience": "exponential"}
CENTRAL = [
    ("fcfs", {"servers": 3}, False),
    ("spjf", {"servers": 3, "speeds": (2.0, 1.0, 0.5)}, False),
    ("spjf", {"servers": 1}, False),
    ("one-bit", {"servers": 3, "predictor": "one-bit"}, False),
    ("lcfs", {"servers": 2, "load": 0.7}, True),
    ("sprpt", {"servers": 3}, True),
    ("pspjf", {"servers": 4}, True),
    ("srpt", {"servers": 4, "predictor": "exact"}, True),
    ("fcfs", {"servers": 3}, True),
    ("spjf", IMPATIENT, False),
    ("pspjf", IMPATIENT, True),
    ("edf", {**IMPATIENT, "told": True}, False),
    ("least-slack", {**IMPATIENT, "told": True}, False),
]


def as_agent(scenario, name, seed, **view):
    """Play a policy as an agent that sees all; return the run, after asserting that no action was closed."""
    env = scenario.env(slots=scenario.n_jobs, **view)
    agent = baseline_agent(name, env)

    def choose(env):
        action = agent.act_env(env)
        assert env.action_masks()[action]
        return action

    finish(env, choose, seed)
    return env.run()


@pytest.mark.parametrize(("name", "system", "preemptive"), CENTRAL)
def test_the_environment_and_the_closed_loop_treat_every_job_alike(name, system, preemptive):
    scenario = Scenario("central", **{"load": 0.9, "n_jobs": 500, **system})
    same_outcome(as_agent(scenario, name, 5, preemptive=preemptive), scenario.simulate(name, 5))


@pytest.mark.parametrize("servers", [8, 11])
@pytest.mark.parametrize("name", [name for name in PACKING if name not in ("max-weight", "msfq")])
def test_an_agent_packs_as_the_packing_policy_does(name, servers):
    made = PACKING(name)
    scenario = Scenario("packing", **{**NEEDS, "servers": servers, "predictor": made.predictor or "exponential"})
    same_outcome(as_agent(scenario, made, 3, preemptive=made.preemptive), scenario.simulate(made, 3))


@pytest.mark.parametrize("name", ["fcfs", "first-fit", "easy", "most-servers-first"])
def test_jobs_stay_in_a_preemptive_environment_where_the_policy_has_none(name):
    scenario = Scenario("packing", **NEEDS)
    run = as_agent(scenario, name, 1, preemptive=True)
    np.testing.assert_allclose(run.response_times, as_agent(scenario, name, 1).response_times, rtol=1e-12)
    assert not run.outcome["preemptions"].any()


def test_head_of_line_blocking_is_the_packing_policy():
    scenario = Scenario("packing", **NEEDS)
    env = scenario.env(slots=400)
    finish(env, lambda env: 0 if env.action_masks()[0] else 400, 3)
    np.testing.assert_allclose(env.outcome["completion"], scenario.simulate("fcfs", 3).outcome["completion"], rtol=1e-9)


@pytest.mark.parametrize(
    ("env_id", "name", "kwargs"),
    [
        ("MGk", "spjf", {}),
        ("MGkPreemptive", "sprpt", {}),
        ("Abandonment", "two-class", {}),
        ("Abandonment", "edf", {"told": True}),
        ("MultiserverJob", "fcfs", {}),
        ("MultiserverJob", "easy", {}),
        ("MultiserverJob", "server-filling-sprpt", {"preemptive": True}),
        ("Deadline", "edf", {}),
        ("Deadline", "drop-if-late", {}),
        ("Deadline", "short-first-edf", {}),
    ],
)
def test_a_batch_of_observations_gives_the_actions_one_by_one(env_id, name, kwargs):
    env = gym.make(f"llmqueue/{env_id}-v0", n_jobs=150, slots=8, **kwargs).unwrapped
    agent, seen, actions = baseline_agent(name, env), [], []

    def choose(env):
        seen.append({part: rows[0].copy() for part, rows in env.episodes.observation.items()})
        actions.append(agent.act(seen[-1]))
        assert actions[-1] == agent.act_env(env) and env.action_masks()[actions[-1]]
        return actions[-1]

    finish(env, choose, 3)
    np.testing.assert_array_equal(agent.act({part: np.stack([one[part] for one in seen]) for part in seen[0]}), actions)
    assert len(set(actions)) > 1


@pytest.mark.parametrize("env_id", ["Abandonment", "Deadline"])
def test_who_is_served_in_time_is_paid_for_and_nobody_else(env_id):
    env = gym.make(f"llmqueue/{env_id}-v0", n_jobs=300).unwrapped
    total, _, info = finish(env, at_random(), 1)
    run = env.run()
    assert total == run.done.sum() == info["episode_metrics"]["jobs"]
    assert 0.3 < run.done.mean() < 1 and (run.outcome["completion"][run.done] <= run.jobs["deadline"][run.done]).all()


def test_passing_is_open_only_while_something_can_happen():
    """Five jobs, though there is room for more: who always passes must start them in the end."""
    env = Scenario("central", servers=2, workload=Toy(), n_jobs=50).env(may_pass=True)
    _, _, info = finish(env, lambda env: int(np.flatnonzero(env.action_masks())[-1]), 0)
    assert info["episode_metrics"]["jobs"] == 5 and np.isfinite(info["clock"])


# Firm deadlines.


def served(name, **kwargs):
    """Share of the jobs done by their deadline, by seed."""
    env = gym.make(DEADLINE, n_jobs=1000, **kwargs).unwrapped
    runs = rollouts(baseline_agent(name, env), env.scenario, range(100, 110), **vars(env.view))
    return np.array([run.done.mean() for run in runs])


@pytest.mark.parametrize(
    ("name", "kwargs", "better"),
    [
        ("drop-if-late", {"load": 2.0}, True),
        ("short-first-edf", {"load": 2.0}, True),
        ("drop-if-late", {"predictor": "exact"}, True),
        ("drop-if-late", {"load": 0.9}, False),
        ("short-first-edf", {"load": 0.9}, False),
    ],
)
def test_sending_late_jobs_away_pays_in_heavy_overload_or_where_sizes_are_known(name, kwargs, better):
    """Better or worse than edf beyond the 95 % interval of the paired difference; seeds 1000 to 1019 suggested it."""
    gain = paired_difference(served(name, **kwargs), served("edf", **kwargs))
    assert gain.low > 0 if better else gain.high < 0


def picks(name):
    """Yield the waiting jobs, the clock and the action at each decision of a deadline policy that sees all."""
    env = gym.make(DEADLINE, n_jobs=300, slots=300).unwrapped
    agent, met = baseline_agent(name, env), []

    def choose(env):
        seen, action = env.episodes.seen(), agent.act_env(env)
        met.append((seen["waiting"].copy(), seen["clock"], action))
        return action

    finish(env, choose, 1)
    return met


def test_only_late_jobs_are_sent_away_and_all_of_those():
    dropped = 0
    for rows, clock, action in picks("drop-if-late"):
        late = rows["predicted"] > rows["deadline"] - clock
        if late.any():
            assert 300 <= action < 600 and late[action - 300]
            dropped += 1
        else:
            assert action == np.argmin(rows["deadline"])
    assert dropped > 10


def test_short_jobs_start_first_by_deadline():
    passed_over = 0
    for rows, _, action in picks("short-first-edf"):
        if action < 300:
            long = (rows["predicted"] > 1) & (rows["predicted"] <= 1).any()
            assert action == np.argmin(np.where(long, np.inf, rows["deadline"]))
            passed_over += action != np.argmin(rows["deadline"])
    assert passed_over > 10


# What is refused.


class SometimesGone(Distribution):
    """Patience that is used up at once for half of the jobs."""

    name = "sometimes-gone"

    def sf(self, x):
        return 0.5


@pytest.mark.parametrize(
    ("system", "name", "told", "words"),
    [
        ("central", "srpt", {}, "predictor='exact'"),
        ("packing", "max-weight", {}, "packs by 'max-weight', which no agent does; play it in closed loop"),
        ("packing", "msfq", {}, "packs by 'quickswap'"),
        ("packing", "easy:quantum=2", {}, "leave out the quantum"),
        ("packing", "easy", {"predictor": "none"}, "needs predictions"),
        ("packing", "server-filling", {}, "preemptive=True"),
        ("packing", "fcfs", {"may_pass": False}, "may_pass=True"),
        ("central", "fcfs", {"servers": 2, "speeds": (2.0, 1.0), "preemptive": True}, "preemptive=False"),
        ("central", "drop-if-late", {}, "firm=True and may_drop=True"),
        ("central", "short-first-edf:threshold=0", {}, "threshold=0 must be positive"),
        ("central", "fcfs", {"firm": True}, "firm=True needs patience"),
        ("central", "fcfs", {"servers": 2, "speeds": (1.0,)}, "1 speeds for 2 servers"),
        ("central", "fcfs", {"patience": SometimesGone()}, "zero with positive probability"),
        ("packing", "fcfs", {"servers": 4}, "8 servers are more than the 4 there are"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(system, name, told, words):
    with pytest.raises(BadInput, match=words) as caught:
        baseline_agent(name, gym.make("llmqueue/Scenario-v0", system=system, **told))
    assert "\n" not in str(caught.value)
