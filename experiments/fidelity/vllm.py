"""Does the engine decide what vLLM's scheduler decides, call by call?

Replays decision logs of the real scheduler (one JSON value a line: a header, the requests, one list per call; the
header names the fields) and compares every field of every call. Prints a line per log, `identical (n calls)` or the
first difference, and exits 1 if any log differs.

    python experiments/fidelity/vllm.py LOG...

Logs are of vLLM 0.33.0 or 0.19.1, with or without prefix caching and the asynchronous scheduler.
"""

import argparse
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import SEGMENT, Contexts, Requests, never_refreshed, request_table

RULE_SET = {"0.33.0": "vllm-v1", "0.19.1": "vllm-0.19.1"}
OUTPUTS = 65536  # segment of the output of request 0
FIELDS = ("i", "t", "add", "s", "adm", "p", "fb", "fin", "fa", "run", "wait", "tok")


def main() -> int:
    """Compare every log given; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", metavar="LOG", help="decision log, .jsonl or .jsonl.gz")
    verdicts = []
    for log in parser.parse_args().logs:
        try:
            same, words = compare(Path(log))
        except (BadInput, OSError) as error:
            same, words = False, f"error: {error}"
        verdicts.append(same)
        print(f"{log}: {words}", flush=True)
    return 0 if all(verdicts) else 1


def compare(log: Path) -> tuple[bool, str]:
    """Return whether the engine's calls are those of a log, and how to say so."""
    header, requests, calls = read(log)
    fields = [name.split()[0] for name in header["fields"].values()]
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise BadInput(f"unknown field {min(unknown)!r}")
    for n, (ours, theirs) in enumerate(zip_longest(replay(header, requests), calls)):
        if ours is None:
            return False, f"call {n}: the engine has stopped, the log goes on to call {len(calls) - 1}"
        if theirs is None:
            return False, f"call {n}: the log has ended, the engine goes on"
        for name, real in zip(fields, theirs, strict=True):
            if ours[name] != real:
                return False, f"call {n}, field {name}: {ours[name]} here, {real} in the log"
    return True, f"identical ({len(calls)} calls)"


def read(log: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[list[Any]]]:
    """Return the header, the requests and the calls of a log."""
    with gzip.open(log, "rt") if log.suffix == ".gz" else log.open() as text:
        try:
            header, *rest = [json.loads(line) for line in text if line.strip()]
        except (ValueError, EOFError):
            raise BadInput("not a decision log: a line is not JSON, or there is none") from None
    if not isinstance(header, dict) or header.get("type") != "header":
        raise BadInput("not a decision log: the first line is no header")
    requests = [x for x in rest if isinstance(x, dict) and x.get("type") == "req"]
    return header, requests, [x for x in rest if isinstance(x, list)]


def replay(header: dict[str, Any], requests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the engine's calls in the fields of the log."""
    names, keys, *given = as_served(header, requests)
    for i, call in enumerate(watch(*given)):
        yield {
            "i": i,
            "t": round(call.clock, 9),
            "add": [names[row] for row in call.added],
            "s": [names[row] if tokens == 1 else [names[row], tokens] for row, tokens in call.scheduled],
            "adm": [[names[row], computed, int(resumed)] for row, computed, resumed in call.admitted],
            "p": [names[row] for row in call.preempted],
            "fb": call.free,
            "fin": [names[row] for row in call.finished],
            "fa": call.free_after,
            "run": zlib.crc32(",".join(keys[row] for row in call.running).encode()),
            "wait": zlib.crc32(",".join(keys[row] for row in call.waiting).encode()),
            "tok": sum(tokens for _, tokens in call.scheduled),
        }


def as_served(header: dict[str, Any], requests: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Return the names of requests by row, as the log and as the scheduler has them, and what `serve` takes."""
    names = [request["id"] for request in requests]
    keys = [f"{name:06d}" if isinstance(name, int) else name for name in names]  # ids as the scheduler sees them
    order = np.argsort([request["arrival"] for request in requests], kind="stable").tolist()
    names, keys = [names[k] for k in order], [keys[k] for k in order]
    requests = [requests[k] for k in order]
    table = request_table(column(requests, "arrival"), column(requests, "prompt").astype(int))
    table["priority"] = column(requests, "priority")
    ranked = header["config"]["policy"] == "priority"
    if ranked:  # ties of priority and arrival go by the request's id as a text
        table["place"][np.lexsort((np.array(keys), table["arrival"]))] = np.arange(len(table))
    outputs, refreshed = column(requests, "out").astype(np.int64), never_refreshed(len(table))
    given = Requests(table, outputs, refreshed, contexts_of(names, requests))
    policy = serving_policy("vllm-priority:by=stated" if ranked else "fcfs")
    return names, keys, given, policy, cost(header["config"]), rules_of(header)


def contexts_of(names: list[Any], requests: list[dict[str, Any]]) -> Contexts | None:
    """Return what the prompts consist of, by the segments of a log; None where it has none.

    The log's rule for tokens: token `pos` of segment `seg` is the same everywhere, and the output of request r is
    segment 65536 + r.
    """
    if not all("segs" in request for request in requests):
        return None
    pieces: list[tuple[int, int, int]] = []
    first = [0]
    for request in requests:
        for text, start, length in request["segs"]:
            if len(pieces) > first[-1] and pieces[-1][0] == text and sum(pieces[-1][1:]) == start:
                pieces[-1] = (text, pieces[-1][1], pieces[-1][2] + length)
            elif length:
                pieces.append((text, start, length))
        first.append(len(pieces))
    numbers = [int(name) for name in names]
    return Contexts(np.array(pieces, SEGMENT), np.array(first, np.int64), OUTPUTS + np.array(numbers, np.int64))


def rules_of(header: dict[str, Any]) -> Rules:
    """Return the rule set of a log's configuration."""
    config, version = header["config"], header["vllm"]
    if version not in RULE_SET:
        raise BadInput(f"vLLM {version} is not simulated; choose from {', '.join(RULE_SET)}")
    changes = {
        "blocks": config["num_blocks"] - 1,  # vLLM keeps block 0 back
        "block_size": config["block_size"],
        "token_budget": config["max_num_batched_tokens"],
        "max_seqs": config.get("max_num_active_seqs") or config["max_num_seqs"],
        "max_model_len": config["max_model_len"],
        "chunked": config["enable_chunked_prefill"],
        "long_prefill_threshold": config["long_prefill_token_threshold"],
        "watermark": config["watermark"],
        "reserve_known": config["scheduler_reserve_full_isl"],
        "caching": "vllm" if config.get("enable_prefix_caching") else "none",
        "asynchronous": bool(config.get("async_scheduling")),
        "ends_known": config.get("stop", "max_tokens") == "max_tokens",
    }
    return type(rule_set(RULE_SET[version]))(**changes)


def cost(config: dict[str, Any]) -> Profile:
    """Return the cost of a log: c0 + c1 for every token."""
    return Profile(
        name="log",
        model="",
        gpu="",
        form="roofline",
        numbers=np.array([0.0, config["c0"], config["c1"], 0.0, 0.0]),
        kv_tokens=config["num_blocks"] * config["block_size"],
        kv_bytes_per_token=1.0,
        source="the log's own formula",
    )


def column(requests: list[dict[str, Any]], key: str) -> np.ndarray:
    """Return one value of every request `(n,)`."""
    return np.array([request[key] for request in requests], dtype=float)


if __name__ == "__main__":
    sys.exit(main())
