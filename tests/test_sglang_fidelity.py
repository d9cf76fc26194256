"""The replay of SGLang's logs: recorded ones, random streams against a plain reference, and what the command says."""

import gzip
import json
import random

import pytest
from fidelity import sglang as fidelity
from recorded import recorded
from reference_radix import reference_steps

from llmqueue_gym.engines.batching.radix_order import POLICIES

LOGS = ["lpm_multiturn", "dfs_fewshot", "fcfs_priority_shared", "lof_shared"]
PLAIN = {"policy": "lpm", "capacity": 2000, "page_size": 1, "eviction": "lru", "max_running": 16}
PLAIN |= {"max_prefill_tokens": 600, "decode_per_step": 4, "priority_scheduling": False, "low_first": False}


@pytest.mark.parametrize("log", LOGS)
def test_every_step_of_a_recorded_log(log):
    same, words = fidelity.compare(recorded("sglang", f"{log}.jsonl.gz"))
    assert same, words


# Random streams.


def chat(rng, name, before):
    """A system prompt, what was said before, cut somewhere, and a question."""
    if before and rng.random() < 0.6:
        _, told, _, pieces, output, _ = rng.choice(before[-20:])
        pieces = [*pieces, [65536 + told, 0, rng.randint(1, output)]]
    else:
        pieces = [[9000 + rng.randrange(3), 0, rng.choice([5, 33, 60])]]
    return [*pieces, [name, 0, rng.randint(1, 40)]]


def few_shot(rng, name, before):
    """Examples of a tree, one of them cut in two, and a question."""
    pieces = [
        [100 * depth + rng.randrange(1 + depth), 0, rng.choice([7, 16, 30])] for depth in range(rng.randint(1, 4))
    ]
    text, start, length = pieces.pop(rng.randrange(len(pieces)))
    cut = rng.randint(0, length)
    return [*pieces, [text, start, cut], [text, start + cut, length - cut], [name, 0, rng.randint(0, 9)], [7, 0, 1]]


def scraps(rng, name, before):
    """Short scraps of two texts, so that nodes are split at all places and first pages differ late."""
    return [[rng.randrange(2), rng.randrange(3), rng.randint(1, 6)] for _ in range(rng.randint(1, 9))]


def random_case(rng):
    """A configuration and requests."""
    page = rng.choice([1, 1, 2, 4, 16])
    config = PLAIN | {"policy": rng.choice(list(POLICIES)), "page_size": page, "eviction": rng.choice(["lru", "lfu"])}
    config |= {"max_running": rng.randint(1, 16), "max_prefill_tokens": rng.choice([40, 200, 600])}
    config |= {"decode_per_step": rng.randint(1, 8), "capacity": rng.choice([600, 1000, 3000])}
    config |= {"priority_scheduling": rng.random() < 0.5, "low_first": rng.random() < 0.5}
    requests, step, kinds = [], 0, rng.choice([[chat], [few_shot], [scraps], [chat, few_shot, scraps]])
    burst = rng.random() < 0.3  # more than lpm looks at
    for name in range(rng.randint(140, 200) if burst else rng.randint(10, 60)):
        step += 0 if burst else rng.choice([0, 0, 0, 1, 4])
        pieces, output = rng.choice(kinds)(rng, name, requests), rng.randint(1, 30)
        if sum(length for *_, length in pieces) + output > config["capacity"] // 2:
            pieces = pieces[:1]
        requests.append(["req", name, step, pieces, output, rng.randrange(4)])
    return config, requests


@pytest.mark.parametrize("block", range(5))
def test_random_streams_against_the_plain_reference(block):
    rng = random.Random(block)
    for k in range(8):
        config, requests = random_case(rng)
        expected, ours = reference_steps(config, requests), list(fidelity.Replay(config, requests).steps())
        for mine, theirs in zip(ours, expected, strict=False):
            assert mine == theirs, f"case {k}: {config}"
        assert len(ours) == len(expected), f"case {k}: {config}"


# What the command says.


def one_log(folder, steps=None, header=None, more=()):
    requests = [["req", 0, 0, [[1, 0, 40]], 6, 0], ["req", 1, 0, [[1, 0, 30], [2, 0, 5]], 3, 1]]
    steps = reference_steps(PLAIN, requests) if steps is None else steps
    header = {"type": "header", "config": PLAIN} if header is None else header
    log = folder / "log.jsonl.gz"
    log.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in [header, *requests, *steps, *more]).encode()))
    return log, steps


def said(log, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sglang.py", str(log)])
    return fidelity.main(), capsys.readouterr().out


def test_a_log_that_is_right_changed_cut_or_longer(tmp_path, capsys, monkeypatch):
    log, steps = one_log(tmp_path)
    assert said(log, capsys, monkeypatch) == (0, f"{log}: identical (2 steps)\n")
    wrong = json.loads(json.dumps(steps))
    wrong[1][-1][0] += 1
    one_log(tmp_path, wrong)
    words = f"{log}: step 1, field state: {steps[1][-1]} here, {wrong[1][-1]} in the log\n"
    assert said(log, capsys, monkeypatch) == (1, words)
    for bad in (steps[:1], [*steps, steps[1]], [steps[0][:-1], steps[1]]):
        one_log(tmp_path, bad)
        assert said(log, capsys, monkeypatch)[0] == 1


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"type": "req"}, "no header"),
        ({"type": "header", "config": {}}, "nothing of policy"),
        ({"type": "header", "config": PLAIN | {"policy": "random"}}, "policy='random' is not replayed"),
        ({"type": "header", "config": PLAIN | {"page_size": 0}}, "page_size=0 is not replayed"),
    ],
)
def test_another_file_is_refused_in_a_line(tmp_path, capsys, monkeypatch, header, words):
    log, _ = one_log(tmp_path, header=header)
    status, out = said(log, capsys, monkeypatch)
    assert status == 2 and words in out and out.count("\n") == 1
    for content in (b"", b"no log", b"[1]\n"):
        other = tmp_path / "other.jsonl"
        other.write_bytes(content)
        status, out = said(other, capsys, monkeypatch)
        assert status == 2 and out.count("\n") == 1
