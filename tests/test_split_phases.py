"""Prompts read here and decoded there: the simulators of Splitwise and DistServe, by their rules and on their logs."""

import gzip
import json
import math

import numpy as np
import pytest
from recorded import recorded
from reference_distserve import DistServe
from reference_splitwise import Splitwise
from side_by_side import distserve, splitwise

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.fleet import Fleet

SAME = 1e-8  # relative: sums of seconds are made in another order
SPLITWISE = [
    "mixed_A100x4_bloom_conv_medium",
    "split_H100_2p2t_bloom_conv_light",
    "hetero_H2pA2t_bloom_conv_medium",
    "split_A100_2p1t_llama_burst",
    "split_A100_2p2t_bloom_smallmem",
    "mixed_A100x2_llama_near2048",
]
DISTSERVE = ["pd_13b_1p1d_light", "pd_66b_tp4pp2_decode_tp4pp2_medium", "vllm_13b_medium", "vllm_13b_chunk512"]


def logged(folder, name):
    """Header, requests and results of a log, skipping the test where there is none."""
    with gzip.open(recorded(folder, f"{name}.jsonl.gz"), "rt") as text:
        header, *rows = [json.loads(line) for line in text]
    rows = [row for row in rows if isinstance(row, list)]
    return header, [row for row in rows if row[0] == "req"], [row for row in rows if row[0] == "done"]


def knots(model, hardware):
    """Prompt and token times of a machine, as the simulator's tables have them."""
    made = profile(f"splitwise-sim-{hardware.replace('-80gb', '')}-{model}").numbers
    k = int(made[1])
    tokens, table = made[2 : 2 + k].tolist(), made[2 + 2 * k :]
    times = table[2 + k + 3 :].reshape(k, 3)[:, 0]
    return (tokens, made[2 + k : 2 + 2 * k].tolist()), (tokens, times.tolist())


def splitwise_by_its_rules(header, requests):
    machines = [(*knots(header["model"], m["hardware"]), m["tag"]) for m in header["instances"]]
    bytes_of = [header[name] for name in ("kv_bytes_per_token", "weight_bytes", "memory_bytes")]
    served = Splitwise(machines, header["scheduler"], *bytes_of).run([tuple(row[2:]) for row in requests])
    return times(served)


def distserve_by_its_rules(header, requests):
    return times(DistServe(header["config"], header["coefficients"]).run([tuple(row[2:]) for row in requests]))


def times(served):
    return np.array([r.first - r.arrival for r in served]), np.array([r.done - r.arrival for r in served])


@pytest.mark.parametrize("name", SPLITWISE)
def test_the_rules_of_splitwise_give_its_logs(name):
    header, requests, done = logged("splitwise", name)
    for ours, column in zip(splitwise_by_its_rules(header, requests), (2, 4), strict=True):
        np.testing.assert_allclose(ours, [row[column] for row in done], atol=1e-8)


@pytest.mark.parametrize("name", DISTSERVE)
def test_the_rules_of_distserve_give_its_logs(name):
    header, requests, done = logged("distserve", name)
    for ours, column in zip(distserve_by_its_rules(header, requests), (2, 4), strict=True):
        np.testing.assert_allclose(ours, [row[column] for row in done], atol=1e-8)


@pytest.mark.parametrize("name", [name for name in SPLITWISE if "burst" not in name])
def test_the_engine_gives_the_logs_of_splitwise(name):
    header, requests, done = logged("splitwise", name)
    for ours, column in zip(splitwise.replay((header, requests, done)), (2, 4), strict=True):
        np.testing.assert_allclose(ours, [row[column] for row in done], rtol=SAME, atol=1e-8)


@pytest.mark.parametrize("name", DISTSERVE)
def test_the_engine_gives_the_logs_of_distserve(name):
    header, requests, done = logged("distserve", name)
    for ours, column in zip(distserve.replay((header, requests, done)), (2, 4), strict=True):
        np.testing.assert_allclose(ours, [row[column] for row in done], rtol=SAME, atol=1e-8)


def lengths(rng, n, prompt, output):
    drawn = rng.lognormal(6, 1.2, n), rng.lognormal(4.5, 1, n)
    return [np.clip(x, 2, most).astype(int) for x, most in zip(drawn, (prompt, output), strict=True)]


def some_requests(rng, n, gap, prompt, output):
    arrivals = np.round(gap + np.cumsum(rng.exponential(gap, n)), 6)
    columns = arrivals, *lengths(rng, n, prompt, output)
    return [["req", i, float(a), int(p), int(o)] for i, (a, p, o) in enumerate(zip(*columns, strict=True))]


@pytest.mark.parametrize("seed", range(12))
def test_random_clusters_of_splitwise(seed):
    """All machines but the memory are drawn; where it is so small that a machine stalls, more than this differs."""
    rng = np.random.default_rng(seed)
    model, kv, weights = (("bloom-176b", 4014080, 329e9), ("llama2-70b", 2621440, 135e9))[seed % 2]
    pools = seed % 4 > 0
    tags = ["prompt", "token", *rng.choice(["prompt", "token"], rng.integers(0, 4))]
    hardware = rng.choice(["a100-80gb", "h100-80gb"], len(tags))
    machines = [
        {"hardware": str(kind), "tag": str(tag) if pools else None}
        for kind, tag in sorted(zip(hardware, tags, strict=True))
    ]
    header = {
        "model": model,
        "scheduler": "mixed_pool" if pools else "token_jsq",
        "instances": machines,
        "kv_bytes_per_token": kv,
        "weight_bytes": int(weights),
        "memory_bytes": int(weights) + kv * int(rng.integers(20_000, 80_000)) + 1,
        "max_batch_size": 512,
        "max_batch_tokens": 2048,
        "max_preemptions": 4,
        "transfer_bytes_per_s": 200 * 2**30,
        "retry_delay": 1.0,
    }
    requests = some_requests(rng, 150, float(rng.choice([0.1, 0.3, 1.0])) / len(machines), 4000, 500)
    ours, theirs = splitwise.replay((header, requests, [])), splitwise_by_its_rules(header, requests)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=SAME, atol=1e-8)


