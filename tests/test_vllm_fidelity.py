"""The engine decides what vLLM decides: recorded logs, and random configurations against the plain rules."""

import json
import random

import pytest
import vidur_fidelity
from fidelity import vllm as fidelity
from recorded import recorded
from reference_vllm import Stuck, VllmReference, linear_cost, random_case

CASES = 500
PLAIN = ["tight_fcfs", "tight_priority", "plenty_fcfs", "no_chunked_prefill", "chunked_small_budget"]
LOGS = [*PLAIN, "tight_watermark_noreserve", "prefix_shared", "tight_fcfs_async", "v0.19.1/tight_fcfs"]
LOGS += ["v0.19.1/tight_priority"]
FIELDS = {str(k): f"{name} ..." for k, name in enumerate(fidelity.FIELDS)}


@pytest.mark.parametrize("log", LOGS)
def test_every_call_of_a_recorded_log(log):
    same, words = fidelity.compare(recorded("vllm", f"{log}.jsonl.gz"))
    assert same, words


def test_the_times_of_recorded_runs_of_vidur(capsys):
    assert vidur_fidelity.replay_all(recorded("vidur", "reference")) == 0
    assert "0 runs outside" in capsys.readouterr().out


def engine_calls(config, requests, limit):
    """Return the engine's calls as tuples, up to a number of them."""
    header = {"config": config, "vllm": config["version"]}
    keys = ("id", "arrival", "prompt", "out", "priority", "segs")
    rows = [dict(zip(keys, request, strict=True)) for request in requests]
    calls = []
    for call in fidelity.replay(header, rows):
        calls.append(tuple(call[name] for name in fidelity.FIELDS))
        if len(calls) == limit:
            break
    return calls


@pytest.mark.parametrize("block", range(10))
def test_random_configurations_against_the_plain_rules(block):
    rng = random.Random(block)
    for k in range(CASES // 10):
        config, requests = random_case(rng)
        reference = VllmReference(config, config["version"], linear_cost(config["c0"], config["c1"]))
        try:
            expected = reference.run(requests)
        except Stuck:  # two equals can evict each other for ever; up to there the calls agree
            expected = reference.calls
        ours = engine_calls(config, requests, len(expected) + 1 if expected is not reference.calls else len(expected))
        for n, (mine, theirs) in enumerate(zip(ours, expected, strict=False)):
            assert mine == tuple(theirs), f"case {k}, call {n}: {config}"
        assert len(ours) == len(expected), f"case {k}: {len(ours)} calls, not {len(expected)}: {config}"


def test_a_changed_log_is_found_out(tmp_path):
    request = {"type": "req", "id": 0, "arrival": 0.0, "prompt": 20, "out": 2, "priority": 0}
    config = {"num_blocks": 9, "block_size": 16, "max_num_batched_tokens": 64, "max_num_seqs": 4, "max_model_len": 64}
    config |= {"enable_chunked_prefill": True, "policy": "fcfs", "long_prefill_token_threshold": 0, "watermark": 0.0}
    config |= {"scheduler_reserve_full_isl": True, "c0": 0.01, "c1": 0.0}
    header = {"type": "header", "vllm": "0.33.0", "config": config, "fields": FIELDS}
    calls = [list(call.values()) for call in fidelity.replay(header, [request])]
    assert len(calls) == 2

    def verdict(calls, **changes):
        log = tmp_path / "log.jsonl"
        log.write_text("\n".join(json.dumps(line) for line in [header | changes, request, *calls]))
        return fidelity.compare(log)

    assert verdict(calls) == (True, "identical (2 calls)")
    wrong = [calls[0], [*calls[1][:8], calls[1][8] - 1, *calls[1][9:]]]
    assert verdict(wrong) == (False, "call 1, field fa: 8 here, 7 in the log")
    assert not verdict([*calls, calls[1]])[0]
    assert not verdict(calls[:1])[0]
