"""What every system promises. Only the registry is named, so a new one is tested, too."""

import json
from dataclasses import fields, replace

import gymnasium as gym
import numpy as np
import pytest
from conforming import NOISY, SYSTEM, N, alone, jobs_of, playable, predictions_of, wide
from played import finish

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.rollout import rollout, rollouts
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.requests import ROOM
from llmqueue_gym.systems import SYSTEMS, Scenario
from llmqueue_gym.systems.scenario import scenario_fields


@SYSTEM
def test_a_seed_is_the_same_jobs_and_the_same_numbers_on_every_path(kind):
    scenario, seeds = Scenario(kind, n_jobs=N, predictor=NOISY), [3, 4, 5]
    if scenario.system.view is None:
        pytest.skip("nothing for an agent to decide")
    view, taken, alone = wide(scenario.system.view), [], []
    env = scenario.env(**view)
    name, agent = playable(scenario, env)

    def choose(env):
        taken[-1].append(agent.act_env(env))
        return taken[-1][-1]

    for seed in seeds:
        taken.append([])
        finish(env, choose, seed)
        alone.append(env.run())
    many = gym.make_vec("llmqueue/Scenario-v0", num_envs=3, system=scenario, **view)
    many.reset(seed=3)
    vector, t = {}, 0
    while len(vector) < 3:
        _, _, terminated, _, _ = many.step(np.array([actions[min(t, len(actions) - 1)] for actions in taken]))
        t += 1
        for e in np.flatnonzero(terminated):
            vector.setdefault(e, many.unwrapped.episodes.run(e))
    for e, seed in enumerate(seeds):
        drawn, expected = scenario.draw(seed), scenario.simulate(name, seed)
        first = np.unique(jobs_of(drawn), return_index=True)[1]  # a job may have several rows of work
        for run in (alone[e], vector[e], expected):
            for column in ("arrival", *(predictions_of(kind, drawn.work) if len(first) == len(drawn.work) else ())):
                np.testing.assert_array_equal(run.jobs[column], drawn.work[column][first])
            np.testing.assert_array_equal(run.sizes, np.bincount(jobs_of(drawn), drawn.sizes))
            for column in ("completion", *{"start", "first_token"} & set(run.outcome.dtype.names)):
                np.testing.assert_allclose(run.outcome[column], expected.outcome[column], rtol=1e-9)
            assert run.reason == "drained"
    assert len({run.sizes.tobytes() for run in alone}) == 3


@SYSTEM
def test_an_agent_plays_runs_side_by_side_as_one_by_one(kind):
    scenario = Scenario(kind, n_jobs=N)
    if scenario.system.view is None:
        pytest.skip("nothing for an agent to decide")

    class Single:
        """Asked about one run at a time."""

        act = staticmethod(playable(scenario, scenario.env())[1].act)

    agent = playable(scenario, scenario.env())[1]
    together = rollouts(agent, scenario, [1, 2, 3])
    for seed, run, other in zip([1, 2, 3], together, rollouts(Single(), scenario, [1, 2, 3]), strict=True):
        single = rollout(agent, scenario, seed)
        np.testing.assert_array_equal(run.outcome["completion"], single.outcome["completion"])
        np.testing.assert_array_equal(run.outcome["completion"], other.outcome["completion"])


@SYSTEM
def test_all_jobs_leave_when_their_work_is_done_and_no_sooner_than_alone(kind):
    scenario = Scenario(kind, n_jobs=300, predictor=NOISY)
    system, drawn, run = scenario.system, scenario.draw(1), scenario.simulate(scenario.system.base, 1)
    assert run.done.all() and len(run) == 300
    received = run.jobs["age" if "age" in run.jobs.dtype.names else "generated"]
    sizes = np.bincount(jobs_of(drawn), drawn.sizes)  # a job may have several rows of work
    np.testing.assert_allclose(received, sizes, rtol=1e-9)
    np.testing.assert_allclose(run.sizes, sizes, rtol=1e-9)
    for i in range(0, 300, 20):
        tables = {field.name: getattr(run, field.name) for field in fields(run)}
        cut = {name: t[i : i + 1] for name, t in tables.items() if isinstance(t, np.ndarray) and len(t) == 300}
        assert system.numbers(replace(run, **cut))["cost"] >= system.bound(alone(drawn, i)) * (1 - 1e-9) > 0


