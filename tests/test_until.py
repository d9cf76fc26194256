"""A replica that runs until one time after another does what it does when it runs to its end."""

import numpy as np
import pytest

from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.tables import ENDLESS, HELD
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.replica_tables import kernel_arguments, loaded


def in_pieces(scenario, policy, seed, times):
    """Serve the requests of a seed until each of these times, and then to the end; check what holds at each."""
    made = scenario.policy(policy)
    system = scenario.system.under(made)
    replica = loaded(scenario.draw(seed, made), system.bound_rules, made.merged)
    *loop, functions = kernel_arguments(made, system.cost_profile, system.bound_rules)
    state, record = replica.state[0], replica.system[0]
    for until in (*times, np.inf):
        replica.state["until"][0] = until
        found = proceed(0, replica, *loop, 0, 0, *functions, ENDLESS)
        if until < np.inf:
            assert found == HELD
            busy = record["running"] + record["waiting"] > 0
            # Either it is in the midst of an iteration, or before one; idle, its clock waits at the next arrival.
            assert record["clock"] <= until < state["ends"] or state["ends"] == np.inf
            assert not busy or record["clock"] <= until
            done = replica.service["completion"]
            assert not (done > until).any()
            arrived = replica.requests["arrival"] <= min(record["clock"], until)
            assert arrived.sum() <= state["arrived"] + 1
    return replica


@pytest.mark.parametrize("rules", ["vllm-v1", "sarathi", "vllm-v0", "static"])
@pytest.mark.parametrize("policy", ["fcfs", "trail"])
def test_pieces_of_time_change_nothing(rules, policy):
    profile = "a100-llama3-8b:kv_tokens=16000"
    scenario = Scenario("replica", rules=rules, profile=profile, load=0.9, n_jobs=200, max_tokens=2048)
    whole = scenario.simulate(policy, 3)
    rng = np.random.default_rng(1)
    end = whole.totals["clock"]
    ends = whole.outcome["completion"][:20]  # times at which iterations end, and arrivals, are the delicate ones
    times = np.sort(np.concatenate([rng.uniform(0, end, 300), ends, whole.jobs["arrival"][:20]]))
    replica = in_pieces(scenario, policy, 3, times)
    for name in ("scheduled", "first_token", "completion"):
        np.testing.assert_array_equal(replica.service[name], whole.outcome[name])
    for name in ("prefill_time", "decode_time", "preemptions", "most_blocks"):
        assert replica.state[name][0] == whole.totals[name]
    assert replica.system["iterations"][0] == whole.totals["iterations"]
    assert replica.state["integral"][0] == pytest.approx(whole.totals["integral"], rel=1e-12)