COEFFICIENTS = {
    "prefill": [18.1, 0.102, 7.1e-6],
    "decode": {"decoding_smallbs": [19.9, 6.3e-4, 0.0385], "decoding_largebs": [7.2, 5.8e-4, 0.158]},
}


@pytest.mark.parametrize("seed", range(12))
def test_random_clusters_of_distserve(seed):
    rng = np.random.default_rng(seed)
    chunked = seed % 3 == 0
    budget = int(rng.choice([256, 512])) if chunked else 66_144
    config = {
        "backend": ("distserve", "vllm")[seed % 2],
        "n_prefill": int(rng.integers(1, 4)),
        "n_decode": int(rng.integers(1, 4)),
        "pp_prefill": int(rng.choice([1, 2, 4])),
        "pp_decode": int(rng.choice([1, 2, 4])),
        "chunked": chunked,
        "prefill_max_tokens": budget,
        "decode_max_tokens": budget,
    }
    header = {"config": config, "coefficients": COEFFICIENTS}
    requests = some_requests(rng, 100, float(rng.choice([80, 200, 500])) / config["n_prefill"], 1500, 300)
    ours, theirs = distserve.replay((header, requests, [])), distserve_by_its_rules(header, requests)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=SAME)


@pytest.mark.parametrize("rules", ["splitwise", "distserve"])
def test_one_at_a_time_by_hand(rules):
    """A prompt of 100 tokens and two more tokens each, far apart, on a replica for each phase."""
    made = Fleet("a100-llama3-8b", rules, replicas=2, prefill=1, latency=0.5, bandwidth=math.inf)
    truth = {"sizes": np.array([3, 3]), "refreshed": never_refreshed(2), "choices": np.zeros((2, 0), np.int64)}
    truth["ties"] = np.zeros(2)
    run = made.simulate(Drawn(request_table(np.array([1.0, 100.0]), 100), truth), Fleet.policies("least-outstanding"))
    floor, base, token, pair, context = profile("a100-llama3-8b").numbers
    read = max(floor, base + token * 100) + pair * 100 * 50
    made = 2 * max(floor, base + token) + context * (101 + 102)
    np.testing.assert_allclose(run.outcome["first_token"] - run.jobs["arrival"], read)
    np.testing.assert_allclose(run.outcome["completion"] - run.outcome["first_token"], 0.5 + made)


def read_at(fleet, arrivals, prompts, outputs, router):
    """When each request had its first token."""
    given = request_table(np.array(arrivals), np.array(prompts))
    given["first_predicted"] = given["predicted"] = outputs
    truth = {"sizes": np.array(outputs), "refreshed": never_refreshed(len(outputs)), "ties": np.zeros(len(outputs))}
    truth["choices"] = np.zeros((len(outputs), 0), np.int64)
    return fleet.simulate(Drawn(given, truth), Fleet.policies(router)).outcome["first_token"].tolist()


def test_a_batch_of_splitwise_goes_on_until_somebody_fits():
    """Iterations of 1 s; the second request comes while the first, of six tokens, decodes."""
    rules = "splitwise:token_budget=100"
    mixed = Fleet("unit:kv_tokens=100000", rules, replicas=1)
    # A short prompt, and a long one whose tokens would fit, have the batch made anew at the next iteration.
    assert read_at(mixed, [0.0, 2.5], [10, 50], [6, 2], "token-jsq") == [1.0, 4.0]
    assert read_at(mixed, [0.0, 2.5], [10, 300], [6, 2], "token-jsq") == [1.0, 4.0]
    # A long prompt whose tokens go on elsewhere does not: it waits for the end of the first request.
    pools = "unit:kv_tokens=100000", rules
    helped = Fleet(*pools, replicas=2, prefill=1, handover="least-reserved", latency=0.0, bandwidth=math.inf)
    assert read_at(helped, [0.0, 2.5], [10, 300], [6, 2], "mixed-pool") == [1.0, 3.5]


def test_fewer_tokens_of_context_than_a_request_has_are_refused():
    with pytest.raises(BadInput, match="more than the 100 that fit"):
        Scenario("replica", rules="distserve:context_budget=100", lengths="azure-conv", max_tokens=4000).simulate(
            "fcfs"
        )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"rules": "splitwise", "order": "sjf"}, "decides itself who joins a batch"),
        ({"rules": "distserve:stages=2"}, "how long stages=2 of a pipeline take"),
        ({"rules": "vllm-v1:stages=2"}, "add batching=turns"),
        ({"retry": -1.0}, "retry=-1"),
    ],
)
def test_what_does_not_go_together_is_refused(told, words):
    with pytest.raises(BadInput, match=words):
        Scenario("fleet", **told)


@pytest.mark.parametrize("experiment", [splitwise, distserve])
def test_a_wrong_directory_is_one_line_and_status_2(experiment, tmp_path, monkeypatch, capsys):
    for text in (None, "{", '{"runs": [], "source": "splitwise-sim, DistServe"}', '{"runs": [], "source": "other"}'):
        if text is not None:
            (tmp_path / "runs.json").write_text(text)
        monkeypatch.setattr("sys.argv", ["x", str(tmp_path)])
        source = "splitwise-sim" if experiment is splitwise else "DistServe"
        assert experiment.main(experiment.__doc__, source, experiment.replay, (2, 4)) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1 and "runs.json" in told.err and not told.out
