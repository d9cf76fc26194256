"""The serving environments: the engine plus the agent's decisions, and policies as their agents."""

import gymnasium as gym
import numpy as np
import pytest
from played import at_random, finish

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.engines.batching.tables import ADMIT
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.envs.rollout import rollout
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.systems import Scenario

IDS = {"admit": "LLMBatching", "evict": "LLMPreemptive", "rank": "LLMRank"}
SMALL = {"n_requests": 40, "window": 6, "seats": 6, "rules": "vllm-v1:max_seqs=6", "rate": 6.0}
SMALL |= {"profile": "a100-llama3-8b:kv_tokens=8192", "lengths": "azure-conv"}
RANKED = ["fcfs", "sjf", "sjf-total", "remaining-seconds", "gittins-lengths"]


def made(decides="admit", **given):
    return gym.make(f"llmqueue/{IDS[decides]}-v0", **{**SMALL, **given}).unwrapped


def same(run, expected):
    for column in ("first_token", "completion"):
        np.testing.assert_allclose(run.outcome[column], expected.outcome[column], rtol=1e-12)
    assert run.reason == expected.reason == "drained"


@pytest.mark.parametrize("rules", ["vllm-v1", "vllm-v0", "vllm-v1:preemption=swap", "sarathi", "orca", "static"])
@pytest.mark.parametrize("decides", ["admit", "evict"])
def test_first_come_first_served_by_hand_is_the_closed_loop(rules, decides):
    if (rules, decides) == ("static", "evict"):
        pytest.skip("a static batch is never left")
    spec = rules + ("," if ":" in rules else ":") + "max_seqs=6,max_model_len=4000"
    env = made(decides, rules=spec + (",token_budget=4096" if rules == "vllm-v0" else ""))
    finish(env, baseline_agent("fcfs", env).act_env, 3)
    same(env.run(), env.scenario.simulate("fcfs", 3))


@pytest.mark.parametrize("name", RANKED)
def test_a_ranked_queue_by_hand_is_the_closed_loop(name):
    env = made("evict", window=40)
    finish(env, baseline_agent(name, env).act_env, 4)
    same(env.run(), env.scenario.simulate(name, 4))
    assert env.run().totals["preemptions"] > 0


def test_levels_by_hand_are_the_closed_loop():
    env = made("rank", levels=2000)
    predicted = list(env.view.jobs).index("predicted")
    finish(env, lambda env: min(1999, int(env.episodes.observation["jobs"][0, 0, predicted])), 5)
    policy = ServingPolicy("levels", lambda request, system, params: min(1999.0, np.floor(request.first_predicted)))
    same(env.run(), env.scenario.simulate(policy, 5))


@pytest.mark.parametrize("decides", IDS)
@pytest.mark.parametrize("name", RANKED)
def test_the_agent_reads_the_observation_alone_one_or_many(name, decides):
    env = made(decides, n_requests=100)
    agent, seen, actions = baseline_agent(name, env), [], []

    def choose(env):
        seen.append(env.episodes.shown(0))
        actions.append(agent.act(seen[-1]))
        assert actions[-1] == agent.act_env(env) and env.action_masks()[actions[-1]]
        return actions[-1]

    finish(env, choose, 3)
    np.testing.assert_array_equal(agent.act({part: np.stack([one[part] for one in seen]) for part in seen[0]}), actions)
    assert len(set(actions)) > 1 or name == "fcfs"


@pytest.mark.parametrize("name", RANKED)
def test_an_agent_that_ranks_comes_near_the_closed_loop(name):
    """It places a request among those in sight, so a level does not mean the same from one request to the next."""
    env = gym.make("llmqueue/LLMRank-v0", window=64, seats=8).unwrapped
    run = rollout(baseline_agent(name, env), env.scenario, 1, **vars(env.view))
    exact, fcfs = (env.scenario.simulate(policy, 1).response_times.mean() for policy in (name, "fcfs"))
    assert abs(run.response_times.mean() - exact) <= 0.35 * abs(fcfs - exact)