@SYSTEM
def test_no_policy_undercuts_the_bound(kind):
    scenario = Scenario(kind, n_jobs=300)
    bound, played = scenario.bound(2), 0
    for name in scenario.system.policies:
        try:
            run = scenario.simulate(name, 2)
        except BadInput:  # it needs another view, predictor or law
            continue
        played += 1
        assert scenario.system.numbers(run)["cost"] >= bound * (1 - 1e-9), name
    assert bound > 0 and 2 * played > len(scenario.system.policies)


@SYSTEM
def test_another_predictor_changes_predictions_and_nothing_else(kind):
    exact, noisy = (Scenario(kind, n_jobs=300, predictor=told).draw(4) for told in ("exact", NOISY))
    predictions = predictions_of(kind, exact.work)
    np.testing.assert_array_equal(exact.sizes, noisy.sizes)
    for column in (name for name in exact.work.dtype.names if name != ROOM):
        same = (exact.work[column] == noisy.work[column]).all()
        assert same or column in predictions, column
        assert (noisy.work[column] == noisy.sizes).mean() < 0.2, f"{column} tells the truth"
    # Predictions that have to be bought lie with the truth.
    said = [drawn.truth.get("predictions", drawn.work["predicted"]) for drawn in (exact, noisy)]
    assert (said[0] == exact.sizes).all() and (said[1] != noisy.sizes).mean() > 0.8


@SYSTEM
def test_a_policy_that_reads_the_truth_is_refused(kind):
    made = SYSTEMS.builder(kind).policies.made
    reads = {1: lambda job, params: job.size, 2: lambda job, other, params: job.size}[len(made.shown)]
    with pytest.raises(TruthError, match="size"):
        Scenario(kind).policy(reads)


@SYSTEM
def test_no_column_that_is_read_holds_what_is_true(kind):
    """Whatever is drawn of each row beside what is predicted, but for which program it is a call of."""
    drawn, shown = Scenario(kind, n_jobs=300, predictor=NOISY).draw(4), SYSTEMS.builder(kind).policies.made.shown[0]
    hidden = {name: table for name, table in drawn.truth.items() if isinstance(table, np.ndarray)}
    for name in drawn.truth.keys() - {"refreshed", "foreseen"}:
        table = drawn.truth[name]
        hidden |= {
            f"{name}.{part}": getattr(table, part) for part in getattr(table, "_fields", ()) if part != "program"
        }
    for name, table in hidden.items():
        if np.shape(table) == (len(drawn.work),) and len(np.unique(table)) > 2:
            for column in set(shown.readable) & set(drawn.work.dtype.names):
                told = (drawn.work[column] == table) & (table > 0)
                assert told.mean() < 0.2, f"{column} tells {name}"


@SYSTEM
def test_a_scenario_is_told_in_words_and_read_back(kind):
    scenario = Scenario(kind, n_jobs=N, predictor="exact")
    assert Scenario(f"{kind}:n_jobs={N},predictor=exact") == scenario == replace(scenario, n_jobs=N)
    told = json.loads(json.dumps(scenario.to_dict(), allow_nan=False))
    assert told["system"] == kind and told["n_jobs"] == N and told["predictor"] == str(scenario.predictor)
    assert {field.name for field in fields(scenario.system)} <= told.keys()


def wrong_values(name, default):
    """Values that a field of this default cannot have."""
    if isinstance(default, bool):
        return ["yes"]
    if isinstance(default, (int, float)):
        return [-1, float("nan"), "many"]
    return ["no-such-thing", object()] if isinstance(default, str) else [-1]


@SYSTEM
def test_bad_fields_are_named_in_one_line(kind):
    told, view = scenario_fields(SYSTEMS.builder(kind)), SYSTEMS.builder(kind).view
    seen = {} if view is None else {field.name: field.default for field in fields(view)}

    def opened(kind, **given):
        return Scenario(kind).env(**given)

    builders = [(Scenario, told)] if view is None else [(Scenario, told), (opened, {**told, **seen})]
    for build, known in builders:
        for name, default in known.items():
            for wrong in wrong_values(name, default):
                with pytest.raises(BadInput) as caught:
                    build(kind, **{name: wrong})
                line = str(caught.value)
                assert "\n" not in line and (name in line or str(wrong) in line), line
        for name in known:
            with pytest.raises(BadInput, match=f"did you mean '{name}'"):
                build(kind, **{f"{name}s" if f"{name}s" not in known else f"{name}q": 1})
    with pytest.raises(BadInput, match=r"unknown .*'no-such-policy'"):
        Scenario(kind).policy("no-such-policy")