def test_a_ranking_agent_is_asked_on_arrival_and_on_every_refresh():
    env = made("rank", predictor="trail", n_requests=10)
    _, steps, _ = finish(env, at_random(), 0)
    drawn = env.scenario.draw(0)
    # A prediction after the last token comes too late to be asked about.
    assert steps == 10 + sum((int(tokens) - 1) // drawn.truth["refreshed"].every for tokens in drawn.sizes)


@pytest.mark.parametrize("decides", IDS)
def test_every_column_of_the_observation_holds_what_its_name_says(decides):
    env, looks, choose = made(decides, predictor="interval:width=0.5"), 0, at_random()
    same_names = ("prompt", "generated", "predicted", "upper", "computed", "blocks", "weight", "preemptions")
    first = int(decides == "rank")

    def look(env):
        nonlocal looks
        seen, features = env.episodes.seen(), env.episodes.observation["jobs"][0]
        clock = seen["system"]["clock"]
        for begin, requests in ((first, seen["waiting"]), (first + 6, seen["running"])):
            rows = dict(zip(env.view.jobs, features[begin : begin + len(requests)].T, strict=True))
            for name in same_names:
                np.testing.assert_array_equal(rows[name], requests[name].astype(np.float32), name)
            np.testing.assert_allclose(rows["time_in_system"], clock - requests["arrival"], rtol=1e-6)
            np.testing.assert_allclose(rows["since_token"], clock - requests["last_token"], rtol=1e-6)
            looks += (requests["predicted"] < requests["upper"]).sum()
        return choose(env)

    finish(env, look, 1)
    assert looks > 0


@pytest.mark.parametrize("decides", IDS)
def test_an_action_that_is_not_open_is_told_and_does_no_harm(decides):
    env = made(decides, n_requests=15)
    _, info = env.reset(seed=0)
    told, over = 0, False
    while not over:
        closed = np.flatnonzero(info["action_mask"] == 0)
        _, _, terminated, truncated, info = env.step(int(closed[0]) if len(closed) else 0)
        told += info.get("illegal_action", False)
        over = terminated or truncated
    assert info["episode_metrics"]["ended"] == "drained" and (told > 0 or decides == "rank")


@pytest.mark.parametrize("rules", ["vllm-v1", "vllm-v0", "sarathi", "vllm-v1:preemption=swap"])
def test_an_agent_that_preempts_whenever_it_can_pays_a_token_each_time_and_comes_to_an_end(rules):
    """Whoever was preempted stays, once it is back, until it has a token more; and nothing runs without tokens."""
    env = made("evict", rules=rules + (",max_seqs=6" if ":" in rules else ":max_seqs=6"))
    asked, at_will = list(env.view.system).index("question"), 0

    def choose(env):
        nonlocal at_will
        mask = env.action_masks()
        open_to_it = np.flatnonzero(mask)
        preempts = open_to_it[(open_to_it >= 6) & (open_to_it < 18)]
        at_will += len(preempts) > 0 and env.episodes.observation["system"][0, asked] == ADMIT
        assert not (mask[-1] and mask[:6].any() and not env.episodes.seen()["running"].size)
        return int(preempts[0] if len(preempts) else open_to_it[0])

    _, steps, info = finish(env, choose, 0)
    tokens = int(env.run().sizes.sum())
    assert info["episode_metrics"]["ended"] == "drained"
    assert 0 < at_will <= tokens and steps <= 4 * tokens


def test_an_overloaded_episode_is_truncated_at_its_horizon():
    env = made(horizon=2.0, rate=1000.0)
    _, _, info = finish(env, at_random(), 0)
    assert info["episode_metrics"]["ended"] == env.run().reason == "horizon" and info["episode_metrics"]["done"] < 40


def test_what_is_played_on_a_replica_is_that_of_the_environment():
    scenario = Scenario("replica", load=0.7, n_requests=60, size="azure-code")
    env = scenario.env(window=60, seats=60)
    run = rollout(baseline_agent("sjf", env), scenario, 2, window=60, seats=60)
    same(run, scenario.simulate("sjf", 2))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"decides": "admission"}, "admit"),
        ({"decides": "evict", "rules": "static"}, "never let go of a batch"),
        ({"window": 0}, "window=0"),
        ({"rate": -1.0}, "rate=-1"),
        ({"profile": "a100-lama3-8b"}, "a100-llama3-8b"),
        ({"rules": "vllm-v2"}, "vllm-v1"),
        ({"lengths": "azure-con"}, "azure-conv"),
        ({"predictor": "lognormale"}, "lognormal"),
        ({"reward": "respose_time"}, "response_time"),
        ({"workload": 3}, "workload=3"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(told, words):
    with pytest.raises(BadInput, match=words) as error:
        gym.make("llmqueue/LLMBatching-v0", **{**SMALL, **told})
    assert "\n" not in str(error.value)


def test_what_no_agent_does_is_refused_in_one_line():
    refused = {}
    for name in SERVING_POLICIES:
        try:
            baseline_agent(name, made())
        except BadInput as error:
            refused[name] = str(error)
    assert "does more than rank the queue" in refused["trail"] and "predictor='exact'" in refused["srpt"]
    assert "needs an environment whose rules have watermark=0.2" in refused["alpha-protect-like"]
    assert not refused.keys() & set(RANKED) and not any("\n" in line for line in refused.values())
